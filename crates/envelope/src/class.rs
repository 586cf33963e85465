//! What a refusal is about, so far as there is something to be done about it: one table over what mail servers say.
//!
//! Codes alone do not tell: a 421 may be a server that restarts, one that has enough of us, or a mailbox with too much mail. The
//! rows are from replies that the large providers and the usual servers give. Words that are not in the table still have a
//! code and a status, for which the last rows are.

use crate::outcome::Diagnosis;
use crate::pattern::behind_pieces;
use crate::reply::Reply;
use crate::status::Class;

named! {
    /// What an attempt met that did not succeed.
    pub enum ReplyClass {
        /// The peer does not know us yet, and wants us to come back in some minutes.
        Greylisted = "greylisted",
        /// The site takes less than we send, or less than it did: a matter of the site, not of the message.
        Throttled = "throttled",
        /// Our address or domain has a bad name there: so too for the site.
        Blocked = "blocked",
        /// The mailbox is full.
        MailboxFull = "mailbox-full",
        /// The mailbox gets more mail at the moment than it takes.
        MailboxBusy = "mailbox-busy",
        /// The site does not like what the message says.
        Content = "content",
        /// Another matter of security or policy (RFC 3463 §3.8).
        Policy = "policy",
        /// The site could not be found in DNS.
        Dns = "dns",
        /// There was no connection, or it broke.
        Unreachable = "unreachable",
        /// Anything else.
        Other = "other",
    }
}

impl ReplyClass {
    /// Whether less is to be sent to the site.
    pub fn is_throttle(self) -> bool {
        matches!(self, Self::Throttled | Self::Blocked)
    }
}

/// A reply in the form in which patterns are compared with it.
#[derive(Debug)]
pub struct ReplyWords {
    code: String,
    /// In lower case, with one blank between words, and without addresses, which may say anything.
    text: String,
}

impl ReplyWords {
    /// Of this reply.
    pub fn of(reply: &Reply) -> Self {
        let lower = reply.text.to_lowercase();
        let mut outside = String::with_capacity(lower.len());
        for (number, piece) in lower.split('<').enumerate() {
            let kept = piece.split_once('>').filter(|_| number > 0);
            outside.push_str(kept.map_or(piece, |(_, behind)| behind));
        }
        // Sendmail writes them without brackets.
        let words = outside.split_whitespace();
        let words: Vec<_> = words.filter(|word| !word.contains('@')).collect();
        Self {
            code: reply.code.to_string(),
            text: words.join(" "),
        }
    }

    /// Whether the code begins so and the text has these words in it: in lower case, with `*` for anything between.
    pub fn have(&self, code: &str, text: &str) -> bool {
        self.code.starts_with(code) && behind_pieces(&self.text, text).is_some()
    }
}

impl Diagnosis {
    /// What it is about.
    pub fn class(&self) -> ReplyClass {
        let status = self.status;
        let said = (status.subject, status.detail);
        let Some(reply) = &self.reply else {
            return match said {
                _ if status.class != Class::Transient => ReplyClass::Other,
                (4, 3) => ReplyClass::Dns,
                (4, _) => ReplyClass::Unreachable,
                (2, 2) => ReplyClass::MailboxFull,
                _ => ReplyClass::Other,
            };
        };
        if status.class == Class::Success {
            return ReplyClass::Other;
        }
        let words = ReplyWords::of(reply);
        let is_meant = |(code, subject_detail, texts, _): &&Row| {
            subject_detail.is_none_or(|(subject, detail)| {
                subject == said.0 && (detail == ANY || detail == said.1)
            }) && texts.iter().any(|text| words.have(code, text))
        };
        TABLE
            .iter()
            .find(is_meant)
            .map_or(ReplyClass::Other, |row| row.3)
    }
}

/// What the code begins with, subject and detail of the status, texts of which one is in it; the class.
type Row = (
    &'static str,
    Option<(u16, u16)>,
    &'static [&'static str],
    ReplyClass,
);

const ANY: u16 = u16::MAX;

/// The first row that fits counts: what is said of a mailbox or of greylisting before what is said of us, and that before what
/// is said of the message, since warnings of the one mention the other.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // RFC 3463 §3.3 and §3.7; Gmail's 452 4.2.2 and 552 5.2.2, Dovecot, Exchange.
    ("", Some((2, 2)), &[""], ReplyClass::MailboxFull),
    ("", Some((6, 0)), &[""], ReplyClass::Content),

    // postgrey, milter-greylist, SQLgrey, gld, Exim's and many others' own words.
    ("4", None, &["greylist", "graylist", "grey-list", "grey list"], ReplyClass::Greylisted),
    ("451", None, &["not yet authorized to deliver mail"], ReplyClass::Greylisted),
    // OpenBSD's spamd.
    ("451", None, &["temporary failure, please try again later"], ReplyClass::Greylisted),
    // rspamd; as Plesk and Postfix say it when a milter wants it.
    ("451", Some((7, 1)), &["try again later"], ReplyClass::Greylisted),

    // Gmail: https://support.google.com/a/answer/3726730 (4.2.1, also as 5.2.1).
    ("", None, &["user you are trying to contact is receiving"], ReplyClass::MailboxBusy),
    // iCloud.
    ("4", None, &["messages to*deferred due to excessive volume"], ReplyClass::MailboxBusy),
    // Exchange.
    ("4", None, &["recipient thread limit exceeded"], ReplyClass::MailboxBusy),

    ("", None, &[
        "mailbox full", "mailbox is full", "mailbox*quota", "over quota", "overquota", "inbox is out of storage",
    ], ReplyClass::MailboxFull),
    // WEB.DE.
    ("", None, &["exhausted allowed storage space"], ReplyClass::MailboxFull),

    // Apple's refusal of a message with such a domain in it; other listings are ours.
    ("5", None, &["having a domain present in the spamhaus dbl"], ReplyClass::Content),
    // GMX: https://postmaster.gmx.com/en/error-messages; Outlook's S3140 and S3150; those that use a DNSBL.
    ("", None, &["block list", "blocklist", "blacklist", "blocked using", "spamhaus"], ReplyClass::Blocked),
    // Yahoo's TS03, and its BL21 to BL23.
    ("", None, &["messages from*permanently deferred", "[bl2"], ReplyClass::Blocked),
    // Gmail.
    ("", None, &["low reputation of the sending"], ReplyClass::Blocked),
    // T-Online, also for addresses that it has not heard of for long.
    ("", None, &["ask your postmaster for help or to contact"], ReplyClass::Blocked),

    // Gmail: https://support.google.com/a/answer/3726730 (4.7.28 for our address, and for SPF, DKIM and URL domains; 4.7.0 before).
    ("4", Some((7, 28)), &[""], ReplyClass::Throttled),
    ("4", None, &["unusual rate of"], ReplyClass::Throttled),
    ("421", Some((7, 0)), &["try again later, closing connection"], ReplyClass::Throttled),
    // Outlook: 4.7.650 and 4.7.651 (S775, S3114), 4.7.500 (S77719), RP-001 to RP-003, 4.3.1. Gmail's 4.4.5 is the busy one, too.
    ("4", None, &[
        "rate limit", "rate-limit", "ratelimit", "server busy", "rp-00", "connection limit", "insufficient system resources",
    ], ReplyClass::Throttled),
    // Yahoo's TSS04 and TSS05: https://senders.yahooinc.com/smtp-error-codes/
    ("4", None, &[
        "messages from*temporarily deferred", "message temporarily deferred", "resources temporarily",
    ], ReplyClass::Throttled),
    // iCloud: https://support.apple.com/en-us/HT203531
    ("452", None, &["try later"], ReplyClass::Throttled),
    // GMX and IONOS, for too many addresses that do not exist.
    ("421", None, &["reject due to policy violations"], ReplyClass::Throttled),
    // Postfix's anvil: "too many connections from", "too much mail from"; others in many words.
    ("4", None, &[
        "too many connections", "too many sessions", "too many concurrent", "too many recipients from", "too many mails",
        "too many messages", "too much mail", "throttl", "slow down",
    ], ReplyClass::Throttled),
    // RFC 3463 §3.5: mail system congestion.
    ("4", Some((4, 5)), &[""], ReplyClass::Throttled),

    // Gmail's "likely unsolicited", Yahoo's PH01, iCloud's CS01, and all that name spam or a virus.
    ("", None, &[
        "unsolicited", "suspicious due to the nature of the content", "[ph01]", "[cs01]", "spam", "virus",
    ], ReplyClass::Content),

    ("", Some((7, ANY)), &[""], ReplyClass::Policy),
    ("4", Some((4, 3)), &[""], ReplyClass::Dns),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::EnhancedStatus;

    #[track_caller]
    fn check(line: &str, expected: ReplyClass) {
        let mut reply = Reply::parse_refusal(line, (0, 0)).unwrap();
        let status = reply.status.take().unwrap();
        let diagnosis = Diagnosis {
            reply: Some(reply),
            ..Diagnosis::local(status, "while sending RCPT TO")
        };
        assert_eq!(diagnosis.class(), expected, "{line}");
    }

    #[test]
    fn what_the_large_providers_say() {
        for throttled in [
            "421 4.7.28 [192.0.2.1] Our system has detected an unusual rate of\nunsolicited mail originating from your IP address. To protect our\nusers from spam, mail sent from your IP address has been temporarily\nrate limited.",
            "450 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your SPF domain.",
            "421 4.7.0 [192.0.2.1 15] Our system has detected an unusual rate of\nunsolicited mail originating from your IP address.",
            "421 4.7.0 Try again later, closing connection. - gsmtp",
            "421 4.4.5 Server busy, try again later.",
            "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)",
            "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)",
            "452 4.3.1 Insufficient system resources",
            "421 RP-001 The mail server IP connecting has exceeded the rate limit allowed.",
            "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1",
            "451 Resources temporarily not available - Please try again later [#4.16.1].",
            "421 Rate limit reached. Please try again later",
            "421 Reject due to policy violations",
            "452 try later",
            "421 4.7.0 mx.test Error: too many connections from 192.0.2.1",
            "450 4.7.1 Error: too much mail from 192.0.2.1",
        ] {
            check(throttled, ReplyClass::Throttled);
        }
        for greylisted in [
            "450 4.2.0 <a@x.test>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/x.test.html",
            "451 4.7.1 Greylisting in action, please come back in 00:05:00",
            "451 Temporary failure, please try again later.",
            "451 4.7.1 Try again later",
            "451 192.0.2.1 is not yet authorized to deliver mail from\n<a@x.test> to <b@y.test>. Please try later.",
        ] {
            check(greylisted, ReplyClass::Greylisted);
        }
        for busy in [
            "450 4.2.1 The user you are trying to contact is receiving mail at a rate that\nprevents additional messages from being delivered.",
            "421 4.7.1 Messages to a@icloud.com deferred due to excessive volume. Try again later",
        ] {
            check(busy, ReplyClass::MailboxBusy);
        }
        for full in [
            "452 4.2.2 The recipient's inbox is out of storage space.",
            "552 5.2.2 <a@x.test> Quota exceeded (mailbox for user is full)",
            "552 1 Requested mail action aborted, mailbox is full",
            "550 User has exhausted allowed storage space.",
        ] {
            check(full, ReplyClass::MailboxFull);
        }
        for blocked in [
            "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Part of their network is on our block list (S3150).",
            "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.",
            "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1",
            "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
            "554 IP address is block listed.",
            "554 IP=192.0.2.1 - None/bad reputation. Ask your postmaster for help or to contact\nus for reset. (NOWL)",
            "421 4.7.0 This message is suspicious due to the very low reputation of the sending domain.",
        ] {
            check(blocked, ReplyClass::Blocked);
        }
        for content in [
            "550 5.7.1 [192.0.2.1] Gmail has detected that this message is likely unsolicited mail.",
            "554 5.7.9 [PH01] Message not accepted for policy reasons",
            "550 5.7.1 [CS01] Message rejected due to local policy.",
            "554 5.7.1 Spam message rejected",
        ] {
            check(content, ReplyClass::Content);
        }
    }

    #[test]
    fn what_is_left_goes_by_its_status() {
        check(
            "450 4.7.25 Client host rejected: cannot find your hostname",
            ReplyClass::Policy,
        );
        check(
            "550 5.7.26 This mail has been blocked because the sender is unauthenticated",
            ReplyClass::Policy,
        );
        check("450 4.2.0 mailbox not available", ReplyClass::Other);
        check("550 5.1.1 no such user", ReplyClass::Other);
        check("452 4.5.3 Too many recipients", ReplyClass::Other);
        check("421 4.3.2 shutting down", ReplyClass::Other);
        check("451 4.4.3 temporary lookup failure", ReplyClass::Dns);
    }

    #[test]
    fn an_address_does_not_choose_the_class() {
        check("450 4.2.0 <greylist@x.test>: not now", ReplyClass::Other);
        check(
            "450 4.2.0 <server busy@x.test> <virus@x.test>",
            ReplyClass::Other,
        );
        check("450 4.2.0 > greylisted <", ReplyClass::Greylisted);
        let without_brackets =
            "451 4.1.8 Domain of sender address throttle@x.test does not resolve";
        check(without_brackets, ReplyClass::Other);
    }

    #[test]
    fn without_a_reply() {
        let class = |subject, detail| {
            Diagnosis::local(EnhancedStatus::transient(subject, detail), "rate limit").class()
        };
        assert_eq!(class(4, 3), ReplyClass::Dns);
        assert_eq!(class(4, 1), ReplyClass::Unreachable);
        assert_eq!(class(4, 2), ReplyClass::Unreachable);
        assert_eq!(class(3, 0), ReplyClass::Other);
        assert_eq!(class(7, 5), ReplyClass::Other);
    }

    #[test]
    fn a_long_reply_costs_little() {
        let reply = Reply {
            code: 450,
            status: None,
            text: "messages from < > ".repeat(10_000),
        };
        let diagnosis = Diagnosis {
            reply: Some(reply),
            ..Diagnosis::local(EnhancedStatus::transient(0, 0), "")
        };
        assert_eq!(diagnosis.class(), ReplyClass::Other);
    }
}
