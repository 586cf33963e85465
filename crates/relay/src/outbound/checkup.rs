//! The daily look of the doctor: what has become bad, or well again, is logged, and told by mail and webhook.
//!
//! What was bad and what nobody was told yet are kept on disk: a restart tells nothing twice. (A crash right after a
//! mail does.) What cannot be found out changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use bounce::{Alert, Change};
use control::{Finding, Health};
use envelope::{Mailbox, Timestamp};
use journal::Event;
use serde::{Deserialize, Serialize};
use serde_json::json;
use spool::Spool;
use tokio_util::sync::CancellationToken;

use super::Outbound;
use super::alerts::post_json;
use crate::doctor::Doctor;
use crate::routing::Routing;

/// What is kept.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// When the last look was, in milliseconds since 1970.
    at: u64,
    /// What was bad then, as `check of`.
    bad: BTreeSet<String>,
    to_mail: Vec<Finding>,
    to_post: Vec<Finding>,
}

impl<S: Spool> Outbound<S> {
    /// Looks as often as the doctor is meant to, until `shutdown`.
    pub async fn keep_examining(&self, doctor: &Doctor, shutdown: CancellationToken) {
        if doctor.every.is_zero() {
            return;
        }
        let look = async {
            let mut kept = Kept::of(&doctor.kept);
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                self.check_up(doctor, &mut kept).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = look => {}
        }
    }

    /// Looks if it is time to, and tells what is to be told.
    pub(crate) async fn check_up(&self, doctor: &Doctor, kept: &mut Kept) {
        let now = self.clock.now();
        let last = Timestamp::from_unix_millis(kept.at);
        let is_due = last > now || now.since(last) >= doctor.every;
        if is_due {
            let changes = kept.take(doctor.examine(true).await, now);
            for change in changes {
                self.journal.record(Event::Doctor {
                    status: change.status.name(),
                    of: key(&change),
                    text: change.text,
                });
            }
        }
        let told = self.tell_changes(kept).await;
        if (is_due || told)
            && let Err(error) = (doctor.keep)(json!(kept).to_string())
        {
            tracing::error!(%error, "cannot keep what the doctor has found: after a restart it is told again");
        }
    }

    /// Whether there is less to tell: it was told, or nobody wants it.
    async fn tell_changes(&self, kept: &mut Kept) -> bool {
        let routing = self.routing.load_full();
        let mailed = match &routing.alerts.mail {
            Some(to) if !kept.to_mail.is_empty() => {
                let mailed = self.mail_changes(to, &kept.to_mail, &routing).await;
                mailed.map_err(|error| error.to_string())
            }
            _ => Ok(()),
        };
        let posted = match &routing.alerts.webhook {
            Some(_) if !kept.to_post.is_empty() => {
                let hostname = self.hostname.to_string();
                let body =
                    json!({"event": "doctor", "hostname": hostname, "findings": kept.to_post});
                let posted = post_json(&routing.alerts, &body).await;
                posted.map_err(|error| error.text)
            }
            _ => Ok(()),
        };
        let mut is_less = false;
        for (told, untold) in [(mailed, &mut kept.to_mail), (posted, &mut kept.to_post)] {
            match told {
                Ok(()) => is_less |= untold.drain(..).next().is_some(),
                Err(error) => tracing::error!(
                    error,
                    "nobody was told what the doctor has found; it is tried again\n\nhint: `[alerts]` must name an address that takes mail, and a URL that answers a POST with 2xx"
                ),
            }
        }
        is_less
    }

    async fn mail_changes(
        &self,
        to: &Mailbox,
        findings: &[Finding],
        routing: &Routing,
    ) -> Result<(), spool::Error> {
        let named: Vec<_> = findings.iter().map(key).collect();
        let changes = findings.iter().zip(&named).map(|(finding, what)| Change {
            is_bad: finding.is_bad(),
            what,
            text: &finding.text,
            publish: finding.publish.as_deref(),
        });
        let changes: Vec<_> = changes.collect();
        let compose = |alert: &Alert<'_>| Some(bounce::changes(alert, &changes));
        let (id, about) = (
            self.ids.next(self.clock.now()),
            ("findings", findings.len()),
        );
        let claims = self.queue_alert(id, to, about, compose, routing).await?;
        self.send_alert(claims).await;
        Ok(())
    }
}

impl Kept {
    /// What was kept; if there is nothing, nothing was bad.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let read = serde_json::from_slice(bytes);
        read.unwrap_or_else(|error| {
            if !bytes.is_empty() {
                tracing::warn!(%error, "cannot read what the doctor has found before: all that is bad is told again");
            }
            Self::default()
        })
    }

    /// Takes the findings of a look in, and says what has changed.
    fn take(&mut self, findings: Vec<Finding>, now: Timestamp) -> Vec<Finding> {
        let is_known = |finding: &Finding| finding.status != Health::Unknown;
        let mut seen = BTreeSet::new();
        let mut changes = Vec::new();
        // The worst comes first, and counts for all findings about one thing.
        for finding in findings.into_iter().filter(is_known) {
            let key = key(&finding);
            if !seen.insert(key.clone()) {
                continue;
            }
            let changed = match finding.is_bad() {
                true => self.bad.insert(key),
                false => self.bad.remove(&key),
            };
            changes.extend(changed.then_some(finding));
        }
        self.at = now.unix_millis();
        for untold in [&mut self.to_mail, &mut self.to_post] {
            untold.extend(changes.iter().cloned());
            let old = untold.len().saturating_sub(UNTOLD_MAX);
            untold.drain(..old);
        }
        changes
    }
}

/// What a finding is about.
fn key(finding: &Finding) -> String {
    format!("{} {}", finding.check, finding.of)
}

/// Also the pause before what could not be told is tried again; and the network is up by then.
const LOOK_EVERY: Duration = Duration::from_mins(5);
const UNTOLD_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::doctor::Facts;
    use crate::outbound::Alerts;
    use crate::outbound::tests::Fixture;
    use crate::tests::{lines, routing};

    /// What the doctor finds, what it has kept, and the doctor.
    fn doctor(
        fixture: &Fixture,
        found: &Arc<Mutex<Vec<Finding>>>,
        kept: &Arc<Mutex<String>>,
    ) -> Doctor {
        let (found, keep) = (Arc::clone(found), Arc::clone(kept));
        let routing = Arc::clone(&fixture.outbound.routing);
        Doctor {
            resolver: dns::Backend::Fixed(dns::Fixed::new()),
            facts: Box::new(move |_| Facts {
                routing: routing.load_full(),
                egresses: Vec::new(),
                listeners: Vec::new(),
                certificates: Vec::new(),
                way_out: None,
                local: found.lock().clone(),
            }),
            asking: Box::new(|_| Box::pin(async { Vec::new() })),
            served: None,
            issuing: None,
            clock: fixture.outbound.clock.clone(),
            // It is always time.
            every: Duration::ZERO,
            kept: kept.lock().clone().into_bytes(),
            keep: Box::new(move |text| {
                *keep.lock() = text;
                Ok(())
            }),
        }
    }

    /// A change is logged and mailed once, whatever is restarted; what cannot be found out is no change.
    #[tokio::test]
    async fn a_change_is_told_once() {
        let alerts = Alerts {
            mail: Some("ops@ops.test".parse().unwrap()),
            ..Alerts::default()
        };
        let routing = Routing {
            alerts,
            ..routing("")
        };
        // The domain of rewritten senders has no DNS here: that is bad from the first look on.
        let mut fixture = Fixture::with(routing, dns::Fixed::new());
        let found = Arc::new(Mutex::new(Vec::new()));
        let disk = Arc::default();
        for (status, expected) in [
            (
                Health::Good,
                &["doctor status=bad of=\"mx", "alerted to=<ops"][..],
            ),
            (Health::Good, &[]),
            (
                Health::Bad,
                &["doctor status=bad of=\"disk", "alerted to=<ops"],
            ),
            (Health::Bad, &[]),
            (Health::Unknown, &[]),
            (
                Health::Risky,
                &["doctor status=risky of=\"disk", "alerted to=<ops"],
            ),
            (Health::Good, &[]),
        ] {
            *found.lock() = vec![Finding::new(status, "disk", "/spool", "is\r\nso")];
            // As after a restart.
            let doctor = doctor(&fixture, &found, &disk);
            let mut kept = Kept::of(&doctor.kept);
            fixture.outbound.check_up(&doctor, &mut kept).await;
            let told = lines(&mut fixture.events);
            assert_eq!(told.len(), expected.len(), "{status:?}: {told:?}");
            for (line, begin) in told.iter().zip(expected) {
                let line = line.replace("to=ops", "to=<ops");
                assert!(line.starts_with(begin), "{line}");
            }
            // Nor at the next look.
            fixture.outbound.check_up(&doctor, &mut kept).await;
            assert!(lines(&mut fixture.events).is_empty());
        }
    }

    /// What is on disk may be anything.
    #[test]
    fn damaged_memory_is_none() {
        for bytes in [&b""[..], b"{", b"[]", b"{\"bad\":7}", b"\xff"] {
            assert_eq!(Kept::of(bytes), Kept::default());
        }
    }
}
