//! From replies and accidents to outcomes: 2xx delivered, 4xx deferred, 5xx failed (RFC 5321 §4.2.1).

use envelope::{Class, Diagnosis, EnhancedStatus, Outcome, Reply};

use super::phases::Phase;

/// What a reply means for the recipients that it decides.
pub(super) fn from_reply(reply: &Reply, phase: Phase) -> Outcome {
    let diagnosis = diagnosis(reply, phase);
    match diagnosis.status.class {
        Class::Success => Outcome::Delivered(diagnosis),
        Class::Transient => Outcome::Deferred(diagnosis),
        Class::Permanent => Outcome::Failed(diagnosis),
    }
}

/// The peer's own status when it gave one (the reply parser kept it only where it agrees with the code), else
/// `class.0.0`.
pub(super) fn diagnosis(reply: &Reply, phase: Phase) -> Diagnosis {
    let class = match reply.code {
        // A 3xx where none belongs: another try may meet a saner peer.
        300..=399 => Class::Transient,
        // RFC 5321 §4.5.3.1.10: in reply to RCPT, 552 used to mean "too many recipients": as good as 452. The first one is
        // never one too many.
        552 if matches!(phase, Phase::Rcpt(1..)) && is_too_many_recipients(reply.status) => {
            Class::Transient
        }
        _ => reply.class(),
    };
    let (subject, detail) = reply.status.map_or((0, 0), |s| (s.subject, s.detail));
    Diagnosis {
        status: EnhancedStatus {
            class,
            subject,
            detail,
        },
        text: phase.phrase().to_owned(),
        reply: Some(reply.clone()),
        host: None,
        dsn_relayed: false,
    }
}

fn is_too_many_recipients(status: Option<EnhancedStatus>) -> bool {
    status.is_none_or(|status| (status.subject, status.detail) == (5, 3))
}

pub(super) fn timed_out(phase: Phase) -> Diagnosis {
    accident(EnhancedStatus::transient(4, 2), "timed out", phase)
}

pub(super) fn lost_connection(phase: Phase) -> Diagnosis {
    accident(EnhancedStatus::transient(4, 2), "lost connection", phase)
}

pub(super) fn protocol_error(what: &str, phase: Phase) -> Diagnosis {
    let what = format!("protocol error ({what})");
    accident(EnhancedStatus::transient(5, 0), &what, phase)
}

/// The reason, and what the peer had said so far.
pub(super) fn amid(reason: Diagnosis, words: &str) -> Diagnosis {
    let text = format!("{}; the peer said: {words}", reason.text);
    Diagnosis { text, ..reason }
}

fn accident(status: EnhancedStatus, what: &str, phase: Phase) -> Diagnosis {
    Diagnosis::local(status, format!("{what} {}", phase.phrase()))
}

/// Our own body could not be read: the fault is on our side, and passes (RFC 3463: 4.3.0).
pub(super) fn body_aborted() -> Diagnosis {
    let text = "the message could not be read from the spool";
    Diagnosis::local(EnhancedStatus::transient(3, 0), text)
}

/// RFC 1870 §6.
pub(super) fn over_peer_size(size: u64, limit: u64) -> Diagnosis {
    let text = format!("message of {size} octets is over the peer's limit of {limit}");
    Diagnosis::local(EnhancedStatus::permanent(3, 4), text)
}

/// RFC 6152 §3: conversion is needed but not done.
pub(super) fn peer_lacks_eight_bit() -> Diagnosis {
    let text = "message is 8-bit and the peer has no 8BITMIME";
    Diagnosis::local(EnhancedStatus::permanent(6, 3), text)
}

/// RFC 6531 §3.5.
pub(super) fn peer_lacks_smtputf8() -> Diagnosis {
    let text = "message or address needs SMTPUTF8, which the peer has not";
    Diagnosis::local(EnhancedStatus::permanent(6, 7), text)
}

/// RFC 8689 §4.2.1 and its §6.
pub(super) fn peer_lacks_require_tls() -> Diagnosis {
    let text =
        "message has to be protected all the way (REQUIRETLS), which the peer does not offer";
    Diagnosis::local(EnhancedStatus::permanent(7, 30), text)
}

pub(super) fn bare_newline() -> Diagnosis {
    let text = "message has a bare CR or LF, which cannot be sent with DATA";
    Diagnosis::local(EnhancedStatus::permanent(6, 0), text)
}
