//! TLS for tests: a self-signed certificate made on the spot, a server with it, a client that believes anyone.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A self-signed certificate and its key.
pub struct Identity {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The key in PEM (PKCS #8).
    pub key_pem: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    public_key: Vec<u8>,
}

impl Identity {
    /// A new identity for `name`.
    pub fn new(name: &str) -> Self {
        Self::made(name, |_| {})
    }

    /// One whose time is over.
    pub fn expired(name: &str) -> Self {
        Self::made(name, |of| of.not_after = rcgen::date_time_ymd(2020, 1, 1))
    }

    fn made(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let params = CertificateParams::new([name.to_owned()]);
        let mut params = params.expect("a host name may be in a certificate");
        change(&mut params);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("and sign a certificate");
        Self {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
            public_key: key.subject_public_key_info(),
        }
    }

    /// The certificate, for those who trust it.
    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The TLSA record of its key: `3 1 1 …`.
    pub fn tlsa(&self) -> String {
        let digest = digest(&SHA256, &self.public_key);
        let hex = digest.as_ref().iter().map(|octet| format!("{octet:02x}"));
        format!("3 1 1 {}", hex.collect::<String>())
    }

    /// A server that presents it.
    pub fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .expect("a certificate with its own key");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A client that takes any certificate.
pub fn connector() -> TlsConnector {
    TlsConnector::from(Arc::new(credulous()))
}

/// One that wants this protocol inside (ALPN).
pub fn connector_for(protocol: &[u8]) -> TlsConnector {
    let mut config = credulous();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn credulous() -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth()
}

/// The name to connect to; what it says does not matter to [`connector`].
pub fn any_name() -> ServerName<'static> {
    ServerName::try_from("mx.example.test").expect("a valid name")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
