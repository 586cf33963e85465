//! TLS to the database, as libpq understands `sslmode` and `sslrootcert`.
//!
//! `prefer` and `require` encrypt, and prove nothing; `verify-full` proves the server's name. With `sslrootcert` all of them prove
//! that the server's certificate is of one of these authorities, as `verify-ca` does.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::settings::StartError;

/// How a server is proved.
pub(crate) enum Verify {
    /// By the system's roots.
    System,
    /// By the certificates of this file; by its name too, or by them alone.
    File(String, bool),
}

/// Takes out of a URL what tokio-postgres does not know; none: nothing is to be proved.
pub(crate) fn split(url: &str) -> (String, Option<Verify>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let (mut verify, mut roots, mut rest) = (None, None, Vec::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", mode @ ("verify-full" | "verify-ca"))) => verify = Some(mode),
            Some(("sslrootcert", file)) => roots = Some(file.replace("%2F", "/")),
            _ => rest.push(pair),
        }
    }
    if verify.is_some() {
        rest.push("sslmode=require");
    }
    let url = match rest.is_empty() {
        true => base.to_owned(),
        false => format!("{base}?{}", rest.join("&")),
    };
    let how = match roots {
        Some(file) => Some(Verify::File(file, verify == Some("verify-full"))),
        // Everybody has a certificate of some authority of the system's: the name must be proved.
        None => verify.map(|_| Verify::System),
    };
    (url, how)
}

pub(crate) fn proved(how: Verify) -> Result<ClientConfig, StartError> {
    let (file, is_named) = match how {
        Verify::System => {
            let builder = builder().with_platform_verifier();
            let builder = builder.map_err(|error| StartError::Certificates {
                file: "the system's roots".to_owned(),
                why: error.to_string(),
            })?;
            return Ok(builder.with_no_client_auth());
        }
        Verify::File(file, is_named) => (file, is_named),
    };
    let wrong = |why: String| StartError::Certificates {
        file: file.clone(),
        why,
    };
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(&file).map_err(|error| wrong(error.to_string()))?;
    for certificate in read {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    let builder = builder();
    if is_named {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let provider = Arc::clone(builder.crypto_provider());
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let chain = chain.map_err(|error| wrong(error.to_string()))?;
    Ok(nameless(builder, Some(chain)))
}

/// Encrypts, with whoever answers.
pub(crate) fn unproved() -> ClientConfig {
    nameless(builder(), None)
}

fn nameless(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    chain: Option<Arc<WebPkiServerVerifier>>,
) -> ClientConfig {
    let provider = Arc::clone(builder.crypto_provider());
    builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider, chain)))
        .with_no_client_auth()
}

/// One provider in the whole program.
fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    match builder.with_safe_default_protocol_versions() {
        Ok(builder) => builder,
        Err(error) => unreachable!("the provider has the default versions: {error}"),
    }
}

/// Whatever its name is; with a certificate of these authorities, if there are any.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>, Option<Arc<WebPkiServerVerifier>>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Self(_, Some(chain)) = self else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end, between, name, ocsp, now) {
            // Which is looked at last: the rest is proved.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use testkit::tls::Identity;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::connect::Database;
    use crate::settings::Settings;

    #[track_caller]
    fn check(url: &str, expected: &str, is_proved: bool) {
        let (url, verify) = split(url);
        assert_eq!((&*url, verify.is_some()), (expected, is_proved));
    }

    #[test]
    fn what_libpq_knows_and_the_library_does_not_is_taken_out() {
        check("postgres://a/b", "postgres://a/b", false);
        let required = "postgres://a/b?sslmode=require";
        check(required, required, false);
        check("postgres://a/b?sslmode=verify-full", required, true);
        let both = "postgres://a/b?sslmode=verify-full&connect_timeout=3&sslrootcert=/r.pem";
        let rest = "postgres://a/b?connect_timeout=3&sslmode=require";
        check(both, rest, true);
        check("postgres://a/b?sslrootcert=/r.pem", "postgres://a/b", true);
    }

    /// Whether a server with this certificate is talked to, when `roots` holds that of `root`.
    async fn is_taken(mode: &str, server: &Identity, root: &Identity) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &root.certificate_pem).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let roots = file.path().display();
        let url = format!("postgres://a@127.0.0.1:{port}/b?sslmode={mode}&sslrootcert={roots}");
        let database = Database::new(&Settings::new(url, "mx1")).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 8]).await.unwrap();
            stream.write_all(b"S").await.unwrap();
            server.acceptor().accept(stream).await.is_ok()
        };
        tokio::join!(serve, database.get()).0
    }

    #[tokio::test]
    async fn a_file_of_roots_proves_as_with_libpq() {
        let [own, named, other] = ["db.test", "127.0.0.1", "db.test"].map(Identity::new);
        for (mode, named_otherwise) in [
            ("prefer", true),
            ("require", true),
            ("verify-ca", true),
            ("verify-full", false),
        ] {
            assert!(is_taken(mode, &named, &named).await, "{mode}");
            assert_eq!(is_taken(mode, &own, &own).await, named_otherwise, "{mode}");
            assert!(!is_taken(mode, &own, &other).await, "{mode}: another's");
        }
    }
}
