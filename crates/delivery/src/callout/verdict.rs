//! What came of a callout, and whether it is held against the sender. Pure.
//!
//! Exim (`verify = sender/callout`) and Postfix (`reject_unverified_sender`) take every 5xx to MAIL or RCPT for a no. But many
//! servers refuse callouts as such, or us, and then the sender is blamed for it. Here a no is one of these:
//!
//! | met | why |
//! |---|---|
//! | the domain does not exist, has neither MX nor address, has a null MX, or no MX that we may connect to | it takes no mail |
//! | RCPT: 5xx with `5.1.0`–`5.1.3`, `5.1.6`, `5.1.10`, `5.2.1` | the address is bad, has moved, is disabled |
//! | RCPT: 550, 551, 553, 556 without a status, or with one that says nothing (`5.0.0`, `5.5.0`) | the same, from older servers |
//! | RCPT: 550 `5.4.1` "Recipient address rejected" | Microsoft 365 says so of an unknown user |
//!
//! and none of them when its words are about us or our callout ([`ABOUT_US`]). All else is unknown: 4xx, a full mailbox, a
//! policy (`5.7.x`), whatever is said to the connection, EHLO or MAIL, no answer, mail that would come back to us.

use envelope::{Diagnosis, Mailbox, Outcome, Reply};

use super::Finding;
use crate::mx::LOOP;

/// DNS or the connection decided, before RCPT.
pub(super) fn without_asking(outcome: Outcome) -> Finding {
    match outcome {
        Outcome::Failed(reason) if reason.reply.is_none() && reason.status != LOOP => {
            Finding::Refused(reason.clipped(KEPT_OCTETS))
        }
        outcome => Finding::Unknown(reason(outcome)),
    }
}

/// `turned_away`: the reply is to MAIL, or ends the connection.
pub(super) fn after_asking(outcome: Outcome, turned_away: bool, sender: &Mailbox) -> Finding {
    let no = |reply: &Reply| !turned_away && is_a_no(reply, sender);
    let finding = match &outcome {
        Outcome::Delivered(_) => Finding::Exists,
        Outcome::Failed(Diagnosis { reply, .. }) if reply.as_ref().is_some_and(no) => {
            Finding::Refused
        }
        _ => Finding::Unknown,
    };
    finding(reason(outcome))
}

fn is_a_no(reply: &Reply, sender: &Mailbox) -> bool {
    // The address may hold any of the words.
    let words = reply.text.to_lowercase();
    let words = words.replace(&sender.to_string().to_lowercase(), "it");
    let named = match reply.status.map(|status| (status.subject, status.detail)) {
        Some((1, 0..=3 | 6 | 10) | (2, 1)) => true,
        Some((4, 1)) => reply.code == 550 && words.contains("recipient address rejected"),
        None | Some((0 | 5, 0)) => matches!(reply.code, 550 | 551 | 553 | 556),
        Some(_) => false,
    };
    named && !ABOUT_US.iter().any(|word| words.contains(word))
}

fn reason(outcome: Outcome) -> Diagnosis {
    let (Outcome::Delivered(reason) | Outcome::Deferred(reason) | Outcome::Failed(reason)) =
        outcome;
    reason.clipped(KEPT_OCTETS)
}

/// In a refusal, a sign that it is not about the address: a blocklist, our name in DNS, the callout, a full mailbox.
const ABOUT_US: [&str; 24] = [
    "authenti",
    "blacklist",
    "block",
    "call back",
    "call-out",
    "callback",
    "callout",
    "client host",
    "dnsbl",
    "full",
    "graylist",
    "greylist",
    "policy",
    "quota",
    "relay",
    "reputation",
    "reverse dns",
    "sender",
    "spam",
    "temporar",
    "too many",
    "verification",
    "your ip",
    "<>",
];
/// Of each text, to bound what is remembered.
const KEPT_OCTETS: usize = 200;

#[cfg(test)]
mod tests {
    use envelope::{Class, EnhancedStatus};

    use super::*;

    /// `reply`: code, status (or `-`), text.
    fn after(reply: &str, turned_away: bool) -> &'static str {
        let (code, rest) = reply.split_once(' ').unwrap();
        let (status, text) = rest.split_once(' ').unwrap();
        let reply = Reply {
            code: code.parse().unwrap(),
            status: status.parse().ok(),
            text: text.to_owned(),
        };
        let status = EnhancedStatus::permanent(0, 0);
        let class = reply.class();
        let diagnosis = Diagnosis {
            reply: Some(reply),
            ..Diagnosis::local(status, "while sending RCPT TO")
        };
        let outcome = match class {
            Class::Success => Outcome::Delivered(diagnosis),
            Class::Transient => Outcome::Deferred(diagnosis),
            Class::Permanent => Outcome::Failed(diagnosis),
        };
        let sender = "Spam.Block@x.example".parse().unwrap();
        after_asking(outcome, turned_away, &sender).as_str()
    }

    #[test]
    fn the_reply_to_rcpt() {
        for (reply, expected) in [
            ("250 2.1.5 Ok", "exists"),
            ("251 - will forward", "exists"),
            (
                "550 5.1.1 <spam.block@x.example>: Recipient address rejected: User unknown",
                "refused",
            ),
            (
                "550 5.1.1 The email account that you tried to reach does not exist.",
                "refused",
            ),
            ("554 5.1.1 no such user", "refused"),
            (
                "550 5.1.10 RecipientNotFound; Recipient not found by SMTP address lookup",
                "refused",
            ),
            ("551 5.1.6 moved", "refused"),
            (
                "550 5.2.1 The email account that you tried to reach is disabled.",
                "refused",
            ),
            ("550 - No such user, please verify the address", "refused"),
            ("553 - sorry, no mailbox here by that name", "refused"),
            ("550 5.0.0 User unknown", "refused"),
            (
                "550 5.5.0 Requested action not taken: mailbox unavailable",
                "refused",
            ),
            ("556 - this domain takes no mail", "refused"),
            (
                "550 5.4.1 Recipient address rejected: Access denied.",
                "refused",
            ),
            ("550 5.4.1 no answer from host", "unknown"),
            ("450 4.1.1 unknown user", "unknown"),
            ("451 4.7.1 Greylisting in action", "unknown"),
            ("452 4.2.2 mailbox full", "unknown"),
            ("552 5.2.2 mailbox full", "unknown"),
            ("550 - mailbox full", "unknown"),
            ("554 - Transaction failed", "unknown"),
            (
                "550 5.7.1 Service unavailable; client host [192.0.2.1] blocked using zen",
                "unknown",
            ),
            ("550 - Your IP is listed at a blacklist", "unknown"),
            ("550 5.1.1 callout refused", "unknown"),
            ("550 - We do not accept sender verification", "unknown"),
            ("550 5.1.0 <> sender rejected", "unknown"),
            ("550 5.1.8 bad sender", "unknown"),
            ("550 - relay not permitted", "unknown"),
            ("530 5.7.0 Authentication required", "unknown"),
            ("503 5.5.1 MAIL first", "unknown"),
        ] {
            assert_eq!(after(reply, false), expected, "{reply}");
        }
        for reply in [
            "550 5.1.1 no such user",
            "421 - bye",
            "550 5.7.1 no null senders",
        ] {
            assert_eq!(after(reply, true), "unknown", "to MAIL: {reply}");
        }
    }

    #[test]
    fn before_rcpt() {
        let check = |outcome, expected| assert_eq!(without_asking(outcome).as_str(), expected);
        let permanent = EnhancedStatus::permanent(1, 2);
        let failed = |status| Outcome::Failed(Diagnosis::local(status, ""));
        check(failed(permanent), "refused");
        check(failed(LOOP), "unknown");
        let deferred = Diagnosis::local(EnhancedStatus::transient(4, 3), "");
        check(Outcome::Deferred(deferred), "unknown");
        let never = Diagnosis {
            reply: Some(Reply::new(521, permanent, "no mail here")),
            ..Diagnosis::local(permanent, "while waiting for the greeting")
        };
        check(Outcome::Failed(never), "unknown");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let status = EnhancedStatus::permanent(1, 1);
        let diagnosis = Diagnosis {
            reply: Some(Reply::new(550, status, "x".repeat(100_000))),
            ..Diagnosis::local(status, "y".repeat(100_000))
        };
        let sender = "a@x.example".parse().unwrap();
        let finding = after_asking(Outcome::Failed(diagnosis), false, &sender);
        assert!(format!("{finding:?}").len() < 1000);
    }
}
