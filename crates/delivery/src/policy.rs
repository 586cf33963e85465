//! How hosts are to be talked to: what a site's mail asks for, and what follows for a connection to one of its hosts.

use envelope::TlsUse;

/// What the mail of a site asks of every connection: the most that the configuration, a route or a forward wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Policy {
    pub(crate) tls: TlsUse,
}

/// What a connection to one host must be like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Security {
    /// Without TLS.
    Clear,
    /// With TLS where it works, whatever the certificate; otherwise in clear (RFC 7435).
    #[default]
    Opportunistic,
    /// With TLS, whatever the certificate.
    Required,
    /// With TLS and a certificate for the host's name, by somebody whom we trust.
    Verified,
}

impl Policy {
    pub(crate) fn security(&self) -> Security {
        match self.tls {
            TlsUse::Never => Security::Clear,
            TlsUse::Opportunistic => Security::Opportunistic,
            TlsUse::Required => Security::Required,
            TlsUse::Verified => Security::Verified,
        }
    }
}

impl Security {
    /// Whether mail goes in clear when TLS cannot be had.
    pub(crate) fn may_be_clear(&self) -> bool {
        matches!(self, Self::Clear | Self::Opportunistic)
    }

    /// Whether TLS with it proves who the host is.
    pub(crate) fn verifies(&self) -> bool {
        matches!(self, Self::Verified)
    }
}
