//! Deadlines: legs that have expired, that are late enough to warn the sender, or that the operator wants bounced.
//!
//! The legs of one message are mostly overdue together: then one notice tells of all of them.

use std::sync::Arc;
use std::time::Duration;

use bounce::Kind;
use envelope::{Diagnosis, EnhancedStatus, Timestamp, Trip};
use journal::Event;
use spool::{Overdue, Spool, Why};
use tokio_util::sync::CancellationToken;

use super::leases::LEASE;
use super::notices::Told;
use super::{Outbound, TROUBLE_PAUSE, attempt};

impl<S: Spool> Outbound<S> {
    /// Tells senders what there is to tell them, when it is time, until `shutdown`. A task of its own: deadlines hold when
    /// delivery claims nothing, because its memory is full of mail for sites that do not answer.
    pub async fn keep_deadlines(self: Arc<Self>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let outbound = Arc::clone(&self);
            let round = tokio::spawn(async move { outbound.tell_overdue().await });
            let pause = match round.await {
                Ok(true) => Duration::ZERO,
                Ok(false) => LOOK_EVERY,
                // It panicked. The legs come back when their leases end.
                Err(error) => {
                    tracing::error!(%error, "{BUG}");
                    TROUBLE_PAUSE
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sees to some of the legs that are overdue; says whether there may be more. Not to all at once: a shutdown waits for
    /// no more than this.
    pub(crate) async fn tell_overdue(self: &Arc<Self>) -> bool {
        let now = self.clock.now();
        self.tell_gathered(now).await;
        let batch = self.spool.overdue(OVERDUE_BATCH, LEASE).await;
        let mut batch = batch.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot look for overdue mail");
            Vec::new()
        });
        let may_be_more = batch.len() == OVERDUE_BATCH;
        batch.retain_mut(|overdue| self.leases.hold(&mut overdue.claim, now));
        let notice = |overdue: &Overdue| (overdue.claim.message.id, overdue.why as u8);
        batch.sort_by_key(|overdue| (notice(overdue), overdue.claim.lease.leg.number));
        let tell = |together: &[Overdue]| {
            let (outbound, together) = (Arc::clone(self), together.to_vec());
            tokio::spawn(async move { outbound.tell(&together).await })
        };
        // At once: a sender whose proof takes its time holds up nobody else.
        let together = batch.chunk_by(|a, b| notice(a) == notice(b)).map(tell);
        for told in together.collect::<Vec<_>>() {
            // A panic delays this message, not those behind it.
            if let Err(error) = told.await {
                tracing::error!(%error, "{BUG}");
            }
        }
        may_be_more
    }

    /// Tells of legs of one message that are overdue for the same reason.
    async fn tell(&self, together: &[Overdue]) {
        let now = self.clock.now();
        let told = together.iter().map(|overdue| {
            let told = Told::new(&overdue.claim, self.reason(overdue, now));
            match overdue.why {
                Why::Warn => told.going_on(overdue.due, overdue.last.as_ref()),
                Why::Expired | Why::Bounced => told,
            }
        });
        let told: Vec<_> = told.collect();
        if told.iter().all(Told::goes_on) {
            return self.tell_together(Kind::Delayed, &told, now).await;
        }
        let expired = together
            .iter()
            .filter(|overdue| overdue.why == Why::Expired);
        expired.for_each(|overdue| self.count_failure(&overdue.claim, now));
        let failed = told.into_iter().map(
            |Told {
                 claim, diagnosis, ..
             }| {
                let leg = attempt(claim, claim.attempts, Trip::default(), now);
                let failed = (claim.clone(), diagnosis.clone());
                self.journal.record(Event::Failed { leg, diagnosis });
                failed
            },
        );
        let failed = failed.collect();
        if let Some(first) = together.first() {
            self.gather(&first.claim, failed, now).await;
        }
    }

    fn reason(&self, overdue: &Overdue, now: Timestamp) -> Diagnosis {
        let claim = &overdue.claim;
        let to = claim.leg.destination();
        let trouble = self.trouble.get().and_then(|trouble| trouble(&to));
        let last = trouble.or_else(|| overdue.last.clone());
        overdue_diagnosis(overdue.why, last, now.since(claim.message.arrived))
    }
}

/// The last attempt's, for its status, reply and host tell the sender more than that time has run out.
fn overdue_diagnosis(why: Why, last: Option<Diagnosis>, age: Duration) -> Diagnosis {
    let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
    let late = format!("not delivered for {age}");
    // RFC 3463 §3.5: X.4.7 is "delivery time expired".
    let mut last = last.unwrap_or_else(|| {
        Diagnosis::local(EnhancedStatus::transient(4, 7), "no attempt was made")
    });
    match why {
        Why::Warn | Why::Expired if last.reply.is_some() => {
            last.text = format!("{}; {late}", last.text);
        }
        Why::Warn | Why::Expired => last.text = format!("{late}; last attempt: {}", last.text),
        // Not what the next hop said is why it ends.
        Why::Bounced => {
            last.text = format!("given up by the postmaster; last attempt: {}", last.words());
            (last.status, last.reply) = (EnhancedStatus::permanent(0, 0), None);
        }
    }
    last
}

const BUG: &str = "a bug of Onward broke off what senders are told; it is tried again";
/// Legs handled in one round.
pub(super) const OVERDUE_BATCH: usize = 100;
/// Deadlines are hours away, but `queue bounce` waits for this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use envelope::Reply;

    use super::*;

    fn busy() -> Diagnosis {
        let status = EnhancedStatus::transient(2, 2);
        Diagnosis {
            reply: Some(Reply::new(452, status, "mailbox full")),
            host: Some("mx.test[192.0.2.1]:25".to_owned()),
            ..Diagnosis::local(status, "while sending RCPT TO")
        }
    }

    #[track_caller]
    fn check(why: Why, last: Option<Diagnosis>, status: &str, words: &str) {
        let host = last.as_ref().and_then(|last| last.host.clone());
        let told = overdue_diagnosis(why, last, Duration::from_hours(4));
        assert_eq!(
            (told.status.to_string().as_str(), told.words().as_str()),
            (status, words)
        );
        assert_eq!(told.host, host);
    }

    #[test]
    fn a_notice_repeats_what_the_last_attempt_met() {
        let said = "while sending RCPT TO; not delivered for 4h: 452 4.2.2 mailbox full";
        check(Why::Warn, Some(busy()), "4.2.2", said);
        check(Why::Expired, Some(busy()), "4.2.2", said);
        let given_up = "given up by the postmaster; last attempt: while sending RCPT TO: 452 4.2.2 mailbox full";
        check(Why::Bounced, Some(busy()), "5.0.0", given_up);
        let refused = Diagnosis::local(EnhancedStatus::transient(4, 1), "connection refused");
        check(
            Why::Expired,
            Some(refused),
            "4.4.1",
            "not delivered for 4h; last attempt: connection refused",
        );
        check(
            Why::Expired,
            None,
            "4.4.7",
            "not delivered for 4h; last attempt: no attempt was made",
        );
    }
}
