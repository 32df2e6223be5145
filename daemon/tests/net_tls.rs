//! Who gets through the TLS handshake, and who does not. Handshakes run in memory over the configurations that QUIC uses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod net_support;

use std::io::Cursor;
use std::sync::Arc;

use kinlink_daemon::net::Admission;
use kinlink_daemon::net::tls::{ALPN_LINK, ALPN_SYNC, Tls, Trust, device_of};
use kinlink_proto::id::DeviceId;
use net_support::identity;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig,
    ServerConnection, SignatureScheme,
};

/// Runs a handshake to its end; what each side says of it.
struct Handshake {
    client: ClientConnection,
    server: ServerConnection,
    at_client: Result<(), Error>,
    at_server: Result<(), Error>,
}

impl Handshake {
    fn run(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Self {
        let name = ServerName::try_from("kinlink").unwrap();
        let mut this = Self {
            client: ClientConnection::new(client.clone(), name).unwrap(),
            server: ServerConnection::new(server.clone()).unwrap(),
            at_client: Ok(()),
            at_server: Ok(()),
        };
        while this.client.wants_write() || this.server.wants_write() {
            this.step();
        }
        this
    }

    fn step(&mut self) {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        feed(&bytes, |bytes| self.server.read_tls(bytes));
        self.at_server = self.at_server.clone().and(self.server.process_new_packets().map(drop));
        let mut bytes = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut bytes).unwrap();
        }
        feed(&bytes, |bytes| self.client.read_tls(bytes));
        self.at_client = self.at_client.clone().and(self.client.process_new_packets().map(drop));
    }

    fn succeeded(&self) -> bool {
        self.at_client.is_ok() && self.at_server.is_ok() && !self.server.is_handshaking()
    }
}

/// Gives a side all of what the other wrote; a side that has failed takes no more.
fn feed(bytes: &[u8], mut read: impl FnMut(&mut Cursor<&[u8]>) -> std::io::Result<usize>) {
    let mut cursor = Cursor::new(bytes);
    while cursor.position() < bytes.len() as u64 && read(&mut cursor).is_ok() {}
}

fn tls(seed: u8) -> Tls {
    Tls::new(&identity(seed)).unwrap()
}

fn device(seed: u8) -> DeviceId {
    identity(seed).device()
}

/// Device 1 accepts; it admits device 2.
fn server() -> (Arc<ServerConfig>, Admission) {
    let admission = Admission::new();
    admission.admit([device(2)]);
    (Arc::new(tls(1).server(ALPN_SYNC, Trust::Roster(admission.clone())).unwrap()), admission)
}

/// Device `seed` dials device 1.
fn client(seed: u8) -> ClientConfig {
    tls(seed).client(ALPN_SYNC, device(1)).unwrap()
}

/// Device 2 dials, but presents this.
fn client_presenting(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Arc<ClientConfig> {
    let mut config = client(2);
    config.client_auth_cert_resolver = presenting(chain, key);
    Arc::new(config)
}

fn presenting(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Arc<SingleCertAndKey> {
    let key = aws_lc_rs::sign::any_supported_type(key).unwrap();
    Arc::new(CertifiedKey::new(chain, key).into())
}

/// Presents nothing.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// The certificate of a device, and its key.
fn certificate(seed: u8) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let pkcs8 = PrivatePkcs8KeyDer::from(identity(seed).pkcs8().to_vec());
    let pair = KeyPair::try_from(&pkcs8).unwrap();
    (CertificateParams::default().self_signed(&pair).unwrap().der().clone(), pkcs8.into())
}

/// A certificate of another kind of key.
fn foreign(algorithm: &'static SignatureAlgorithm) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let pair = KeyPair::generate_for(algorithm).unwrap();
    let key = PrivatePkcs8KeyDer::from(pair.serialize_der());
    (CertificateParams::default().self_signed(&pair).unwrap().der().clone(), key.into())
}

#[test]
fn linked_devices_connect_with_post_quantum_keys_and_know_each_other() {
    let (server, _) = server();
    let handshake = Handshake::run(&Arc::new(client(2)), &server);
    assert!(handshake.succeeded(), "{:?} {:?}", handshake.at_client, handshake.at_server);
    let peer = |chain: Option<&[CertificateDer<'_>]>| device_of(&chain.unwrap()[0]).unwrap();
    assert_eq!(peer(handshake.client.peer_certificates()), device(1));
    assert_eq!(peer(handshake.server.peer_certificates()), device(2));
    assert_eq!(handshake.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = handshake.server.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    assert_eq!(handshake.server.server_name(), None, "the client names nobody in the clear");
}

#[test]
fn a_device_that_keeps_sessions_is_not_resumed_and_not_let_in_once_removed() {
    let (server, admission) = server();
    let mut eager = client(2);
    eager.resumption = Resumption::in_memory_sessions(8);
    eager.enable_early_data = true;
    let eager = Arc::new(eager);
    for _ in 0..2 {
        let handshake = Handshake::run(&eager, &server);
        assert!(handshake.succeeded());
        assert_eq!(handshake.server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(handshake.client.tls13_tickets_received(), 0);
    }
    admission.admit([]);
    assert!(!Handshake::run(&eager, &server).succeeded(), "the second look must not be skipped");
}

#[test]
fn another_device_at_the_address_is_not_taken_for_the_one_dialled() {
    let (server, _) = server();
    let elsewhere = Arc::new(tls(2).client(ALPN_SYNC, device(3)).unwrap());
    let handshake = Handshake::run(&elsewhere, &server);
    assert!(handshake.at_client.is_err());
    assert_eq!(handshake.at_server, Err(Error::AlertReceived(AlertDescription::AccessDenied)));
}

#[test]
fn where_there_is_no_account_any_key_is_refused_and_told_so() {
    let (server, admission) = server();
    admission.admit([]);
    let handshake = Handshake::run(&Arc::new(client(3)), &server);
    assert!(handshake.at_server.is_err());
    assert_eq!(handshake.at_client, Err(Error::AlertReceived(AlertDescription::AccessDenied)));
}

#[test]
fn a_client_without_a_certificate_is_refused_on_both_protocols() {
    let link = Arc::new(tls(1).server(ALPN_LINK, Trust::Anyone).unwrap());
    for (server, alpn) in [(server().0, ALPN_SYNC), (link, ALPN_LINK)] {
        let mut anonymous = tls(2).client(alpn, device(1)).unwrap();
        anonymous.client_auth_cert_resolver = Arc::new(NoCertificate);
        let handshake = Handshake::run(&Arc::new(anonymous), &server);
        assert_eq!(handshake.at_server, Err(Error::NoCertificatesPresented));
    }
}

#[test]
fn a_stolen_certificate_is_worth_nothing_without_its_key() {
    let (server, _) = server();
    let (admitted, _) = certificate(2);
    let (_, thief) = certificate(3);
    let handshake = Handshake::run(&client_presenting(vec![admitted.clone()], &thief), &server);
    assert!(handshake.at_server.is_err());
    let (_, own) = certificate(2);
    assert!(Handshake::run(&client_presenting(vec![admitted], &own), &server).succeeded(), "with its key it is");
}

#[test]
fn keys_of_other_kinds_are_refused_on_either_side() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_RSA_SHA256] {
        let (certificate, key) = foreign(algorithm);
        assert!(device_of(&certificate).is_err());
        let link = Arc::new(tls(1).server(ALPN_SYNC, Trust::Anyone).unwrap());
        assert!(!Handshake::run(&client_presenting(vec![certificate.clone()], &key), &link).succeeded());

        let mut impostor = tls(1).server(ALPN_SYNC, Trust::Anyone).unwrap();
        impostor.cert_resolver = presenting(vec![certificate], &key);
        assert!(!Handshake::run(&Arc::new(client(2)), &Arc::new(impostor)).succeeded());
    }
}

#[test]
fn chains_and_garbage_are_refused() {
    let (server, _) = server();
    let (own, key) = certificate(2);
    let (other, _) = certificate(3);
    let chain = client_presenting(vec![own.clone(), other], &key);
    assert!(Handshake::run(&chain, &server).at_server.is_err());
    for len in 0..own.len() {
        assert!(device_of(&own[..len].into()).is_err(), "cut to {len} bytes");
    }
    for garbage in [vec![], vec![0; 300], vec![0x30; 300], [&own[..], b"x"].concat()] {
        assert!(device_of(&garbage.clone().into()).is_err());
        assert!(!Handshake::run(&client_presenting(vec![garbage.into()], &key), &server).succeeded());
    }
}

#[test]
fn altered_certificates_never_yield_a_key_that_they_do_not_carry() {
    let (own, _) = certificate(2);
    for place in 0..own.len() {
        for bit in 0..8 {
            let mut altered = own.to_vec();
            altered[place] ^= 1 << bit;
            if let Ok(found) = device_of(&altered.clone().into()) {
                assert!(altered.windows(32).any(|window| window == found.as_bytes()), "byte {place}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_key_of_small_order_is_no_identity() {
    let (own, _) = certificate(2);
    let place = own.windows(32).position(|window| window == device(2).as_bytes()).unwrap();
    let mut neutral = [0; 32];
    neutral[0] = 1; // The neutral element, for which anyone can make signatures.
    let mut weak = own.to_vec();
    weak[place..place + 32].copy_from_slice(&neutral);
    assert!(device_of(&weak.into()).is_err());
}

#[test]
fn tls_1_2_is_not_spoken() {
    let (server, _) = server();
    let mut server = ServerConnection::new(server).unwrap();
    // ClientHello of TLS 1.2 (RFC 5246 section 7.4.1.2): one AES-GCM suite, signatures by Ed25519.
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2b, 1, 0], &[0, 8, 0, 13, 0, 4, 0, 2, 8, 7]].concat();
    let len = u8::try_from(body.len()).unwrap();
    let hello = [&[0x16, 3, 3, 0, len + 4, 1, 0, 0, len][..], &body].concat();
    server.read_tls(&mut &hello[..]).unwrap();
    assert!(matches!(server.process_new_packets(), Err(Error::PeerIncompatible(_))));
    let mut alert = Vec::new();
    server.write_tls(&mut alert).unwrap();
    assert_eq!(alert.last(), Some(&u8::from(AlertDescription::ProtocolVersion)));
}
