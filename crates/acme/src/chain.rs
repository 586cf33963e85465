//! What a chain of certificates says: for which names, and for how long.

use std::fmt::Display;

use envelope::Timestamp;
use instant_acme::CertificateIdentifier;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::schedule::Life;

/// The first certificate of a chain.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) life: Life,
    names: Vec<String>,
    der: CertificateDer<'static>,
}

impl Own {
    /// Reads it.
    pub(crate) fn read(pem: &str) -> Result<Self, String> {
        let wrong = |why: &dyn Display| format!("the certificate cannot be read: {why}");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(&error))?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(|error| wrong(&error))?;
        let at = |secs: i64| {
            let secs = u64::try_from(secs).unwrap_or_default();
            Timestamp::from_unix_millis(secs.saturating_mul(1000))
        };
        let validity = parsed.validity();
        let (begin, end) = (
            at(validity.not_before.timestamp()),
            at(validity.not_after.timestamp()),
        );
        if end <= begin {
            return Err(wrong(&"it ends before it begins"));
        }
        let others = parsed.subject_alternative_name();
        let others = others.map_err(|error| wrong(&error))?;
        let others = others.iter().flat_map(|all| &all.value.general_names);
        let names = others.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
        Ok(Self {
            life: Life { begin, end },
            names: names.collect(),
            der: der.clone(),
        })
    }

    /// The first of these names that it is not for.
    pub(crate) fn lacks<'a>(&self, domains: &'a [String]) -> Option<&'a String> {
        domains.iter().find(|domain| !self.names.contains(domain))
    }

    /// As the server knows it in RFC 9773.
    pub(crate) fn identifier(&self) -> Option<CertificateIdentifier<'static>> {
        let found = CertificateIdentifier::try_from(&self.der).ok();
        found.map(CertificateIdentifier::into_owned)
    }
}

/// One that nobody but ourselves vouches for.
pub(crate) fn self_signed(domains: &[String], key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(domains)?;
    if let Some(first) = domains.first() {
        params.distinguished_name.push(DnType::CommonName, first);
    }
    Ok(params.self_signed(key)?.pem())
}
