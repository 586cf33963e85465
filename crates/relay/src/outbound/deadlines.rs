//! Legs whose time is over, whose sender waits for word, or that the operator wants bounced.
//!
//! Legs of one message mostly come to that together: one notice tells of all of them.

use std::sync::Arc;
use std::time::Duration;

use bounce::Kind;
use envelope::{Diagnosis, EnhancedStatus, Timestamp};
use journal::Event;
use spool::{Overdue, Spool, Why};
use tokio_util::sync::CancellationToken;

use super::notices::Told;
use super::{LEASE, Outbound, TROUBLE_PAUSE, attempt, in_words};

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
                // It panicked: what it had leased comes back when that is over.
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
    pub(super) async fn tell_overdue(self: &Arc<Self>) -> bool {
        let now = self.clock.now();
        self.tell_gathered(now).await;
        let batch = self.spool.overdue(OVERDUE_BATCH, LEASE).await;
        let mut batch = batch.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot look for overdue mail");
            Vec::new()
        });
        let may_be_more = batch.len() == OVERDUE_BATCH;
        let notice = |overdue: &Overdue| (overdue.claim.message.id, overdue.why as u8);
        batch.sort_by_key(|overdue| (notice(overdue), overdue.claim.lease.leg.number));
        for together in batch.chunk_by(|a, b| notice(a) == notice(b)) {
            let (outbound, together) = (Arc::clone(self), together.to_vec());
            let told = tokio::spawn(async move { outbound.tell(&together).await });
            // It costs its own message a lease, not those behind it.
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
                Why::Warn => told.going_on(overdue.due, &overdue.last),
                Why::Expired | Why::Bounced => told,
            }
        });
        let told: Vec<_> = told.collect();
        if told.iter().all(Told::goes_on) {
            return self.tell_together(Kind::Delayed, &told, now).await;
        }
        let failed = told.into_iter().map(
            |Told {
                 claim, diagnosis, ..
             }| {
                let leg = attempt(claim, claim.attempts, now);
                let failed = (claim.clone(), diagnosis.clone());
                self.journal.record(Event::Failed { leg, diagnosis });
                failed
            },
        );
        let failed = failed.collect();
        if let Some(first) = together.first() {
            self.gather(&first.claim.message, failed, now).await;
        }
    }

    fn reason(&self, overdue: &Overdue, now: Timestamp) -> Diagnosis {
        let Overdue {
            claim, why, last, ..
        } = overdue;
        let host = claim.leg.target.host();
        let trouble = self.trouble.get().and_then(|trouble| trouble(host));
        let words = trouble.as_ref().map_or_else(|| last.clone(), in_words);
        overdue_diagnosis(*why, &words, now.since(claim.message.arrived))
    }
}

/// RFC 3463 §3.5: X.4.7 is "delivery time expired". `last` is as [`in_words`] makes it.
fn overdue_diagnosis(why: Why, last: &str, age: Duration) -> Diagnosis {
    let (host, last) = match split_host(last) {
        (host, "") => (host, "no attempt was made"),
        split => split,
    };
    let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
    let (status, text) = match why {
        Why::Warn | Why::Expired => (
            EnhancedStatus::transient(4, 7),
            format!("not delivered for {age}; last attempt: {last}"),
        ),
        Why::Bounced => (
            EnhancedStatus::permanent(0, 0),
            format!("given up by the postmaster; last attempt: {last}"),
        ),
    };
    Diagnosis {
        host: host.map(str::to_owned),
        ..Diagnosis::local(status, text)
    }
}

/// The host that words begin with, and the rest: whether a sender may be told the host is for `bounce` to say.
fn split_host(words: &str) -> (Option<&str>, &str) {
    match words.split_once(": ") {
        Some((host, rest)) if !host.contains(' ') && host.contains('.') => (Some(host), rest),
        _ => (None, words),
    }
}

const BUG: &str = "a bug of Onward broke off what senders are told; it is tried again";
/// Legs told of in one round.
pub(super) const OVERDUE_BATCH: usize = 100;
/// Deadlines are hours; an operator who wants mail bounced waits for this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::split_host;

    #[test]
    fn hosts_in_words() {
        for (words, expected) in [
            (
                "mx.test[192.0.2.1]:25: while sending RCPT TO: 450 later: x",
                (
                    Some("mx.test[192.0.2.1]:25"),
                    "while sending RCPT TO: 450 later: x",
                ),
            ),
            (
                "[2001:db8::1.2.3.4]:25: timed out",
                (Some("[2001:db8::1.2.3.4]:25"), "timed out"),
            ),
            (
                "mx.test: cannot look up the host for its mail: SERVFAIL",
                (
                    Some("mx.test"),
                    "cannot look up the host for its mail: SERVFAIL",
                ),
            ),
            (
                "cannot look up a.test: SERVFAIL",
                (None, "cannot look up a.test: SERVFAIL"),
            ),
            ("damaged: checksum", (None, "damaged: checksum")),
            ("", (None, "")),
        ] {
            assert_eq!(split_host(words), expected, "{words}");
        }
    }
}
