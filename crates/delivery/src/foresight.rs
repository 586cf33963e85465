//! Where mail for a host would go now, as delivery would find it: for an explanation. Nothing is connected to.

use std::net::IpAddr;
use std::sync::Arc;

use dns::Resolver;
use envelope::{Destination, Domain, Outcome, TlsUse};
use sts::Policies;

use crate::egress::Egress;
use crate::login::Login;
use crate::mx::{MailHost, loops_back};
use crate::peer::Endpoint;
use crate::plan::Planner;
use crate::settings::Settings;

/// Knows what delivery knows, and does nothing.
#[derive(Debug)]
pub struct Foresight<R> {
    settings: Arc<Settings>,
    planner: Planner<R>,
}

/// The way of a host's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The site that takes it, as logs call it.
    pub site: String,
    /// When TLS is used with it.
    pub tls: TlsUse,
    /// The file with the name and password for it.
    pub login: Option<String>,
    /// What is known of its MTA-STS policy, if that is followed.
    pub sts: Option<sts::Found>,
    /// The egress that it leaves from.
    pub egress: Option<Arc<str>>,
    /// In the order in which they would be tried; or what would become of all mail there.
    pub hops: Result<Vec<Hop>, Outcome>,
}

/// A connection that would be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The host; none for an address.
    pub host: Option<Domain>,
    /// Its address.
    pub to: Endpoint,
    /// Our address, of several the one with the greatest weight; none: the system chooses.
    pub from: Option<IpAddr>,
    /// How TLS is used with it: as the settings name it, or `dane`.
    pub tls: &'static str,
}

impl<R: Resolver> Foresight<R> {
    /// With the settings and the resolver of deliveries.
    pub fn new(settings: &Settings, resolver: R, sts: Option<Arc<Policies<R>>>) -> Self {
        let settings = Arc::new(settings.clone());
        let planner = Planner::new(Arc::clone(&settings), Arc::new(resolver), sts);
        Self { settings, planner }
    }

    /// For this destination; or the outcome of all its mail, if there is no site.
    pub async fn of(&self, to: &Destination) -> Result<Foreseen, Outcome> {
        let key = self.planner.site(to).await?;
        let hosts = self.planner.hosts(&key).await;
        let egress = self.settings.egress_of(&key);
        Ok(Foreseen {
            site: key.to_string(),
            tls: key.policy.tls(),
            login: key.hosts.login().map(Login::to_string),
            sts: self.planner.sts(&to.host, &key.hosts).await,
            egress: egress.map(|egress| Arc::clone(&egress.name)),
            hops: hosts.map(|hosts| self.hops(hosts, egress)),
        })
    }

    /// Whether all mail there would come back to us.
    pub async fn leads_back(&self, to: &Destination) -> bool {
        let hosts = match self.planner.site(to).await {
            Ok(key) => self.planner.hosts(&key).await.map(drop),
            Err(outcome) => Err(outcome),
        };
        hosts == Err(loops_back())
    }

    fn hops(&self, hosts: Vec<MailHost>, egress: Option<&Egress>) -> Vec<Hop> {
        let mut hops = Vec::new();
        for host in hosts {
            hops.extend(host.addresses.into_iter().filter_map(|to| {
                let from = match (to.tcp(), egress) {
                    (None, _) => None,
                    (Some(to), None) => self.settings.source(to.ip()),
                    (Some(to), Some(egress)) => {
                        let sources = egress.of_family(to.ip());
                        Some(sources.max_by_key(|source| source.weight)?.address)
                    }
                };
                Some(Hop {
                    host: host.name.clone(),
                    to,
                    from,
                    tls: host.security.name(),
                })
            }));
        }
        hops
    }
}
