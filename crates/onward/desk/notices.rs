//! Notices to senders, as the desk makes and queues them. Which words they have is `bounce`'s.
//!
//! A notice goes to the original reverse path under a null sender, and is never made for a null sender.

use std::time::Duration;

use bounce::{Excerpt, Kind, Notice, Report};
use envelope::{
    Claim, Diagnosis, EnhancedStatus, Leg, Message, MessageId, Notify, ReversePath, Timestamp,
};
use queue::{BodyReader, Dsn, Spool, Why};

use super::Desk;
use crate::log::Event;

impl<S: Spool> Desk<S> {
    /// A success notice, when the sender wants one and the next hop will not send it (RFC 3461 §5.2.2).
    pub(super) async fn relayed_notice(
        &self,
        claim: &Claim,
        diagnosis: &Diagnosis,
        told: impl Fn(&Diagnosis) -> Diagnosis,
        now: Timestamp,
    ) -> Option<Dsn> {
        if diagnosis.dsn_relayed || !bounce::wants(Kind::Relayed, &claim.leg) {
            return None;
        }
        self.notice(Kind::Relayed, claim, &told(diagnosis), now)
            .await
    }

    /// A notice to the sender of a queued message.
    pub(super) async fn notice(
        &self,
        kind: Kind,
        claim: &Claim,
        diagnosis: &Diagnosis,
        now: Timestamp,
    ) -> Option<Dsn> {
        let report = Report {
            leg: &claim.leg,
            diagnosis,
            last_attempt: (claim.attempts > 0 || kind != Kind::Delayed).then_some(now),
            will_retry_until: (kind == Kind::Delayed)
                .then(|| claim.message.arrived.plus(self.schedule.expire)),
        };
        if let Some(reason) = unwanted(kind, &claim.message, &claim.leg) {
            // A delay that nobody asked about is no event; an end that nobody hears of is.
            if kind == Kind::Failed {
                let id = claim.message.id;
                self.log.write(Event::NotBounced { id, reason });
            }
            return None;
        }
        let (bytes, complete) = self.excerpt(claim.message.id).await;
        self.compose(
            kind,
            &claim.message,
            report,
            Excerpt {
                bytes: &bytes,
                complete,
            },
            now,
        )
    }

    /// Makes the notice ready to be queued, and logs it.
    fn compose(
        &self,
        kind: Kind,
        message: &Message,
        report: Report<'_>,
        excerpt: Excerpt<'_>,
        now: Timestamp,
    ) -> Option<Dsn> {
        let notice = Notice {
            id: self.ids.next(now),
            kind,
            reporting_mta: &self.hostname,
            postmaster: &self.postmaster,
            message,
            reports: &[report],
            now,
            entropy: rand::random(),
        };
        let composed = bounce::compose(&notice, excerpt)?;
        self.log.write(Event::Bounced {
            id: message.id,
            kind: kind_name(kind),
            bounce: notice.id,
            to: ReversePath::Mailbox(composed.recipient.clone()),
        });
        Some(to_queue(notice.id, composed, now))
    }

    /// The beginning of the message, and whether it is all of it. Without a readable body the notice says less, but goes.
    async fn excerpt(&self, id: MessageId) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let Ok(mut reader) = self.spool.open_body(id).await else {
            return (bytes, false);
        };
        while bytes.len() <= self.bounce_octets_max {
            match reader.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return (bytes, true),
                Err(_) => return (bytes, false),
            }
        }
        bytes.truncate(self.bounce_octets_max);
        (bytes, false)
    }
}

/// Why the sender is told nothing, when that is so.
fn unwanted(kind: Kind, message: &Message, leg: &Leg) -> Option<&'static str> {
    if message.reverse_path.is_null() {
        return Some("its sender is null: it is itself a notification");
    }
    (!bounce::wants(kind, leg)).then_some("its sender asked not to be told (NOTIFY)")
}

/// The notice as a message of its own.
fn to_queue(id: MessageId, composed: bounce::Composed, now: Timestamp) -> Dsn {
    let message = Message {
        id,
        arrived: now,
        reverse_path: ReversePath::Null,
        size: composed.bytes.len() as u64,
        body: composed.body,
        smtputf8: composed.smtputf8,
        ret: None,
        envid: None,
    };
    let leg = Leg {
        reverse_path: ReversePath::Null,
        target: composed.recipient.clone(),
        recipient: composed.recipient,
        original: None,
        notify: Some(Notify::NEVER),
        trace: "".into(),
    };
    Dsn {
        message,
        legs: vec![leg],
        body: composed.bytes.into(),
        first_due: now,
    }
}

/// RFC 3463 §3.5: X.4.7 is "delivery time expired". `last` is as [`in_words`](super::in_words) makes it.
pub(super) fn overdue_diagnosis(why: Why, last: &str, age: Duration) -> Diagnosis {
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

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "failed",
        Kind::Delayed => "delayed",
        Kind::Relayed => "relayed",
    }
}

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
