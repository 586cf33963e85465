//! The words of a notice, for a person who has never heard of SMTP; the technical part comes last.

use envelope::{Class, EnhancedStatus};

use crate::field::paragraph;
use crate::redact::Redactor;
use crate::status::{diagnostic, remote_host};
use crate::{Kind, Notice, Report};

/// The notice's subject.
pub(crate) const fn subject(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "Your message could not be delivered",
        Kind::Delayed => "Your message is delayed",
        Kind::Relayed => "Your message was passed on",
    }
}

/// The part for people, in lines of readable length.
pub(crate) fn body(notice: &Notice<'_>, reports: &[Report<'_>], redactor: &Redactor) -> String {
    let mut out = String::new();
    let sent = notice.message.arrived.rfc5322();
    let happened = match notice.kind {
        Kind::Failed => "could not be delivered to",
        Kind::Delayed => "has not yet been delivered to",
        Kind::Relayed => "was passed on for",
    };
    let opening = format!(
        "This is the mail system at {}. Your message of {sent} {happened}:",
        notice.reporting_mta
    );
    paragraph(&mut out, "", &opening);
    for report in reports {
        out.push_str("\r\n");
        for recipient in report.leg.recipients() {
            paragraph(&mut out, "  ", &recipient.to_string());
        }
        let more = report.leg.merged.more;
        if more > 0 {
            let words = format!("and {more} more of your recipients");
            paragraph(&mut out, "  ", &words);
        }
        paragraph(&mut out, "    ", &reason(notice.kind, report));
    }
    out.push_str("\r\n");
    paragraph(&mut out, "", advice(notice.kind));
    out.push_str("\r\n");
    let help = format!(
        "If you need help, write to {} and enclose this notice.",
        notice.postmaster
    );
    paragraph(&mut out, "", &help);
    out.push_str("\r\nTechnical details:\r\n");
    for report in reports {
        out.push_str("\r\n");
        paragraph(&mut out, "  ", &technical(report, redactor));
    }
    out
}

const fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => {
            "No further attempt will be made for the recipients above. \
             To reach them, correct the problem if you can and send the message again."
        }
        Kind::Delayed => {
            "You do not need to do anything: your message is kept and delivery is tried again. \
             Please do not send it again. You will be told if it fails for good."
        }
        Kind::Relayed => {
            "You asked to be told of the delivery. The next mail system took the message but sends no such \
             notices, so this is the last that you will hear from us, unless it is returned."
        }
    }
}

/// What happened to one recipient.
fn reason(kind: Kind, report: &Report<'_>) -> String {
    let status = report.diagnosis.status;
    match kind {
        Kind::Relayed => "The next mail system has accepted the message.".to_owned(),
        Kind::Delayed => {
            let until = report.will_retry_until.map_or_else(
                || "It will be tried again.".to_owned(),
                |time| format!("It will be tried again until {}.", time.rfc5322()),
            );
            format!("{} {until}", explanation(status))
        }
        // Given up although each single attempt might have been followed by a better one.
        Kind::Failed if status.class == Class::Transient => format!(
            "It was tried again and again without success, and the time allowed is over. {}",
            explanation(status)
        ),
        Kind::Failed => explanation(status).to_owned(),
    }
}

/// RFC 3463 §3 in plain words.
const fn explanation(status: EnhancedStatus) -> &'static str {
    match (status.subject, status.detail) {
        // A 4.1.1 is mostly a check that could not be made, not an address that does not exist.
        (1, 0 | 1) if matches!(status.class, Class::Transient) => {
            "The receiving mail system could not check the address."
        }
        (1, 1 | 0) => "This address does not exist there. Please check its spelling.",
        (1, 2) => {
            "The part after the @ is not a domain that takes mail. Please check its spelling."
        }
        (1, 3) => "The address is not written correctly.",
        (1, 6) => "The recipient has moved, and the address is no longer in use.",
        (1, 7 | 8) => "The receiving mail system does not accept your own address as a sender.",
        (1, 10) => "The domain of this address does not take any mail.",
        (2, 1) => "The mailbox is switched off, or does not take mail at the moment.",
        (2, 2) => "The mailbox is full.",
        (2, 3) | (3, 4) => "The message is too large for the receiving mail system.",
        (3, 1) | (3, 2) => "The receiving mail system does not take mail at the moment.",
        (4, 1) => "The receiving mail system could not be reached.",
        (4, 2) => "The connection to the receiving mail system broke.",
        (4, 3) | (4, 4) => "The way to the receiving mail system could not be found.",
        (4, 6) | (5, 4) => "The message was going round in circles between mail systems.",
        (4, 7) => "The receiving mail system did not take the message in the time allowed.",
        (5, 3) => "The message has too many recipients for the receiving mail system.",
        (6, 1..=3) => "The receiving mail system cannot handle the form of this message.",
        (6, 7..=10) => {
            "The receiving mail system cannot handle international characters in addresses."
        }
        (7, 1) => "The receiving mail system does not allow this message.",
        (7, 10) => "Encryption is required on the way, and could not be used.",
        (7, 20..=29) => {
            "The receiving mail system could not verify that the message comes from you."
        }
        (7, _) => {
            "The receiving mail system refused the message for reasons of security or policy."
        }
        (1, _) => "There is a problem with the address.",
        (2, _) => "There is a problem with the mailbox.",
        (4, _) => "There is a problem with the connection to the receiving mail system.",
        _ => match status.class {
            Class::Success => "The receiving mail system has accepted the message.",
            Class::Transient => "The receiving mail system could not take the message.",
            Class::Permanent => "The receiving mail system refused the message.",
        },
    }
}

/// The remote host's words as they are, but for private addresses.
fn technical(report: &Report<'_>, redactor: &Redactor) -> String {
    let diagnosis = report.diagnosis;
    let recipient = &report.leg.recipient;
    let said = diagnostic(report, redactor);
    match (&diagnosis.reply, remote_host(report)) {
        (Some(_), host) => {
            let host = host.as_deref().unwrap_or("the next mail system");
            let phrase = match redactor.own_words(&diagnosis.text) {
                phrase if phrase.is_empty() => phrase,
                phrase => format!(" ({phrase})"),
            };
            format!("{recipient}: {host} said: {said}{phrase}")
        }
        (None, Some(host)) => format!("{recipient}: {said} ({host})"),
        (None, None) => format!("{recipient}: {said}"),
    }
}
