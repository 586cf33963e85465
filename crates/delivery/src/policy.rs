//! How hosts are to be talked to: what a site's mail asks for, and what follows for a connection to one of its hosts.

use std::sync::Arc;

use envelope::{
    Diagnosis, EnhancedStatus, Outcome, PeerTls, SenderTls, TlsPolicy, TlsPolicyKind, TlsProof,
    TlsUse,
};

use crate::mx::MailHost;

/// What the mail of a site asks of every connection: the most that the configuration, a route or a forward wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Policy {
    pub(crate) tls: TlsUse,
    /// What the domain has published (MTA-STS), if it has.
    pub(crate) sts: Option<Arc<sts::Policy>>,
    /// What the senders of its messages have asked.
    pub(crate) sender: SenderTls,
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
    /// The most that is wanted of a host.
    pub(crate) fn tls(&self) -> TlsUse {
        match self.enforced() {
            Some(_) => TlsUse::Verified,
            None => self.tls,
        }
    }

    fn enforced(&self) -> Option<&sts::Policy> {
        let sts = self.sts.as_deref().filter(|sts| sts.is_enforced());
        // RFC 8689 §5: its sender would rather have it arrive.
        sts.filter(|_| self.sender != SenderTls::NotRequired)
    }

    /// Leaves out the hosts that the domain has not named (RFC 8461 §4.1).
    pub(crate) fn retain_named(&self, hosts: &mut Vec<MailHost>) -> Result<(), Outcome> {
        let Some(sts) = self.enforced() else {
            return Ok(());
        };
        hosts.retain(|host| host.name.as_ref().is_some_and(|name| sts.allows(name)));
        if hosts.is_empty() {
            let text = "its domain's MTA-STS policy names no host that takes its mail";
            return Err(Outcome::Deferred(Diagnosis::local(NOT_NAMED, text)));
        }
        Ok(())
    }

    /// As reports name what has been published.
    pub(crate) fn published(&self) -> TlsPolicy {
        let Some(sts) = &self.sts else {
            return TlsPolicy {
                kind: TlsPolicyKind::NotFound,
                domain: None,
                strings: Vec::new(),
                mx: Vec::new(),
            };
        };
        let mut strings = vec![
            "version: STSv1".to_owned(),
            format!("mode: {}", sts.mode.as_str()),
        ];
        strings.extend(sts.mx().iter().map(|mx| format!("mx: {mx}")));
        TlsPolicy {
            kind: TlsPolicyKind::Sts,
            domain: None,
            strings,
            mx: sts.mx(),
        }
    }

    /// A certificate was asked for by the domain's policy, if there is one.
    pub(crate) fn proved(&self, mut peer: PeerTls) -> PeerTls {
        if peer.proof == TlsProof::Pkix && self.enforced().is_some() {
            peer.proof = TlsProof::Sts;
        }
        peer
    }

    pub(crate) fn security(&self) -> Security {
        match self.tls() {
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
        self.proof() != TlsProof::None
    }

    /// By what TLS with it proves that.
    pub(crate) fn proof(&self) -> TlsProof {
        match self {
            Self::Verified => TlsProof::Pkix,
            _ => TlsProof::None,
        }
    }
}

/// The host is not the right one by a proof (RFC 3463 §3.8, cryptographic failure).
const NOT_NAMED: EnhancedStatus = EnhancedStatus::transient(7, 5);
