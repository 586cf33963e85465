//! TLS as a client that authenticates nobody (RFC 7435): better than clear text, and whatever certificate the peer shows
//! is taken. And the stream that is one or the other.
//!
//! It does *not* know DANE or MTA-STS; those will bring verifiers of their own.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use envelope::{Domain, PeerTls, Tls};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::sessions::Sessions;

/// A connection's bytes, in clear or not.
#[derive(Debug)]
pub(crate) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Believes every certificate.
#[derive(Debug)]
struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
}

/// The configuration for opportunistic TLS: 1.2 and 1.3, resuming sessions.
pub(crate) fn opportunistic() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let Ok(builder) =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    else {
        unreachable!("aws-lc-rs has cipher suites for TLS 1.2 and 1.3")
    };
    let verifier = Arc::new(Unverified { algorithms });
    let builder = builder.dangerous();
    let builder = builder.with_custom_certificate_verifier(verifier);
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::store(Arc::new(Sessions::default()));
    Arc::new(config)
}

impl Stream {
    /// Does the handshake. The name goes into SNI; a host without one is told by its address, which sends none.
    pub(crate) async fn start_tls(
        self,
        config: Arc<ClientConfig>,
        name: Option<&Domain>,
        address: IpAddr,
    ) -> io::Result<Self> {
        let Self::Clear(stream) = self else {
            return Err(io::Error::other("TLS inside TLS"));
        };
        let name = name.and_then(|name| ServerName::try_from(name.to_string()).ok());
        let name = name.unwrap_or_else(|| ServerName::from(address));
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// How it is encrypted.
    pub(crate) fn tls(&self) -> Option<PeerTls> {
        let Self::Tls(stream) = self else {
            return None;
        };
        let connection = stream.get_ref().1;
        let version = connection.protocol_version();
        let suite = connection.negotiated_cipher_suite();
        Some(PeerTls {
            tls: Tls::from_rustls(
                version.and_then(|version| version.as_str()),
                suite.and_then(|suite| suite.suite().as_str()),
            ),
            // See `Unverified`.
            is_verified: false,
        })
    }

    /// Reads what there is; 0 is the end. Nothing is lost when the future is dropped.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        }
    }

    /// Writes some of it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(bytes).await,
            Self::Tls(stream) => stream.write(bytes).await,
        }
    }

    /// Sees to it that nothing written is held back.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.flush().await,
            Self::Tls(stream) => stream.flush().await,
        }
    }
}

/// Signatures are not looked at either: webpki's check would also parse the certificate, and fail the handshake with
/// peers whose certificates are merely odd (an unknown critical extension, X.509 v1), for no gain in safety.
impl ServerCertVerifier for Unverified {
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
        self.algorithms.supported_schemes()
    }
}
