//! TLS for servers: certificates with their keys from PEM bytes, and a holder in which they can be exchanged while running.
//!
//! rustls with aws-lc-rs, TLS 1.2 and 1.3, no client certificates. TLS 1.0 and 1.1 are not spoken: a sender that knows
//! nothing newer falls back to cleartext, as opportunistic TLS does.
//!
//! It does *not* read files or verify clients.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use envelope::Tls;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig, ServerConnection, SignatureAlgorithm};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

/// The server's certificates, exchangeable while connections are running: whoever begins TLS after
/// [`Holder::replace`] gets the new ones. The keys of session tickets stay, so that clients go on resuming. Clones share it.
#[derive(Clone)]
pub struct Holder {
    certificates: Arc<Certificates>,
    config: Arc<ServerConfig>,
}

/// A chain with its key, from [`load`].
pub type Certificate = Arc<CertifiedKey>;

/// What there is to choose from.
#[derive(Debug)]
struct Certificates {
    own: ArcSwap<Vec<Known>>,
    /// Got by the way: where both fit, the one that is valid counts, and then the one that is so for longer.
    issued: ArcSwapOption<Known>,
}

/// A certificate with what was read of it once: no client waits for that.
#[derive(Debug)]
struct Known {
    certificate: Certificate,
    life: (i64, i64),
    /// What we have signed ourselves only stands in for what is to be issued.
    stands_in: bool,
}

impl Known {
    fn of(certificate: Certificate) -> Self {
        Self {
            life: life(&certificate),
            stands_in: parsed(&certificate).is_some_and(|own| own.issuer() == own.subject()),
            certificate,
        }
    }
}

/// Why certificate and key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The certificate's bytes hold no `CERTIFICATE` section.
    #[error(
        "no certificate in it\n\nhint: it must hold the server's certificate and then its issuers', as PEM (`-----BEGIN CERTIFICATE-----`)"
    )]
    NoCertificate,
    /// The certificate's bytes are no PEM, or not a certificate.
    #[error("the certificate cannot be read: {0}")]
    CertificateUnreadable(String),
    /// The key's bytes hold no private key.
    #[error(
        "no private key in it\n\nhint: it must hold the key as PEM (`-----BEGIN PRIVATE KEY-----`), without a passphrase"
    )]
    NoKey,
    /// The key is protected by a passphrase.
    #[error(
        "the private key is encrypted\n\nhint: take the passphrase off with `openssl pkey -in KEY -out NEW`"
    )]
    KeyEncrypted,
    /// The key's bytes are no PEM, or a key of a kind that is not known.
    #[error("the private key cannot be read: {0}")]
    KeyUnreadable(String),
    /// Both are readable, but the certificate is for another key.
    #[error(
        "the private key does not match the certificate\n\nhint: the server's certificate must come first, before its issuers'"
    )]
    KeyMismatch,
}

/// Which of the two inputs an [`Error`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The certificate's bytes.
    Certificate,
    /// The key's bytes.
    Key,
}

impl Error {
    /// Which input is to blame: the file to name to the operator.
    pub fn input(&self) -> Input {
        match self {
            Self::NoCertificate | Self::CertificateUnreadable(_) => Input::Certificate,
            Self::NoKey | Self::KeyEncrypted | Self::KeyUnreadable(_) | Self::KeyMismatch => {
                Input::Key
            }
        }
    }
}

impl Holder {
    /// Holds these; where several fit a client, the first counts.
    pub fn new(certificates: Vec<Certificate>) -> Self {
        let certificates = Arc::new(Certificates {
            own: ArcSwap::from_pointee(certificates.into_iter().map(Known::of).collect()),
            issued: ArcSwapOption::empty(),
        });
        let provider = Arc::new(aws_lc_rs::default_provider());
        let Ok(builder) =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
        else {
            unreachable!("aws-lc-rs has cipher suites for TLS 1.2 and 1.3")
        };
        let resolver = Arc::clone(&certificates);
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        // The client keeps its session: it can come back after any number of others. Without randomness for
        // the tickets' keys, rustls' own memory of the last 256 sessions remains.
        if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Self {
            certificates,
            config: Arc::new(config),
        }
    }

    /// What any server of ours needs, whatever it speaks.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Those of now.
    pub fn certificates(&self) -> Vec<Certificate> {
        let issued = self.certificates.issued.load_full();
        let own = self.certificates.own.load();
        let all = own.iter().chain(issued.as_deref());
        all.map(|known| Arc::clone(&known.certificate)).collect()
    }

    /// From now on these, and what was issued.
    pub fn replace(&self, certificates: Vec<Certificate>) {
        let known = certificates.into_iter().map(Known::of).collect();
        self.certificates.own.store(Arc::new(known));
    }

    /// From now on this one too, in place of what was issued before.
    pub fn issue(&self, certificate: Certificate) {
        let known = Arc::new(Known::of(certificate));
        self.certificates.issued.store(Some(known));
    }
}

impl ResolvesServerCert for Certificates {
    /// One whose signature the client can verify: rather one for the name that it asks for, and rather one without
    /// RSA, which costs the server three times as much.
    fn resolve(&self, client: ClientHello<'_>) -> Option<Certificate> {
        let name = client
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let is_possible = |known: &Known| {
            let schemes = client.signature_schemes();
            known.certificate.key.choose_scheme(schemes).is_some()
        };
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let rank = |known: &Known| {
            let named = |name| names(&known.certificate, name);
            let (begin, end) = known.life;
            (name.as_ref().is_some_and(named), begin <= now && now < end)
        };
        let own = self.own.load();
        let own = own.iter().filter(|own| is_possible(own));
        let own = own.map(|own| (rank(own), own));
        let is_rsa = |own: &Known| own.certificate.key.algorithm() == SignatureAlgorithm::RSA;
        let own = own.min_by_key(|(rank, own)| (Reverse(*rank), is_rsa(own)));
        let own = own.map(|(rank, own)| (rank, own.life.1, own));
        let issued = self.issued.load_full();
        let issued = issued.as_deref().filter(|issued| is_possible(issued));
        let until = |issued: &Known| match issued.stands_in {
            true => i64::MIN,
            false => issued.life.1,
        };
        let issued = issued.map(|issued| (rank(issued), until(issued), issued));
        let best = issued
            .into_iter()
            .chain(own)
            .max_by_key(|(rank, until, _)| (*rank, *until));
        best.map(|(.., known)| Arc::clone(&known.certificate))
    }
}

/// Whether a client that verifies takes this certificate for a host of this name.
pub fn is_for(certificate: &CertifiedKey, host: &str) -> bool {
    ServerName::try_from(host).is_ok_and(|name| names(certificate, &name))
}

/// From when to when it is valid, in seconds since 1970; always, if that cannot be read.
pub fn life(certificate: &CertifiedKey) -> (i64, i64) {
    parsed(certificate).map_or((i64::MIN, i64::MAX), |own| {
        let validity = own.validity();
        (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        )
    })
}

fn parsed(certificate: &CertifiedKey) -> Option<X509Certificate<'_>> {
    let (_, own) = parse_x509_certificate(certificate.cert.first()?).ok()?;
    Some(own)
}

fn names(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = certificate.end_entity_cert();
    let parsed = parsed.and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

/// The private key is none of the log's business.
impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder")
    }
}

/// Reads a chain (the server's own certificate first) and its key, both PEM.
pub fn load(certificate: &[u8], key: &[u8]) -> Result<Certificate, Error> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::CertificateUnreadable(error.to_string()))?;
    if chain.is_empty() {
        return Err(Error::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound if contains(key, ENCRYPTED_KEY) => Error::KeyEncrypted,
        pem::Error::NoItemsFound => Error::NoKey,
        error => Error::KeyUnreadable(error.to_string()),
    })?;
    let key = aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|error| Error::KeyUnreadable(error.to_string()))?;
    let certificate = CertifiedKey::new(chain, key);
    match certificate.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Ok(Arc::new(certificate))
        }
        Err(rustls::Error::InconsistentKeys(_)) => Err(Error::KeyMismatch),
        Err(error) => Err(Error::CertificateUnreadable(error.to_string())),
    }
}

/// The server's side of a handshake, no longer than `limit`. The error is for the log.
pub(crate) async fn accept(
    stream: TcpStream,
    holder: &Holder,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, String> {
    let acceptor = TlsAcceptor::from(Arc::clone(&holder.config));
    match timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("timed out".to_owned()),
    }
}

/// Version and cipher of a finished handshake.
pub(crate) fn facts(connection: &ServerConnection) -> Tls<'static> {
    let version = connection.protocol_version();
    let suite = connection.negotiated_cipher_suite();
    Tls::from_rustls(
        version.and_then(|version| version.as_str()),
        suite.and_then(|suite| suite.suite().as_str()),
    )
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

const ENCRYPTED_KEY: &[u8] = b"BEGIN ENCRYPTED PRIVATE KEY";

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let names = vec!["mx.example.org".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[track_caller]
    fn check(certificate: &str, key: &str, expected: &str, input: Input) {
        let error = load(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(error.input(), input);
    }

    #[test]
    fn loads() {
        let (certificate, key) = pair();
        let (issuer, _) = pair();
        load(certificate.as_bytes(), key.as_bytes()).unwrap();
        let chain = format!("a comment\n{certificate}\n{issuer}");
        load(chain.as_bytes(), key.as_bytes()).unwrap();
        // One file with both is usual, too.
        let both = format!("{key}{certificate}");
        load(both.as_bytes(), both.as_bytes()).unwrap();
    }

    #[test]
    fn errors_say_which_and_why() {
        let (certificate, key) = pair();
        let (other_certificate, other_key) = pair();
        let no_certificate = "no certificate in it\n\nhint: ";
        check("", &key, no_certificate, Input::Certificate);
        check(&key, &key, no_certificate, Input::Certificate);
        let no_key = "no private key in it\n\nhint: ";
        check(&certificate, "", no_key, Input::Key);
        check(&certificate, &certificate, no_key, Input::Key);
        let mismatch = "the private key does not match the certificate";
        check(&certificate, &other_key, mismatch, Input::Key);
        let issuer_first = format!("{other_certificate}{certificate}");
        check(&issuer_first, &key, mismatch, Input::Key);
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let message = "the private key is encrypted\n\nhint: ";
        check(&certificate, &encrypted, message, Input::Key);
        let torn = &certificate[..certificate.len() / 2];
        let message = "the certificate cannot be read: ";
        check(torn, &key, message, Input::Certificate);
        let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(garbled, &key, message, Input::Certificate);
        let message = "the private key cannot be read: ";
        check(&certificate, &key[..key.len() / 2], message, Input::Key);
        let garbled = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        check(&certificate, garbled, message, Input::Key);
    }

    #[test]
    fn replaced_for_all_clones() {
        let load = |(certificate, key): (String, String)| {
            load(certificate.as_bytes(), key.as_bytes()).unwrap()
        };
        let (first, second) = (load(pair()), load(pair()));
        let holder = Holder::new(vec![Arc::clone(&first)]);
        let clone = holder.clone();
        let held = || clone.certificates();
        assert!(Arc::ptr_eq(&held()[0], &first));
        holder.replace(vec![Arc::clone(&second)]);
        assert!(Arc::ptr_eq(&held()[0], &second));
        holder.issue(Arc::clone(&first));
        holder.replace(Vec::new());
        assert!(Arc::ptr_eq(&held()[0], &first), "what was issued stays");
        assert_eq!(format!("{holder:?}"), "Holder");
    }
}
