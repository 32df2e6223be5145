//! TLS: the device key is the identity.
//!
//! A certificate is only a wrapper for an Ed25519 key: no chain, no names, no dates are read. The key is looked
//! up in the roster of the moment ([`Admission`]) or compared with the one that was dialled, and the handshake's
//! signature is verified with that key. Nothing is ever resumed, because a resumed handshake would skip all this.

use std::sync::Arc;

use kinlink_proto::id::DeviceId;
use kinlink_proto::key::{Identity, valid_device};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ED25519};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName as DerName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme, version,
};

use super::admission::Admission;

/// ALPN of sync between linked devices.
pub const ALPN_SYNC: &[u8] = b"kinlink/1";
/// ALPN of linking.
pub const ALPN_LINK: &[u8] = b"kinlink-link/1";

/// DER of an Ed25519 SubjectPublicKeyInfo before the key (RFC 8410 section 4): with 32 bytes more, the only encoding.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate could not be made from the identity key.
    #[error("cannot make a certificate from the identity key: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS does not take the certificate or the settings.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] Error),
}

/// Whose keys pass.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those that the roster of the moment admits, and others while there is an account to be introduced to: what those
    /// may do beyond the handshake is decided behind it.
    Roster(Admission),
    /// Exactly this one: the device that was dialled.
    Pinned(DeviceId),
    /// Anyone with a key: only for the linking socket, where the proof follows inside.
    Anyone,
}

impl Trust {
    fn check(&self, device: &DeviceId) -> Result<(), Error> {
        let trusted = match self {
            Self::Roster(admission) => admission.allows(device) || admission.hears_strangers(),
            Self::Pinned(pinned) => pinned == device,
            Self::Anyone => true,
        };
        // Goes out as the alert access_denied, which tells the peer from a fault in the certificate.
        trusted.then_some(()).ok_or(CertificateError::ApplicationVerificationFailure.into())
    }
}

/// This device's certificate and its key, and TLS configurations made of them.
#[derive(Clone, Debug)]
pub struct Tls {
    certified: Arc<SingleCertAndKey>,
    provider: Arc<CryptoProvider>,
}

impl Tls {
    /// Makes a fresh self-signed certificate of the identity key.
    ///
    /// # Errors
    /// If the certificate cannot be made: a fault of a library, as any identity key will do.
    pub fn new(identity: &Identity) -> Result<Self, TlsError> {
        let pkcs8 = identity.pkcs8();
        let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ED25519)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let certificate = params.self_signed(&pair)?;
        let key = aws_lc_rs::sign::any_eddsa_type(&pkcs8)?;
        let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
        Ok(Self { certified: Arc::new(certified.into()), provider: Arc::new(provider()) })
    }

    /// For accepting: TLS 1.3, a client certificate required, nothing to resume with.
    ///
    /// # Errors
    /// If TLS does not take the settings.
    pub fn server(&self, alpn: &[u8], trust: Trust) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(Arc::new(KeyVerifier::new(trust)))
            .with_cert_resolver(self.certified.clone());
        config.alpn_protocols = vec![alpn.to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        #[cfg(debug_assertions)]
        {
            config.key_log = key_log();
        }
        Ok(config)
    }

    /// For dialling: TLS 1.3, exactly that device, no server name sent, nothing kept to resume with.
    ///
    /// # Errors
    /// If TLS does not take the settings.
    pub fn client(&self, alpn: &[u8], device: DeviceId) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous() // The verifier reads the key and nothing else; see the module's text.
            .with_custom_certificate_verifier(Arc::new(KeyVerifier::new(Trust::Pinned(device))))
            .with_client_cert_resolver(self.certified.clone());
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        #[cfg(debug_assertions)]
        {
            config.key_log = key_log();
        }
        Ok(config)
    }
}

/// Where the secrets of connections are written, if the environment names a file in `SSLKEYLOGFILE`: for tests that read
/// what was captured. A build for release has none of this.
#[cfg(debug_assertions)]
fn key_log() -> Arc<dyn rustls::KeyLog> {
    Arc::new(rustls::KeyLogFile::new())
}

/// aws-lc-rs with the hybrid post-quantum key exchange first, and X25519 for want of it.
fn provider() -> CryptoProvider {
    CryptoProvider { kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519], ..aws_lc_rs::default_provider() }
}

/// The Ed25519 key of a certificate that a peer presented.
///
/// # Errors
/// If it is not an X.509 certificate, its key is not exactly one Ed25519 key, or the key is of small order.
pub fn device_of(certificate: &CertificateDer<'_>) -> Result<DeviceId, Error> {
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    spki.strip_prefix(&ED25519_SPKI)
        .and_then(|key| <[u8; 32]>::try_from(key).ok())
        .map(DeviceId)
        .filter(valid_device)
        .ok_or(CertificateError::BadEncoding.into())
}

fn spki_of(device: &DeviceId) -> SubjectPublicKeyInfoDer<'static> {
    [&ED25519_SPKI[..], device.as_bytes()].concat().into()
}

/// Verifies keys, on either side.
#[derive(Debug)]
struct KeyVerifier {
    trust: Trust,
}

impl KeyVerifier {
    fn new(trust: Trust) -> Self {
        Self { trust }
    }

    fn verify(&self, certificate: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !intermediates.is_empty() {
            return Err(CertificateError::BadEncoding.into());
        }
        self.trust.check(&device_of(certificate)?)
    }
}

/// Verifies with the very key that was read as the DeviceId, not with what else a parser might find.
fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(PeerIncompatible::NoSignatureSchemesInCommon.into());
    }
    let spki = spki_of(&device_of(certificate)?);
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    verify_tls13_signature_with_raw_key(message, &spki, signed, &algorithms)
}

fn tls12_refused() -> Error {
    PeerIncompatible::Tls12NotOffered.into()
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for KeyVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DerName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
