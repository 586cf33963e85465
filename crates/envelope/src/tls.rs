//! How a connection is encrypted, and what came of the TLS policy that a next hop has published.

use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::Domain;

/// In the words of the Received header (RFC 8314 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tls<'a> {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite by its IANA name, `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'a str,
}

/// A connection of ours to a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerTls {
    /// What was agreed on.
    pub tls: Tls<'static>,
    /// By what the host has proved who it is.
    pub proof: TlsProof,
}

named! {
    /// By what a host proves in TLS that it is the one that was meant.
    #[derive(Default)]
    pub enum TlsProof {
        /// By nothing that was looked at.
        #[default]
        None = "no",
        /// By a certificate from somebody whom we trust.
        Pkix = "pkix",
        /// By such a certificate, as its domain's MTA-STS policy asks.
        Sts = "sts",
        /// As its TLSA records ask.
        Dane = "dane",
    }
}

named! {
    /// When to use TLS with a next hop: each asks for more than the one before.
    #[derive(Default)]
    pub enum TlsUse {
        /// Nowhere.
        Never = "off",
        /// Where it is offered, without looking at the certificate; in clear when the handshake fails (RFC 7435).
        #[default]
        Opportunistic = "opportunistic",
        /// Always, without looking at the certificate: mail waits where it cannot be had.
        Required = "required",
        /// Always, with a certificate for the host's name by somebody whom we trust.
        Verified = "verified",
    }
}

/// What a domain has published about TLS with its hosts: as reports name it (RFC 8460 §4.4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsPolicy {
    /// What kind of policy.
    pub kind: TlsPolicyKind,
    /// The domain that it is defined for, if that is not the recipients': a TLSA base domain.
    pub domain: Option<Domain>,
    /// Its TLSA records, or the lines of its MTA-STS policy.
    pub strings: Vec<String>,
    /// The `mx` patterns of its MTA-STS policy.
    pub mx: Vec<String>,
}

named! {
    /// `policy-type`.
    #[derive(Default)]
    pub enum TlsPolicyKind {
        /// DANE (RFC 7672).
        Tlsa = "tlsa",
        /// MTA-STS (RFC 8461).
        Sts = "sts",
        /// Neither.
        #[default]
        NotFound = "no-policy-found",
    }
}

/// What one try to talk TLS with a host has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFinding {
    /// What was to be held to.
    pub policy: Arc<TlsPolicy>,
    /// The host by its MX name; none if it has none, or if it did not come to a host.
    pub host: Option<Domain>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Ours.
    pub source: Option<IpAddr>,
    /// What was wrong, and in words what exactly; none if all was well.
    pub failure: Option<(TlsFailure, String)>,
}

named! {
    /// What was wrong with TLS: the result types of RFC 8460 §4.3.
    pub enum TlsFailure {
        /// The host does not offer STARTTLS, or refuses it.
        StarttlsNotSupported = "starttls-not-supported",
        /// Its certificate is for other names.
        CertificateHostMismatch = "certificate-host-mismatch",
        /// Its certificate has expired, or is not valid yet.
        CertificateExpired = "certificate-expired",
        /// Its certificate is by nobody whom we trust.
        CertificateNotTrusted = "certificate-not-trusted",
        /// Anything else.
        ValidationFailure = "validation-failure",
        /// No TLSA record fits the certificate, or none can be used.
        TlsaInvalid = "tlsa-invalid",
        /// DNSSEC says that an answer is forged, or it cannot be had.
        DnssecInvalid = "dnssec-invalid",
        /// DANE is wanted, and there is none.
        DaneRequired = "dane-required",
        /// The MTA-STS policy cannot be fetched.
        StsPolicyFetchError = "sts-policy-fetch-error",
        /// The MTA-STS policy cannot be read.
        StsPolicyInvalid = "sts-policy-invalid",
        /// The certificate of the MTA-STS policy host is not valid.
        StsWebpkiInvalid = "sts-webpki-invalid",
    }
}

impl Tls<'static> {
    /// From the names that rustls has: `TLSv1_3`, and `TLS13_…` for what IANA calls `TLS_…`.
    pub fn from_rustls(version: Option<&str>, cipher: Option<&'static str>) -> Self {
        let version = match version {
            Some("TLSv1_3") => "TLSv1.3",
            Some("TLSv1_2") => "TLSv1.2",
            _ => UNKNOWN,
        };
        let cipher = match cipher.unwrap_or(UNKNOWN) {
            "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
            "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
            "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
            other => other,
        };
        Self { version, cipher }
    }
}

const UNKNOWN: &str = "unknown";
