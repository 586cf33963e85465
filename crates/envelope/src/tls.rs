//! How a connection is encrypted.

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
    /// Whether the host has proved its name by its certificate.
    pub is_verified: bool,
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
