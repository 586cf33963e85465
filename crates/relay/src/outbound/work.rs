//! Claims handed to delivery, and their outcomes taken back.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bounce::{Kind, Redactor};
use bytes::Bytes;
use delivery::{BodyError, SiteEvent, Want, Work};
use envelope::{
    Claim, Diagnosis, Host, Lease, Message, Outcome, ReplyClass, SenderTls, Timestamp, TlsFinding,
    TlsPolicy, TlsPolicyKind, Trip,
};
use journal::{Attempt, Event};
use spool::{Action, BodyReader, Filter, OpenError, Settlement, Spool, State, Update};

use super::Outbound;
use super::freezes::FROZEN;
use super::leases::LEASE;
use super::notices::Told;
use super::online::Back;

/// A message as delivery reads it.
pub struct Body<R> {
    /// What is not in `rest`, and comes first.
    trace: Bytes,
    rest: R,
}

impl<S: Spool> Work for Outbound<S> {
    type Body = Body<S::Reader>;

    async fn claim(&self, want: &Want) -> Vec<Claim> {
        self.spool.park(&want.park).await;
        let want = spool::Want {
            max: want.max,
            per_host: want.per_host,
            lease: LEASE,
        };
        self.changes.lock().mark_unchanged();
        let claims = self.spool.claim(&want).await;
        let mut claims = claims.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot claim from the queue");
            Vec::new()
        });
        let now = self.clock.now();
        claims.retain_mut(|claim| self.leases.hold(claim, now));
        claims
    }

    async fn open(&self, message: &Message) -> Result<Self::Body, BodyError> {
        if !self.may_go(message).await {
            return Err(BodyError::NotNow(FROZEN.to_owned()));
        }
        if let Some(rest) = self.online.body(message.id) {
            let trace = Bytes::copy_from_slice(message.trace.as_bytes());
            return Ok(Body { trace, rest });
        }
        let opened = self.spool.open_body(message.id).await;
        // A database that another has taken the place of may have been read: it has to say so in a write, too.
        if matches!(opened, Err(OpenError::NotFound)) {
            self.renew_leases().await;
        }
        // The spool may have waited for it longer than the lease lasts.
        let holds = |lease: &Lease| self.spool.holds(lease);
        if !self.leases.may_send(message.id, holds) {
            return Err(BodyError::NotNow(NOT_OURS.to_owned()));
        }
        let trace = Bytes::new();
        match opened {
            Ok(rest) => Ok(Body { trace, rest }),
            Err(error) => Err(BodyError::Unavailable(io::Error::other(error))),
        }
    }

    async fn settle(&self, attempt: &[Claim], trip: &Trip, outcomes: Vec<Outcome>) {
        match attempt.first().is_some_and(|claim| self.online.has(claim)) {
            true => {
                let (claims, tried) = (attempt.to_vec(), Some((trip.clone(), outcomes)));
                self.keep(Back { claims, tried }).await;
            }
            false => self.settle_queued(attempt, trip, outcomes).await,
        }
    }

    fn tls_found(&self, attempt: &[Claim], findings: &[TlsFinding]) {
        let now = self.clock.now();
        let mut domains = Vec::new();
        for claim in attempt {
            // Nothing is held to a policy for such a leg; the reports themselves are of this kind.
            if let Host::Domain(domain) = claim.leg.target.host()
                && claim.leg.options.sender_tls() != SenderTls::NotRequired
                && !domains.contains(&domain)
            {
                self.tls_reports.count(domain, findings, now);
                let fault = self.sts.as_ref().and_then(|sts| sts.known(domain).fault);
                let fault = fault.filter(|_| !findings.is_empty()).map(policy_fault);
                self.tls_reports.count(domain, fault.as_slice(), now);
                domains.push(domain);
            }
        }
    }

    async fn release(&self, claims: Vec<Claim>) {
        let (online, queued): (Vec<_>, _) =
            claims.into_iter().partition(|claim| self.online.has(claim));
        for claim in online {
            let (claims, tried) = (vec![claim], None);
            self.keep(Back { claims, tried }).await;
        }
        self.release_queued(queued).await;
    }

    async fn wait(&self) {
        // A little later than due: a timer that fires a hair early would find nothing.
        let due = self.spool.next_due().await;
        let pause = due.map_or(WAIT_MAX, |due| WAIT_MAX.min(due + Duration::from_millis(1)));
        let mut changes = self.changes.lock().clone();
        // The spool is gone only when this is, too.
        let _ = tokio::time::timeout(pause, changes.changed()).await;
    }

    fn site_changed(&self, event: &SiteEvent) {
        let event = match event.clone() {
            SiteEvent::Down {
                site,
                throttled,
                source,
                reason,
                probe_in,
                ..
            } => Event::SiteDown {
                site,
                source,
                throttled,
                error: reason.to_string(),
                probe_in,
            },
            SiteEvent::Up { site, down_for } => Event::SiteUp { site, down_for },
            SiteEvent::TakesMail { site, hosts } => return self.pull_forward(site, hosts),
            SiteEvent::PauseOver(order) => Event::SiteOrdered {
                event: "site-resumed",
                site: order.of.to_string(),
                until: None,
                connections: None,
                per_minute: None,
                reason: "its time is over".to_owned(),
                sites: String::new(),
                by: None,
            },
        };
        self.journal.record(event);
    }
}

impl<R: BodyReader> delivery::Body for Body<R> {
    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        match std::mem::take(&mut self.trace) {
            trace if trace.is_empty() => self.rest.chunk().await.map_err(io::Error::other),
            trace => Ok(Some(trace)),
        }
    }
}

impl<S: Spool> Outbound<S> {
    /// An attempt at legs of the queue is over.
    pub(super) async fn settle_queued(
        &self,
        attempt: &[Claim],
        trip: &Trip,
        outcomes: Vec<Outcome>,
    ) {
        let now = self.clock.now();
        let others =
            (attempt.len() > 1).then(|| Redactor::new(attempt.iter().map(|claim| &claim.leg)));
        let told = |diagnosis: &Diagnosis| match &others {
            Some(others) => others.diagnosis(diagnosis),
            None => diagnosis.clone(),
        };
        let (mut delivered, mut failed, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for (claim, outcome) in attempt.iter().zip(outcomes) {
            let leg = super::attempt(claim, claim.attempts + 1, trip.clone(), now);
            match outcome {
                Outcome::Delivered(diagnosis) => {
                    let wanted = !diagnosis.dsn_relayed && bounce::wants(Kind::Relayed, &claim.leg);
                    let told = wanted.then(|| Told::new(claim, told(&diagnosis)));
                    self.journal.record(Event::Delivered { leg, diagnosis });
                    match told {
                        Some(told) => delivered.push(told),
                        None => done.push((self.leases.take(claim), Settlement::Complete(None))),
                    }
                }
                Outcome::Deferred(diagnosis) => {
                    let last = told(&diagnosis);
                    done.push(self.defer(claim, leg, diagnosis, last, now));
                }
                Outcome::Failed(diagnosis) => {
                    self.count_failure(claim, now);
                    failed.push((claim.clone(), told(&diagnosis)));
                    self.journal.record(Event::Failed { leg, diagnosis });
                }
            }
        }
        self.settle_all(done).await;
        self.complete_told(&delivered, now).await;
        if let Some(claim) = attempt.first() {
            self.gather_in_lane(claim, failed, now).await;
        }
    }

    /// Makes mail due now that waits for a site, and not for what one mailbox or message met there. It may be much: delivery claims
    /// no more than the site takes.
    fn pull_forward(&self, site: String, hosts: HashSet<Host>) {
        let (spool, journal) = (Arc::clone(&self.spool), self.journal.clone());
        tokio::spawn(async move {
            let filter = Filter {
                hosts,
                states: vec![State::Deferred],
                classes: vec![
                    ReplyClass::Throttled,
                    ReplyClass::Blocked,
                    ReplyClass::Unreachable,
                    ReplyClass::Other,
                ],
                ..Filter::default()
            };
            match spool::change_all(&*spool, &filter, Action::RetryNow, drop).await {
                Ok(legs) => journal.record(Event::SiteTakesMail { site, legs }),
                Err(error) => tracing::error!(site, %error, "cannot pull mail forward"),
            }
        });
    }

    fn defer(
        &self,
        claim: &Claim,
        leg: Attempt,
        diagnosis: Diagnosis,
        last: Diagnosis,
        now: Timestamp,
    ) -> (Lease, Settlement) {
        let next = spool::next_due(
            claim.attempts + 1,
            &diagnosis,
            now,
            claim.deadline,
            &self.schedule,
            rand::random(),
        );
        let update = Update {
            attempts: claim.attempts + 1,
            warned: claim.warned,
            last: Some(last),
            dsn: None,
        };
        self.journal.record(Event::Deferred {
            leg,
            diagnosis,
            next,
        });
        let again = Settlement::Reschedule(next, update);
        (self.leases.take(claim), again)
    }

    /// Ends delivered legs whose sender wants to know, and whose next hop will not tell (RFC 3461 §5.2.2): in one notice. They
    /// have ended, whatever becomes of it: left open, they would be delivered again.
    async fn complete_told(&self, delivered: &[Told<'_>], now: Timestamp) {
        let Some(first) = delivered.first() else {
            return;
        };
        let mut rest = delivered;
        match self.end_first(Kind::Relayed, delivered, now).await {
            Ok(()) => rest = &delivered[1..],
            Err(error) => {
                let leg = first.claim.lease.leg;
                tracing::error!(%leg, %error, "cannot queue a notice of success");
            }
        }
        self.end_all(rest).await;
    }
}

/// A policy that cannot be had is a failure of a policy of which nothing else is known (RFC 8460 §4.3.2.2).
fn policy_fault(fault: sts::Fault) -> TlsFinding {
    let policy = TlsPolicy {
        kind: TlsPolicyKind::Sts,
        domain: None,
        strings: Vec::new(),
        mx: Vec::new(),
    };
    TlsFinding {
        policy: Arc::new(policy),
        host: None,
        address: None,
        source: None,
        failure: Some((fault.failure, fault.text)),
    }
}

/// Of mail whose lease could not be renewed.
const NOT_OURS: &str = "another node may have taken it over";
/// The longest wait, in case a wake-up was missed.
const WAIT_MAX: Duration = Duration::from_mins(1);
