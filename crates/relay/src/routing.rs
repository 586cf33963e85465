//! The forwarder with its table and secrets: what a reload replaces as one, and what a transaction asks.
//!
//! A transaction takes one snapshot, at MAIL, and keeps it, so that a reload never changes rules midway.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use directory::{Failed, Lookups};
use envelope::{Domain, ForwardPath, Mailbox, Timestamp};
use forwarder::table::{Expansion, Table};
use forwarder::{Forwarder, Route, SrsRefusal};
use policy::{Name, Networks, Profiles, Tier};
use spool::Spool;

use crate::counting::Limits;
use crate::dnsbl::Dnsbls;
use crate::filters::Filters;
use crate::keys::Keys;
use crate::lists::{List, Lists};
use crate::lookups;
use crate::outbound::Alerts;
use crate::users::Users;

/// One consistent set of rules.
#[derive(Clone)]
pub struct Routing {
    /// SRS and the settings.
    pub forwarder: Arc<Forwarder>,
    /// What signs and seals.
    pub keys: Arc<Keys>,
    /// The forwards.
    pub table: Arc<Table>,
    /// Where addresses are looked up that it does not have.
    pub lookups: Arc<Lookups>,
    /// Domains that we relay for, whoever sends the mail.
    pub relay_domains: Vec<Domain>,
    /// Clients that may send anywhere.
    pub trusted: Networks,
    /// What hosted domains choose about who may send to them.
    pub profiles: Profiles,
    /// The lists that these name.
    pub lists: Arc<Lists>,
    /// And the DNS blocklists.
    pub dnsbls: Dnsbls,
    /// How often what may happen.
    pub limits: Limits,
    /// What is done about clients before they are greeted.
    pub connect: Connect,
    /// Whether the Received field of mail by users says nothing of where they are.
    pub hides_users: bool,
    /// And the content filters.
    pub filters: Arc<Filters>,
    /// Who is told what is frozen.
    pub alerts: Alerts,
    /// Who may log in, by the users file.
    pub users: Arc<Users>,
    /// Whether a Received-SPF field says what SPF found, beside Authentication-Results.
    pub received_spf: bool,
    /// Whether mail for targets that take less than comes is put off at RCPT.
    pub pressure: bool,
    /// Who may get a notice.
    pub bounce_to: BounceTo,
    /// How mail of a tier goes, where it is not as all other mail does.
    pub tiers: HashMap<Tier, TierWay>,
}

/// How mail of a tier goes, unless its line or profile says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TierWay {
    /// Where it leaves from, an `[[egress]]`.
    pub egress: Option<Name>,
    /// The domain of its rewritten senders.
    pub srs_domain: Option<Domain>,
}

/// What is done about clients of which nothing is known but their address. Not about trusted ones.
#[derive(Debug, Clone, Default)]
pub struct Connect {
    /// Lists whose clients are not served.
    pub block: Arc<[Name]>,
    /// How long the greeting is held back on ports for anyone.
    pub greet_wait: Duration,
    /// Lists whose clients get their replies late.
    pub tarpit: Vec<Name>,
    /// So late.
    pub tarpit_delay: Duration,
}

envelope::named! {
    /// Which senders get notices; one whose address was forged never does.
    #[derive(Default)]
    pub enum BounceTo {
        /// Those who are proved to have sent the message.
        #[default]
        Proved = "proved",
        /// All of whom nothing proves the contrary.
        Unproved = "unproved",
    }
}

/// Why it cannot be told now where mail goes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unroutable {
    /// The spool does not say what a token stands for.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// A source of forwards does not answer.
    #[error("cannot look up forwards: {0}")]
    Directory(#[from] Failed),
}

impl From<Unroutable> for spool::Error {
    fn from(error: Unroutable) -> Self {
        match error {
            Unroutable::Spool(error) => error,
            Unroutable::Directory(_) => Self::Unknown(error.to_string()),
        }
    }
}

/// The routing of now; a reload stores another.
pub type Shared = Arc<ArcSwap<Routing>>;

impl Routing {
    /// Our own name.
    pub fn hostname(&self) -> &Domain {
        &self.forwarder.settings().hostname
    }

    /// Whether one of these lists names the client.
    pub fn is_on(&self, lists: &[Name], client: IpAddr) -> bool {
        let names = |list: &List| list.names(None, Some(client));
        lists
            .iter()
            .any(|name| self.lists.get(name).is_some_and(names))
    }

    /// Whether this address, which is not hosted, is in a relay domain: then we take mail for it from anybody.
    pub fn relays(&self, address: &Mailbox) -> bool {
        let domain = address.domain();
        domain.is_some_and(|domain| self.relay_domains.contains(domain))
    }

    /// Whether the local part names a further host (`x%host`, `host!x`, `"x@host"`) and goes on as it is, to a relay domain or
    /// from one domain to another: a server there may trust us and pass the mail on. A stranger may have chosen what is behind an
    /// SRS address, or the sender of mail that bounces.
    pub fn is_routed(&self, recipient: &ForwardPath, route: &Route) -> bool {
        let Some(named) = recipient.mailbox() else {
            return false;
        };
        let goes_on = |from: &Mailbox, expansion: &Expansion| {
            let mut targets = expansion.targets.iter().map(|target| &target.mailbox);
            targets.any(|target| {
                let moved = target.host() != from.host() || self.relays(target);
                moved && target.local_part() == from.local_part()
            })
        };
        let (from, kept) = match route {
            Route::Forward(expansion) => (named, goes_on(named, expansion)),
            Route::Return { sender, expansion } => (sender, goes_on(sender, expansion)),
            Route::NotHosted => (named, self.relays(named)),
            _ => return false,
        };
        kept && from.local_part().as_str().contains(['%', '!', '@'])
    }

    /// Where mail to one recipient goes; a token is looked up in the spool. `goes_anywhere`: it is not refused for being in a domain
    /// that is not ours. `Err`: it could not be told now.
    pub async fn route<S: Spool>(
        &self,
        spool: &S,
        recipient: &ForwardPath,
        goes_anywhere: bool,
        now: Timestamp,
    ) -> Result<Route, Unroutable> {
        #[cfg(test)]
        ROUTED.with(|routed| routed.set(routed.get() + 1));
        let postmaster = self.forwarder.postmaster_address();
        let refused = recipient.mailbox().or(postmaster.as_ref());
        let refused = refused.filter(|address| !goes_anywhere && !self.relays(address));
        let route = self.ask(refused, |table| self.forwarder.route(table, recipient, now));
        let route = route.await?;
        let (Route::Token(token), Some(address)) = (&route, recipient.mailbox()) else {
            return Ok(route);
        };
        // If it is not an address any more, it counts as forgotten.
        let sender = spool.recall(token).await?;
        let sender = sender.and_then(|sender| sender.parse::<Mailbox>().ok());
        let Some(sender) = sender else {
            return Ok(Route::SrsRefused(SrsRefusal::TokenForgotten));
        };
        let back = |table: &Table| {
            self.forwarder
                .route_return(table, address, sender.clone(), now)
        };
        self.ask(refused, back).await
    }

    /// Asks the table; and again, with what it has missed, as long as something is found by looking that up. `refused` is if its
    /// domain is not ours; mail for all others goes there then.
    pub async fn ask<T>(
        &self,
        refused: Option<&Mailbox>,
        ask: impl Fn(&Table) -> T,
    ) -> Result<T, Unroutable> {
        if self.lookups.is_empty() {
            return Ok(ask(&self.table));
        }
        Ok(lookups::ask(self, refused, ask).await?)
    }
}

#[cfg(test)]
std::thread_local! {
    /// How many recipients this thread has routed.
    pub static ROUTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
