//! TLS as a client: what handshakes are made with, and the stream that is encrypted or not.

pub(crate) mod dane;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use envelope::{Diagnosis, Domain, EnhancedStatus, Tls};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::policy::Security;
use crate::sessions::Sessions;
use dane::Dane;

/// A connection's bytes, in clear or not.
#[derive(Debug)]
pub(crate) enum Stream {
    Clear(TcpStream),
    /// A socket of this machine.
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Believes every certificate (RFC 7435): better than clear text.
#[derive(Debug)]
struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
}

/// What handshakes are made with. A session is not resumed under another verifier, so each kind has its own memory of them.
#[derive(Debug)]
pub(crate) struct Clients {
    opportunistic: Arc<ClientConfig>,
    roots: Vec<CertificateDer<'static>>,
    verified: OnceLock<Result<Verified, rustls::Error>>,
}

type Verified = (Arc<ClientConfig>, Arc<Verifier>);

impl Clients {
    /// `roots`: see [`Settings::roots`](crate::Settings::roots).
    pub(crate) fn new(roots: Vec<CertificateDer<'static>>) -> Self {
        let provider = aws_lc_rs::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        Self {
            opportunistic: client(Arc::new(Unverified { algorithms })),
            roots,
            verified: OnceLock::new(),
        }
    }

    /// For connections like that.
    pub(crate) fn of(&self, security: &Security) -> Result<Arc<ClientConfig>, Diagnosis> {
        if let Security::Dane(host) = security {
            return Ok(dane_client(Arc::clone(host)));
        }
        if !security.verifies() {
            return Ok(Arc::clone(&self.opportunistic));
        }
        let verified = self
            .verified()
            .as_ref()
            .map(|(config, _)| Arc::clone(config));
        verified.map_err(|error| {
            Diagnosis::local(NO_ROOTS, format!("no certificate can be verified: {error}"))
        })
    }

    /// The system's roots are read when they are first wanted.
    fn verified(&self) -> &Result<Verified, rustls::Error> {
        self.verified.get_or_init(|| {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let verifier = Verifier::new_with_extra_roots(self.roots.clone(), provider)?;
            let verifier = Arc::new(verifier);
            Ok((client(Arc::<Verifier>::clone(&verifier)), verifier))
        })
    }

    /// Whether a host of this name could have shown these certificates where they are verified.
    pub(crate) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        name: &Domain,
    ) -> Result<(), rustls::Error> {
        let (Ok((_, verifier)), Some((leaf, rest))) = (self.verified(), chain.split_first()) else {
            return Ok(());
        };
        let name = ServerName::try_from(name.to_string());
        let name = name.map_err(|_| CertificateError::NotValidForName)?;
        let verified = verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::now());
        verified.map(drop)
    }
}

/// For one connection: its host's records may be others next time. So nothing is resumed.
fn dane_client(host: Arc<Dane>) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = config(
        Arc::new(dane::Verifier::new(host, Arc::clone(&provider))),
        provider,
    );
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// TLS 1.2 and 1.3, resuming sessions.
fn client(verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
    let mut config = config(verifier, Arc::new(aws_lc_rs::default_provider()));
    config.resumption = Resumption::store(Arc::new(Sessions::default()));
    Arc::new(config)
}

fn config(verifier: Arc<dyn ServerCertVerifier>, provider: Arc<CryptoProvider>) -> ClientConfig {
    let Ok(builder) =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    else {
        unreachable!("aws-lc-rs has cipher suites for TLS 1.2 and 1.3")
    };
    let builder = builder.dangerous();
    let builder = builder.with_custom_certificate_verifier(verifier);
    builder.with_no_client_auth()
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
    pub(crate) fn tls(&self) -> Option<Tls<'static>> {
        let Self::Tls(stream) = self else {
            return None;
        };
        let connection = stream.get_ref().1;
        let version = connection.protocol_version();
        let suite = connection.negotiated_cipher_suite();
        Some(Tls::from_rustls(
            version.and_then(|version| version.as_str()),
            suite.and_then(|suite| suite.suite().as_str()),
        ))
    }

    /// The certificates that the host has shown.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        match self {
            Self::Tls(stream) => stream.get_ref().1.peer_certificates().unwrap_or_default(),
            Self::Clear(_) | Self::Unix(_) => &[],
        }
    }

    /// Reads what there is; 0 is the end. Nothing is lost when the future is dropped.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer).await,
            Self::Unix(stream) => stream.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
        }
    }

    /// Writes some of it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(bytes).await,
            Self::Unix(stream) => stream.write(bytes).await,
            Self::Tls(stream) => stream.write(bytes).await,
        }
    }

    /// Sees to it that nothing written is held back.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.flush().await,
            Self::Unix(stream) => stream.flush().await,
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

/// RFC 3463 §3.8: cryptographic failure.
const NO_ROOTS: EnhancedStatus = EnhancedStatus::transient(7, 5);
