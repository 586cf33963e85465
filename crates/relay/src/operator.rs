//! What operators ask for over the control socket: put to the queue, to delivery and to the relay.

mod body;
mod choice;
mod forwards;
mod freezes;
mod history;
mod known;
pub mod listing;
pub(crate) mod orders;
mod queue;
mod sites;
pub mod srs;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use ::history::Desk;
use control::ask::{self, Drain, Ping, Reload, SrsDecode, SrsEncode};
use control::{Answers, Explanation, Fault, Finding, Mail, Part, Reloaded, Request, SrsAnswer};
use delivery::Dispatcher;
use envelope::{Actor, Host, MessageId, Timestamp};
use forwarder::table::key;
use journal::{Counters, Event, Journal};
use spool::{Clock, Spool};

use crate::counting::Counting;
use crate::doctor::Doctor;
use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::routing::Shared;
use crate::store::Store;
pub use body::Body;
pub use orders::OrdersFile;
pub use queue::{leg_state, not_queued, pending, row};

/// What the operator can reach.
pub struct Operator<S: Spool> {
    /// What is queued.
    pub spool: Arc<S>,
    /// What happened since the start.
    pub counters: Counters,
    /// Knows who is frozen.
    pub counting: Arc<Counting>,
    /// Knows what happened to which message.
    pub history: Desk,
    /// What decides on mail.
    pub inbound: Arc<Inbound<S>>,
    /// What delivers, and reports.
    pub outbound: Arc<Outbound<S>>,
    /// The forwards that operators change.
    pub store: Arc<Store>,
    /// What SRS addresses are made with.
    pub routing: Shared,
    /// Reads the configuration again.
    pub reload: ReadAgain,
    /// Tells the time.
    pub clock: Clock,
    /// Where actions are noted.
    pub journal: Journal,
    /// The version of the program.
    pub version: &'static str,
    /// Where connections are taken.
    pub listeners: Vec<String>,
    /// So many may be open, of clients and to next hops.
    pub connections_max: (usize, usize),
    /// When the program was started.
    pub started: Timestamp,
    /// Looks whether the world agrees with us.
    pub doctor: Arc<Doctor>,
    /// Makes delivery probe the sites of these hosts at once, if they are down.
    pub probe_now: ProbeNow,
    /// Knows the sites.
    pub delivery: Arc<Dispatcher<Outbound<S>, dns::Backend>>,
    /// What is ordered of sites, for the next start.
    pub orders: Arc<OrdersFile>,
}

/// What `onward reload` does; see [`control::Operator::reload`] for the flags. What was done, or what stands in the way.
pub type ReadAgain = Arc<dyn Fn(bool, bool) -> Result<Reloaded, String> + Send + Sync>;

/// See [`Operator::probe_now`].
pub type ProbeNow = Box<dyn Fn(&HashSet<Host>) + Send + Sync>;

impl<S: Spool> control::Operator for Operator<S> {
    type Body = Body<S::Reader>;

    fn asked(&self, request: &Request, by: &Actor) {
        let (action, of) = match request {
            Request::QueueAct(act) if !act.dry_run => (act.action.name(), act.selector.to_string()),
            Request::Reload(Reload { dry_run: false, .. }) => ("reload", String::new()),
            Request::FreezeLift(lift) => ("freeze-lift", lift.key.clone().unwrap_or_default()),
            Request::SitePause(ask) => ("site-pause", ask.site.clone()),
            Request::SiteResume(ask) => ("site-resume", ask.site.clone()),
            Request::SiteLimit(ask) => ("site-limit", ask.site.clone()),
            Request::Drain(Drain { on: true, .. }) => ("drain", String::new()),
            Request::Drain(_) => ("drain-end", String::new()),
            Request::QueueCat(cat) => ("queue-cat", cat.id.to_string()),
            Request::DomainPut(put) if !put.dry_run => ("domain-put", put.domain.to_string()),
            Request::DomainDelete(ask) if !ask.dry_run => ("domain-delete", ask.domain.to_string()),
            Request::ForwardsPut(put) if !put.dry_run => ("forwards-put", put.domain.to_string()),
            Request::ForwardPut(put) if !put.dry_run => {
                ("forward-put", key(&put.forward.local, &put.domain))
            }
            Request::ForwardDelete(ask) if !ask.dry_run => {
                ("forward-delete", key(&ask.local, &ask.domain))
            }
            Request::SrsEncode(of) => ("srs-encode", of.address.clone()),
            Request::SrsDecode(of) => ("srs-decode", of.address.clone()),
            // The others only look.
            _ => return,
        };
        let reason = match request {
            Request::QueueAct(act) => act.reason.clone(),
            _ => String::new(),
        };
        self.journal.record(Event::OperatorAsked {
            by: by.clone(),
            action,
            of,
            reason,
        });
    }

    async fn queue_cat(&self, id: MessageId, part: Part) -> Result<Body<S::Reader>, Fault> {
        let opened = self.spool.open_body(id).await;
        let reader = opened.map_err(|error| match error {
            spool::OpenError::NotFound => not_queued(&id),
            error => Fault::of(error),
        })?;
        Ok(Body::new(reader, part))
    }

    async fn explain(
        &self,
        mail: Mail,
        message: Option<&mut (impl control::Body + Sync)>,
    ) -> Result<Explanation, Fault> {
        self.inbound.explain(&mail, message).await
    }
}

impl<S: Spool> Answers<ask::Doctor> for Operator<S> {
    async fn answer(&self, ask: ask::Doctor, _by: Actor) -> Result<Vec<Finding>, Fault> {
        Ok(self.doctor.examine(ask.connect).await)
    }
}

impl<S: Spool> Answers<ask::TlsReport> for Operator<S> {
    async fn answer(&self, ask: ask::TlsReport, _by: Actor) -> Result<control::TlsReport, Fault> {
        Ok(self.outbound.tls_report_today(ask.domain))
    }
}

impl<S: Spool> Answers<Ping> for Operator<S> {
    async fn answer(&self, _: Ping, _by: Actor) -> Result<String, Fault> {
        Ok(self.version.to_owned())
    }
}

impl<S: Spool> Answers<Reload> for Operator<S> {
    async fn answer(&self, ask: Reload, _by: Actor) -> Result<Reloaded, Fault> {
        let reload = Arc::clone(&self.reload);
        // Reading half a million lines takes its time: not on a thread that serves connections.
        let reloading = tokio::task::spawn_blocking(move || reload(ask.force, ask.dry_run));
        let reloaded = reloading.await.map_err(Fault::of)?;
        reloaded.map_err(|error| kept_out(&error))
    }
}

/// Why a reload was refused, and that nothing came of it.
fn kept_out(error: &str) -> Fault {
    let mut fault = Fault::of(error);
    fault.message += "\nnothing was changed: the relay goes on with what it had";
    fault
}

impl<S: Spool> Answers<SrsEncode> for Operator<S> {
    async fn answer(&self, ask: SrsEncode, _by: Actor) -> Result<SrsAnswer, Fault> {
        let (address, now) = (ask.address, self.clock.now());
        let result = srs::encode(&self.routing.load().forwarder, &address, now);
        let result = result.map_err(Fault::of)?;
        Ok(SrsAnswer { address, result })
    }
}

impl<S: Spool> Answers<SrsDecode> for Operator<S> {
    async fn answer(&self, ask: SrsDecode, _by: Actor) -> Result<SrsAnswer, Fault> {
        let (address, routing, now) = (ask.address, self.routing.load(), self.clock.now());
        let result = srs::decode(&routing, &*self.spool, &address, now).await;
        let result = result.map_err(Fault::of)?;
        Ok(SrsAnswer { address, result })
    }
}
