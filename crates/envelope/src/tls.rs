//! How a connection is encrypted.

/// In the words of the Received header (RFC 8314 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tls<'a> {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite by its IANA name, `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'a str,
}
