//! How hosts are to be talked to: what a site's mail asks for, and what follows for a connection to one of its hosts.

use std::net::IpAddr;
use std::sync::Arc;

use dns::{Answer, Resolver};
use envelope::{
    Diagnosis, Domain, EnhancedStatus, Outcome, PeerTls, SenderTls, TlsPolicy, TlsPolicyKind,
    TlsProof, TlsUse,
};

use crate::mx::MailHost;
use crate::tls::dane::{self, Dane};

/// What the mail of a site asks of every connection: the most that the configuration, a route or a forward wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Policy {
    pub(crate) tls: TlsUse,
    /// The TLSA records of the hosts count (RFC 7672): what names these is proven. The names are those of the domain that a
    /// certificate may have in place of its host's.
    pub(crate) dane: Option<Arc<[Domain]>>,
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
    /// With TLS, as the host's TLSA records ask.
    Dane(Arc<Dane>),
}

impl Policy {
    /// The most that is wanted of a host.
    pub(crate) fn tls(&self) -> TlsUse {
        match self.enforced() {
            Some(_) => TlsUse::Verified,
            None => self.tls,
        }
    }

    /// For operators.
    pub(crate) fn words(&self) -> String {
        match (self.enforced(), &self.dane) {
            (Some(_), _) => "verified, as its MTA-STS policy wants".to_owned(),
            (None, Some(_)) => format!("{}; where it has TLSA records, by them (DANE)", self.tls),
            (None, None) => self.tls.to_string(),
        }
    }

    /// What the domain has published, if it counts.
    pub(crate) fn enforced(&self) -> Option<&sts::Policy> {
        let sts = self.sts.as_deref().filter(|sts| sts.is_enforced());
        // RFC 8689 §5: its sender would rather have it arrive.
        sts.filter(|_| self.sender != SenderTls::NotRequired)
    }

    /// What the domain only wants to be told of (RFC 8461 §5).
    pub(crate) fn tested(&self) -> Option<&sts::Policy> {
        let sts = self.sts.as_deref();
        sts.filter(|sts| sts.mode == sts::Mode::Testing)
    }

    /// The TLSA records count, if they may; and a wish of the sender that changes nothing is none: it would make another site, which
    /// does not know that this one is throttled.
    pub(crate) fn settle(&mut self, dane: Option<Arc<[Domain]>>) {
        let is_lifted = self.sender == SenderTls::NotRequired;
        let has_sts = self.sts.as_ref().is_some_and(|sts| sts.is_enforced());
        if is_lifted && dane.is_none() && !has_sts {
            self.sender = SenderTls::AsUsual;
        }
        // RFC 8689 §5: its sender would rather have it arrive.
        self.dane = dane.filter(|_| self.tls != TlsUse::Never && !is_lifted);
    }

    /// Leaves out the hosts that the domain has not named (RFC 8461 §4.1), but for those that DANE speaks for (§2).
    pub(crate) fn retain_named(&self, hosts: &mut Vec<MailHost>) -> Result<(), Outcome> {
        let Some(sts) = self.enforced() else {
            return Ok(());
        };
        hosts.retain(|host| {
            let is_dane = matches!(host.security, Security::Dane(_));
            is_dane || host.name.as_ref().is_some_and(|name| sts.allows(name))
        });
        if hosts.is_empty() {
            let text = "its domain's MTA-STS policy names no host that takes its mail";
            return Err(Outcome::Deferred(Diagnosis::local(NOT_NAMED, text)));
        }
        Ok(())
    }

    /// As reports name what has been published for a host that is talked to like that.
    pub(crate) fn published(&self, security: &Security) -> TlsPolicy {
        if let Security::Dane(host) = security {
            return host.published();
        }
        let Some(sts) = &self.sts else {
            return TlsPolicy::default();
        };
        let mut strings = vec![
            "version: STSv1".to_owned(),
            format!("mode: {}", sts.mode.name()),
        ];
        strings.extend(sts.mx().iter().map(|mx| format!("mx: {mx}")));
        TlsPolicy {
            kind: TlsPolicyKind::Sts,
            strings,
            mx: sts.mx(),
            ..TlsPolicy::default()
        }
    }

    /// A certificate was asked for by the domain's policy, if there is one.
    pub(crate) fn proved(&self, mut peer: PeerTls) -> PeerTls {
        if peer.proof == TlsProof::Pkix && self.enforced().is_some() {
            peer.proof = TlsProof::Sts;
        }
        peer
    }

    /// For a host with these addresses. Its TLSA records must be known where they count: a look-up that fails is the host's trouble.
    pub(crate) async fn of_host(
        &self,
        resolver: &impl Resolver,
        (host, port): (&Domain, u16),
        addresses: &Answer<IpAddr>,
    ) -> Result<Security, dns::Error> {
        let Some(of_domain) = &self.dane else {
            return Ok(self.security());
        };
        for base in dane::bases(host, addresses) {
            match resolver.tlsa(&format!("_{port}._tcp.{base}")).await {
                Ok(found) if found.proof.is_secure => {
                    let mut names = vec![base.clone(), host.clone()];
                    names.extend_from_slice(of_domain);
                    return Ok(self.with(Dane::new(base, found.records, names)));
                }
                Err(dns::Error::Trouble(why)) => {
                    return Err(dns::Error::Trouble(format!("TLSA: {why}")));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(self.security())
    }

    /// Records that cannot be used ask for TLS alone; the configuration may ask for more (RFC 7672 §2.2).
    fn with(&self, dane: Dane) -> Security {
        match (dane.verifies(), self.security()) {
            (false, Security::Verified) => Security::Verified,
            _ => Security::Dane(Arc::new(dane)),
        }
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
            Self::Dane(dane) if dane.verifies() => TlsProof::Dane,
            _ => TlsProof::None,
        }
    }

    /// For an explanation: as `delivery.tls` names it, or what DNS asks.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Clear => TlsUse::Never.name(),
            Self::Opportunistic => TlsUse::Opportunistic.name(),
            Self::Verified => TlsUse::Verified.name(),
            Self::Dane(dane) if dane.verifies() => "dane",
            Self::Required | Self::Dane(_) => TlsUse::Required.name(),
        }
    }

    /// The name by which a server is asked for the certificate, if not by that of the host.
    pub(crate) fn base(&self) -> Option<&Domain> {
        match self {
            Self::Dane(dane) => Some(&dane.base),
            _ => None,
        }
    }
}

/// The host is not the right one by a proof (RFC 3463 §3.8, cryptographic failure).
const NOT_NAMED: EnhancedStatus = EnhancedStatus::transient(7, 5);
/// RFC 8689 §6.
pub(crate) const NOT_PROTECTED: EnhancedStatus = EnhancedStatus::permanent(7, 30);
