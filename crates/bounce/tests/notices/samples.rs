//! One message with its legs, and the three notices about it.

use bounce::{Composed, Excerpt, Kind, Notice, Report, compose};
use envelope::{
    Diagnosis, Domain, EnhancedStatus, Leg, Mailbox, Message, MessageId, Notify, OriginalRecipient,
    Reply, Return, ReversePath, Timestamp,
};

pub(crate) const MAIL: &[u8] =
    b"Received: from client.example\r\n\tby mx1.example.net; Sat, 21 Nov 2026 12:34:56 +0000\r\n\
From: Sender <sender@origin.example>\r\n\
To: alice@example.org\r\n\
Subject: Lunch\r\n\
Message-ID: <lunch-1@origin.example>\r\n\
\r\n\
Shall we have lunch?\r\n\
.\r\n\
-- \r\n";

/// Everything that a notice needs, to be changed at will.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    pub(crate) message: Message,
    pub(crate) legs: Vec<Leg>,
    pub(crate) diagnosis: Diagnosis,
    pub(crate) mail: Vec<u8>,
    pub(crate) entropy: u64,
}

impl Sample {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            message: message(),
            legs: vec![leg("alice@example.org", "jane@private.example")],
            diagnosis: diagnosis(kind),
            mail: MAIL.to_vec(),
            entropy: 42,
        }
    }

    pub(crate) fn compose(&self) -> Option<Composed> {
        let host: Domain = "mx1.example.net".parse().unwrap();
        let postmaster: Mailbox = "postmaster@example.net".parse().unwrap();
        let reports: Vec<_> = self.legs.iter().map(|leg| self.report(leg)).collect();
        let notice = Notice {
            id: MessageId::new(now(), 7),
            kind: self.kind,
            reporting_mta: &host,
            postmaster: &postmaster,
            message: &self.message,
            reports: &reports,
            now: now(),
            entropy: self.entropy,
        };
        let excerpt = Excerpt {
            bytes: &self.mail,
            complete: true,
        };
        compose(&notice, excerpt)
    }

    /// The notice as text, for samples that are UTF-8.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.compose().unwrap().bytes).unwrap()
    }

    fn report<'a>(&'a self, leg: &'a Leg) -> Report<'a> {
        Report {
            leg,
            diagnosis: &self.diagnosis,
            last_attempt: Some(at(3600)),
            will_retry_until: Some(at(5 * 86_400)),
        }
    }
}

pub(crate) fn leg(recipient: &str, target: &str) -> Leg {
    Leg {
        original: Some(OriginalRecipient {
            kind: "rfc822".into(),
            address: "alice+old@example.com".into(),
        }),
        notify: Some(Notify {
            success: true,
            failure: true,
            delay: true,
        }),
        trace: format!("Delivered-To: {recipient}\r\n").into(),
        ..Leg::new(
            ReversePath::Mailbox(
                "SRS0=abcd=XY=origin.example=sender@fwd.example.net"
                    .parse()
                    .unwrap(),
            ),
            target.parse().unwrap(),
            recipient.parse().unwrap(),
        )
    }
}

/// Seconds after the message came in.
pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_795_264_496_789 + secs * 1000)
}

pub(crate) fn now() -> Timestamp {
    at(3601)
}

fn message() -> Message {
    Message {
        ret: Some(Return::Full),
        envid: Some("order=17".into()),
        ..Message::new(
            MessageId::new(at(0), 1),
            at(0),
            ReversePath::Mailbox("sender@origin.example".parse().unwrap()),
            MAIL.len() as u64,
        )
    }
}

fn diagnosis(kind: Kind) -> Diagnosis {
    let (status, code, text) = match kind {
        Kind::Failed => (
            EnhancedStatus::permanent(1, 1),
            550,
            "<Jane@PRIVATE.example>: no mailbox for jane\nsee https://help.example/1",
        ),
        Kind::Delayed => (EnhancedStatus::transient(2, 2), 452, "jane is over quota"),
        Kind::Relayed => (
            EnhancedStatus::success(1, 5),
            250,
            "<jane@private.example> ok",
        ),
    };
    Diagnosis {
        status,
        text: "in reply to RCPT TO".to_owned(),
        reply: Some(Reply::new(code, status, text)),
        host: Some("mx.private-provider.example[192.0.2.25]:25".to_owned()),
        dsn_relayed: false,
    }
}
