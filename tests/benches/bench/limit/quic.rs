//! QUIC over loopback, with the key exchange that Kinlink takes; either end proves its key, and nothing is resumed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

/// Bytes that may be under way.
const WINDOW: u32 = 8 << 20;
const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";

/// Makes the key that both ends have, and the certificate that either knows the other by.
pub(super) fn make_identity(dir: &Path) -> anyhow::Result<()> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let certificate = rcgen::CertificateParams::new(vec!["limit".to_owned()])?.self_signed(&key)?;
    std::fs::write(dir.join(CERTIFICATE), certificate.der())?;
    Ok(std::fs::write(dir.join(KEY), key.serialize_der())?)
}

/// Listens as who [`make_identity`] made.
pub(super) fn listen(dir: &Path) -> anyhow::Result<Endpoint> {
    let (certificate, key, roots) = identity(dir)?;
    let peers = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(peers)
        .with_single_cert(vec![certificate], key)?;
    tls.send_tls13_tickets = 0;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport());
    Ok(Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into())?)
}

/// What connects to those that [`listen`] in the same directory.
pub(super) struct Client {
    pub(super) endpoint: Endpoint,
    config: ClientConfig,
}

impl Client {
    pub(super) fn new(dir: &Path) -> anyhow::Result<Self> {
        let (certificate, key, roots) = identity(dir)?;
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?;
        tls.resumption = Resumption::disabled();
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(transport());
        Ok(Self { endpoint: Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?, config })
    }

    pub(super) async fn connect(&self, port: u16) -> anyhow::Result<Connection> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(self.endpoint.connect_with(self.config.clone(), to, "limit")?.await?)
    }
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>, Arc<RootCertStore>);

fn identity(dir: &Path) -> anyhow::Result<Identity> {
    let certificate = CertificateDer::from(std::fs::read(dir.join(CERTIFICATE))?);
    let key = PrivatePkcs8KeyDer::from(std::fs::read(dir.join(KEY))?);
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    Ok((certificate, key.into(), roots.into()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(WINDOW)).receive_window(VarInt::from_u32(WINDOW));
    transport.send_window(u64::from(WINDOW));
    Arc::new(transport)
}
