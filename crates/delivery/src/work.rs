//! What delivery needs of the rest: legs to deliver, their bodies, and someone to take the outcomes.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use envelope::{
    Claim, Destination, Diagnosis, EnhancedStatus, Host, Message, Outcome, TlsFinding, Trip,
};

use crate::orders::Order;

/// Where legs come from and outcomes go. `relay` implements it over the spool, the bounces and the journal.
///
/// Every claim that is given out comes back exactly once, through [`Work::settle`] or [`Work::release`].
pub trait Work: Send + Sync + 'static {
    /// A message's body.
    type Body: Body;

    /// Due legs, in order within a destination, at most as many as wanted. Their leases should last well beyond
    /// [`Settings::attempt_timeout`](crate::Settings::attempt_timeout), since a leg may wait for its turn first:
    /// a leg with less than a minute of its lease left is released instead of tried. Empty when nothing is due, or when the spool is out of order (which this side logs).
    fn claim(&self, want: &Want) -> impl Future<Output = Vec<Claim>> + Send;

    /// A message as it is stored: its trace, then its body. A leg's own `trace` is not in it. This is the last moment to say that
    /// it must not go out now.
    fn open(&self, message: &Message)
    -> impl Future<Output = Result<Self::Body, BodyError>> + Send;

    /// An attempt at these legs of one message together is over: one outcome a leg, in order. Delivered or failed ends the leg;
    /// deferred: this side computes when it is due again. `trip` is for the log.
    ///
    /// When it panics the same legs are settled again, as deferred: those that it had seen to already are to be left alone.
    fn settle(
        &self,
        attempt: &[Claim],
        trip: &Trip,
        outcomes: Vec<Outcome>,
    ) -> impl Future<Output = ()> + Send;

    /// What TLS with hosts was like while a connection for these legs was sought: for reports. Must not block.
    fn tls_found(&self, _attempt: &[Claim], _findings: &[TlsFinding]) {}

    /// These were not tried: due again at once, as if they had never been claimed.
    fn release(&self, claims: Vec<Claim>) -> impl Future<Output = ()> + Send;

    /// Waits until a claim may have something to give, with an upper bound of a minute or so. Returning too
    /// early is allowed, but legs of parked destinations must *not* count as due: while a site is down they
    /// stay due all the time, and would wake the dispatcher for nothing, over and over.
    fn wait(&self) -> impl Future<Output = ()> + Send;

    /// Something about a site that operators want to see in the log. Must not block.
    fn site_changed(&self, event: &SiteEvent);
}

/// A message's body, read once from its start, in pieces of bounded size (1 MiB or less).
pub trait Body: Send + 'static {
    /// The next piece; `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

/// Where there is nothing to send.
impl Body for () {
    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}

/// Which legs are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Legs at most.
    pub max: usize,
    /// Legs of one destination at most.
    pub per_host: usize,
    /// Destinations to park first (`true`): no legs of theirs, in this claim and all that follow, since their site is down or has
    /// enough to do. Or to let in again (`false`). Only what has changed since the last claim: all of it may be large.
    pub park: Vec<(Destination, bool)>,
}

/// Why a body cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It could not be read now: the leg is deferred.
    #[error("the message's body cannot be read: {0}")]
    Unavailable(#[from] io::Error),
    /// It must not go out now: the leg is deferred.
    #[error("{0}")]
    NotNow(String),
}

impl BodyError {
    /// What that means for the legs.
    pub(crate) fn outcome(&self) -> Outcome {
        let local = |status| Diagnosis::local(status, self.to_string());
        match self {
            Self::NotNow(_) => Outcome::Deferred(local(NOT_NOW)),
            Self::Unavailable(_) => Outcome::Deferred(local(BODY_UNREADABLE)),
        }
    }
}

/// RFC 3463 §3.4: mail system status in general.
const BODY_UNREADABLE: EnhancedStatus = EnhancedStatus::transient(3, 0);
/// RFC 3463 §3.8: other or undefined security status.
const NOT_NOW: EnhancedStatus = EnhancedStatus::transient(7, 0);

/// What happened to a site. Its name is that of its best MX, or of the host or address of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteEvent {
    /// Nothing goes there for a while: no host of it can be reached, a probe has failed, or it says that we send too much.
    Down {
        /// The site.
        site: String,
        /// It says that we send too much, or a rule of `shaping` says so.
        throttled: bool,
        /// Only this address of ours sends nothing there: it is blocked.
        source: Option<IpAddr>,
        /// What the last attempt met.
        reason: Diagnosis,
        /// Failed attempts since it was last up.
        failures: u32,
        /// The pause before the next probe.
        probe_in: Duration,
    },
    /// It can be reached again.
    Up {
        /// The site.
        site: String,
        /// How long it was down.
        down_for: Duration,
    },
    /// It takes mail again, after it had answered "not now" to all for some time. What waits for these hosts until later
    /// may come at once: it goes out at a rate that grows with what the site takes.
    TakesMail {
        /// The site.
        site: String,
        /// The hosts whose mail it takes, as far as they are known.
        hosts: HashSet<Host>,
    },
    /// The time of a pause is over.
    PauseOver(Order),
}
