//! TLS to the database, as libpq understands `sslmode` and `sslrootcert`.
//!
//! `prefer` and `require` encrypt, and prove nothing; `verify-full` proves the server's name.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::settings::StartError;

/// How a server is proved.
pub(crate) enum Verify {
    /// By the system's roots.
    System,
    /// By the certificates of this file.
    File(String),
}

/// Takes out of a URL what tokio-postgres does not know; none: nothing is to be proved.
pub(crate) fn split(url: &str) -> (String, Option<Verify>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let (mut verify, mut roots, mut rest) = (false, None, Vec::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", "verify-full" | "verify-ca")) => verify = true,
            Some(("sslrootcert", file)) => roots = Some(file.replace("%2F", "/")),
            _ => rest.push(pair),
        }
    }
    let url = match rest.is_empty() {
        true => base.to_owned(),
        false => format!("{base}?{}", rest.join("&")),
    };
    let how = roots.map_or(Verify::System, Verify::File);
    (url, verify.then_some(how))
}

pub(crate) fn proved(how: Verify) -> Result<ClientConfig, StartError> {
    let file = match how {
        Verify::System => {
            let builder = builder().with_platform_verifier();
            let builder = builder.map_err(|error| StartError::Certificates {
                file: "the system's roots".to_owned(),
                why: error.to_string(),
            })?;
            return Ok(builder.with_no_client_auth());
        }
        Verify::File(file) => file,
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
    Ok(builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Encrypts, with whoever answers.
pub(crate) fn unproved() -> ClientConfig {
    let builder = builder();
    let provider = Arc::clone(builder.crypto_provider());
    builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
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

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: &str, is_proved: bool) {
        let (url, verify) = split(url);
        assert_eq!((&*url, verify.is_some()), (expected, is_proved));
    }

    #[test]
    fn what_libpq_knows_and_the_library_does_not_is_taken_out() {
        check("postgres://a/b", "postgres://a/b", false);
        check(
            "postgres://a/b?sslmode=require",
            "postgres://a/b?sslmode=require",
            false,
        );
        check("postgres://a/b?sslmode=verify-full", "postgres://a/b", true);
        let both = "postgres://a/b?sslmode=verify-full&connect_timeout=3&sslrootcert=/r.pem";
        check(both, "postgres://a/b?connect_timeout=3", true);
    }
}
