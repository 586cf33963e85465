//! DANE for SMTP (RFC 7672): which certificates a host may show, as its TLSA records say. Pure: records, certificates and the time
//! come in.
//!
//! Usage 3 names the host's own certificate: the names in it and its dates do not count (§3.1.1), so nothing of it is read but its
//! public key, and what webpki would refuse (X.509 v1, critical extensions that nobody knows, a short RSA key) works. Usage 2 names an
//! authority that must be in the chain that the host sends, or be in the record as a whole; then dates and names count (§3.1.2).
//! Usages 0 and 1 cannot be used (§3.1.3).

use std::fmt::Write;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    UnparsedPublicKey,
};
use dns::{Answer, Mx, Tlsa};
use envelope::{Domain, TlsPolicy, TlsPolicyKind};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore, SignatureScheme,
};
use x509_parser::asn1_rs::{Any, FromDer};

/// What is known of a host whose TLSA records are proven: TLS is a must with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dane {
    /// The host's name under which the records are: goes into SNI (RFC 7672 §8.1).
    pub(crate) base: Domain,
    /// The records that can be used; none: any certificate will do (§2.2).
    records: Vec<Tlsa>,
    /// The names of which a certificate must have one, where names count.
    names: Vec<Domain>,
}

/// Believes the certificates of one host.
#[derive(Debug)]
pub(crate) struct Verifier {
    host: Arc<Dane>,
    provider: Arc<CryptoProvider>,
}

/// Where a host's TLSA records may be, best first (§2.2.2): at the name that its alias leads to, if all of that is proven, then at
/// its own.
pub(crate) fn bases<T>(host: &Domain, addresses: &Answer<T>) -> Vec<Domain> {
    let proof = &addresses.proof;
    let canonical = proof.canonical.clone().filter(|_| proof.is_secure);
    let own = proof.is_name_secure.then(|| host.clone());
    canonical.into_iter().chain(own).collect()
}

/// The names of a domain that a certificate of its hosts may have in place of theirs (§3.2.3): its own, and where its alias leads. Only
/// beside a host within the domain, which is where it happens: otherwise each domain of a provider would be a site of its own.
pub(crate) fn names(domain: &Domain, exchanges: &Answer<Mx>) -> Arc<[Domain]> {
    let is_within = |host: &Domain, name: &Domain| {
        let rest = host.as_str().strip_suffix(name.as_str());
        rest.is_some_and(|rest| rest.ends_with('.'))
    };
    let names = std::iter::once(domain).chain(&exchanges.proof.canonical);
    let names = names.filter(|name| {
        let mut hosts = exchanges.records.iter().map(|mx| &mx.exchange);
        hosts.any(|host| is_within(host, name))
    });
    names.cloned().collect()
}

impl Dane {
    /// Of proven records. `names` are those of the host and of the domain whose mail it takes (§3.2.3).
    pub(crate) fn new(base: Domain, mut records: Vec<Tlsa>, names: Vec<Domain>) -> Self {
        records.retain(is_usable);
        // RFC 7671 §9: SHA-256 counts only where there is nothing stronger for the same.
        let kind = |record: &Tlsa| (record.usage, record.selector);
        let strong: Vec<_> = records
            .iter()
            .filter(|r| r.matching == 2)
            .map(kind)
            .collect();
        records.retain(|record| record.matching != 1 || !strong.contains(&kind(record)));
        records.truncate(RECORDS_MAX);
        Self {
            base,
            records,
            names,
        }
    }

    /// Whether there is a record that can be used: otherwise nothing proves who the host is.
    pub(crate) fn verifies(&self) -> bool {
        !self.records.is_empty()
    }

    /// As reports name it (RFC 8460 §4.4).
    pub(crate) fn published(&self) -> TlsPolicy {
        TlsPolicy {
            kind: TlsPolicyKind::Tlsa,
            domain: Some(self.base.clone()),
            strings: self.records.iter().map(presented).collect(),
            ..TlsPolicy::default()
        }
    }

    fn has(&self, usage: u8, certificate: &CertificateDer<'_>) -> bool {
        let mut records = self.records.iter().filter(|record| record.usage == usage);
        records.any(|record| fits(record, certificate))
    }

    /// The authorities that the records name.
    fn authorities(&self, chain: &[CertificateDer<'_>]) -> RootCertStore {
        let whole = |record: &&Tlsa| (record.usage, record.selector, record.matching) == (2, 0, 0);
        let of_records = self.records.iter().filter(whole);
        let of_records = of_records.map(|record| CertificateDer::from(record.data.as_slice()));
        let sent = chain.iter().filter(|one| self.has(2, one)).cloned();
        let mut authorities = RootCertStore::empty();
        authorities.add_parsable_certificates(sent.chain(of_records));
        authorities
    }
}

impl Verifier {
    pub(crate) fn new(host: Arc<Dane>, provider: Arc<CryptoProvider>) -> Self {
        Self { host, provider }
    }

    /// The signature shows that the peer has the key of the certificate. webpki's own check reads the whole certificate.
    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        is_tls13: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = PublicKey::of(certificate).ok_or(CertificateError::BadEncoding)?;
        let known = &self.provider.signature_verification_algorithms;
        match key.has_signed(known, message, signed.scheme, signed.signature(), is_tls13)? {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.host.verifies() || self.host.has(3, certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        let mut error = Error::from(CertificateError::ApplicationVerificationFailure);
        let authorities = Arc::new(self.host.authorities(chain));
        let provider = Arc::clone(&self.provider);
        let Ok(pkix) = WebPkiServerVerifier::builder_with_provider(authorities, provider).build()
        else {
            return Err(error);
        };
        for name in &self.host.names {
            let Ok(name) = ServerName::try_from(name.as_str()) else {
                continue;
            };
            match pkix.verify_server_cert(certificate, chain, &name, ocsp, now) {
                Ok(verified) => return Ok(verified),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, certificate, signed, false)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, certificate, signed, true)
    }

    /// PKCS #1 before PSS: of the two, only the former can be checked with a short RSA key.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.provider.signature_verification_algorithms;
        let mut schemes = algorithms.supported_schemes();
        schemes.sort_by_key(|scheme| !is_pkcs1(*scheme));
        schemes
    }
}

/// A certificate's key, as it stands there.
struct PublicKey<'a> {
    /// The whole of it (SubjectPublicKeyInfo).
    info: &'a [u8],
    /// The contents of its algorithm.
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Steps over what comes before the key (RFC 5280 §4.1), and reads none of it.
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let (_, certificate) = Any::from_der(certificate).ok()?;
        let (_, fields) = Any::from_der(certificate.data).ok()?;
        let mut rest = fields.data;
        // The version is left out where it is 1.
        let has_version = rest.first() == Some(&VERSION);
        for _ in 0..FIELDS_BEFORE_KEY + usize::from(has_version) {
            (rest, _) = Any::from_der(rest).ok()?;
        }
        let (after, info) = Any::from_der(rest).ok()?;
        let (bits, algorithm) = Any::from_der(info.data).ok()?;
        let (_, bits) = Any::from_der(bits).ok()?;
        Some(Self {
            info: &rest[..rest.len() - after.len()],
            algorithm: algorithm.data,
            // The first octet counts unused bits.
            bits: bits.data.get(1..)?,
        })
    }

    /// Whether this is the key's signature; an error if it could never be one.
    fn has_signed(
        &self,
        known: &WebPkiSupportedAlgorithms,
        message: &[u8],
        scheme: SignatureScheme,
        signature: &[u8],
        is_tls13: bool,
    ) -> Result<bool, Error> {
        let mut known = known.mapping.iter();
        let known = known.find(|(one, _)| *one == scheme && !(is_tls13 && is_pkcs1(scheme)));
        let (_, algorithms) =
            known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        // TLS 1.3 ties the curve to the scheme (RFC 8446 §4.2.3): it is that of the first one.
        let algorithms = &algorithms[..if is_tls13 { 1 } else { algorithms.len() }];
        let is_valid = algorithms.iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == self.algorithm
                && algorithm
                    .verify_signature(self.bits, message, signature)
                    .is_ok()
        });
        Ok(is_valid || self.has_signed_short(message, scheme, signature))
    }

    /// With an RSA key that rustls finds too short; TLS 1.3 has no signature that could be checked with one.
    fn has_signed_short(&self, message: &[u8], scheme: SignatureScheme, signature: &[u8]) -> bool {
        let algorithm = match scheme {
            SignatureScheme::RSA_PKCS1_SHA256 => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            SignatureScheme::RSA_PKCS1_SHA512 => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
            _ => return false,
        };
        let key = UnparsedPublicKey::new(algorithm, self.bits);
        key.verify(message, signature).is_ok()
    }
}

fn is_pkcs1(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA256
            | SignatureScheme::RSA_PKCS1_SHA384
            | SignatureScheme::RSA_PKCS1_SHA512
    )
}

/// As in a zone file (RFC 6698 §2.2).
fn presented(record: &Tlsa) -> String {
    let mut text = format!("{} {} {} ", record.usage, record.selector, record.matching);
    for octet in &record.data {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Whether the record is one that counts for mail, and of this certificate.
pub fn tlsa_fits(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    is_usable(record) && fits(record, certificate)
}

fn is_usable(record: &Tlsa) -> bool {
    let fits = match (record.selector, record.matching) {
        (0, 0) => PublicKey::of(&record.data).is_some(),
        (1, 0) => !record.data.is_empty(),
        (0 | 1, 1) => record.data.len() == SHA256.output_len,
        (0 | 1, 2) => record.data.len() == SHA512.output_len,
        _ => false,
    };
    fits && matches!(record.usage, 2 | 3)
}

fn fits(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        0 => Some(certificate.as_ref()),
        _ => PublicKey::of(certificate).map(|key| key.info),
    };
    selected.is_some_and(|selected| match record.matching {
        0 => selected == record.data,
        1 => digest(&SHA256, selected).as_ref() == record.data,
        _ => digest(&SHA512, selected).as_ref() == record.data,
    })
}

/// Records looked at: each is compared with each certificate of a chain.
const RECORDS_MAX: usize = 32;
/// Serial number, signature, issuer, validity, subject.
const FIELDS_BEFORE_KEY: usize = 5;
/// `[0] EXPLICIT`.
const VERSION: u8 = 0xa0;

#[cfg(test)]
mod tests;
