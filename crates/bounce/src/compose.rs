//! Putting a notice together: header, three parts, and a boundary that none of them contains.

use envelope::{Leg, Mailbox, Return, SenderTls};
use memchr::memmem;

use crate::excerpt::Part;
use crate::field::{field, quoted_printable};
use crate::redact::Redactor;
use crate::{Composed, Excerpt, Kind, Notice, Report, status, text};

/// Whether the sender wants a notice of this kind about this leg (RFC 3461 §4.1).
///
/// Without NOTIFY, failures and delays are told (RFC 3461 §5.2.1 leaves the latter to us), successes are not.
pub fn wants(kind: Kind, leg: &Leg) -> bool {
    match (kind, leg.notify) {
        (Kind::Failed | Kind::Delayed, None) => true,
        (Kind::Relayed, None) => false,
        (Kind::Failed, Some(notify)) => notify.failure,
        (Kind::Delayed, Some(notify)) => notify.delay,
        (Kind::Relayed, Some(notify)) => notify.success,
    }
}

/// Makes the notice. `None` when the message's reverse path is null (RFC 5321 §6.1), or when no report is left
/// that its sender wants.
///
/// The whole message is given back only in a notice of failure, only with RET=FULL, and only if `excerpt` holds all
/// of it; otherwise its header (RFC 3461 §4.3 leaves the choice to us without RET; a header
/// is enough to recognise one's mail, and of no use to those who send spam by way of bounces).
pub fn compose(notice: &Notice<'_>, excerpt: Excerpt<'_>) -> Option<Composed> {
    let recipient = notice.message.reverse_path.mailbox()?;
    let is_wanted = |report: &&Report<'_>| wants(notice.kind, report.leg);
    let reports: Vec<_> = notice.reports.iter().filter(is_wanted).copied().collect();
    if reports.is_empty() {
        return None;
    }
    // Whoever sent with SMTPUTF8 can be answered with it, nobody else (RFC 6533 §5).
    let utf8 = notice.message.smtputf8 || !recipient.is_ascii();
    let redactor = Redactor::new(notice.reports.iter().map(|report| report.leg));
    let full = notice.kind == Kind::Failed && notice.message.ret == Some(Return::Full);
    let parts = [
        words_part(text::body(notice, &reports, &redactor)),
        status_part(status::fields(notice, &reports, &redactor, utf8)),
        excerpt.part(full, utf8),
    ];
    let bytes = assemble(notice, recipient, excerpt.message_id(), &parts);
    let asks = |report: &Report<'_>| report.leg.options.sender_tls() == SenderTls::Required;
    // RFC 8689 §5: it holds parts of the message.
    let tls = match reports.iter().any(asks) {
        true => SenderTls::Required,
        false => SenderTls::AsUsual,
    };
    Some(Composed::new(recipient, bytes, utf8, tls))
}

/// Text for people.
pub(crate) fn words_part(words: String) -> Part<'static> {
    let (content_type, encoding, bytes) = if words.is_ascii() {
        ("text/plain; charset=us-ascii", "7bit", words)
    } else {
        let encoded = quoted_printable(words.as_bytes());
        ("text/plain; charset=utf-8", "quoted-printable", encoded)
    };
    Part {
        content_type,
        description: "What happened",
        encoding,
        bytes: bytes.into_bytes().into(),
    }
}

fn status_part(fields: String) -> Part<'static> {
    let (content_type, encoding) = if fields.is_ascii() {
        ("message/delivery-status", "7bit")
    } else {
        ("message/global-delivery-status", "8bit")
    };
    Part {
        content_type,
        description: "Delivery report",
        encoding,
        bytes: fields.into_bytes().into(),
    }
}

fn assemble(
    notice: &Notice<'_>,
    recipient: &Mailbox,
    about: Option<String>,
    parts: &[Part<'_>; 3],
) -> Vec<u8> {
    let boundary = boundary(notice, parts);
    let mut out = header(notice, recipient, about, &boundary, parts).into_bytes();
    // Grown step by step a large one would be there twice.
    let octets: usize = parts.iter().map(|part| part.bytes.len()).sum();
    out.reserve_exact(octets + PART_HEADS_OCTETS);
    out.extend_from_slice(b"\r\nThis is a message in MIME format.\r\n");
    for part in parts {
        let mut head = format!("\r\n--{boundary}\r\n");
        field(&mut head, "Content-Description", part.description);
        field(&mut head, "Content-Type", part.content_type);
        field(&mut head, "Content-Transfer-Encoding", part.encoding);
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&part.bytes);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// The notice's own header, without the empty line.
fn header(
    notice: &Notice<'_>,
    recipient: &Mailbox,
    about: Option<String>,
    boundary: &str,
    parts: &[Part<'_>; 3],
) -> String {
    let host = notice.reporting_mta;
    let mut out = String::new();
    field(&mut out, "Date", &notice.now.rfc5322());
    let from = format!("Mail Delivery System <MAILER-DAEMON@{host}>");
    field(&mut out, "From", &from);
    // Not folded: a quoted local part may hold spaces that count.
    out.push_str(&format!("To: {recipient}\r\n"));
    field(&mut out, "Subject", text::subject(notice.kind));
    let id = format!("<{}@{host}>", notice.id);
    field(&mut out, "Message-ID", &id);
    // RFC 3834 §3.1.5: so that mail programs show the notice beside the message.
    if let Some(about) = about {
        field(&mut out, "In-Reply-To", &about);
        field(&mut out, "References", &about);
    }
    field(&mut out, "Auto-Submitted", "auto-replied");
    field(&mut out, "MIME-Version", "1.0");
    let report = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
    field(&mut out, "Content-Type", &report);
    if parts.iter().any(|part| part.encoding == "8bit") {
        field(&mut out, "Content-Transfer-Encoding", "8bit");
    }
    out
}

/// A boundary that is in no part. `=_` never stands in quoted-printable (RFC 2045 §6.7); the rest nobody can foresee,
/// and were it foreseen, the next one is taken.
fn boundary(notice: &Notice<'_>, parts: &[Part<'_>; 3]) -> String {
    let mut entropy = notice.entropy;
    loop {
        let boundary = format!("=_{}_{entropy:016x}", notice.id);
        let contains = |part: &Part<'_>| memmem::find(&part.bytes, boundary.as_bytes()).is_some();
        if !parts.iter().any(contains) {
            return boundary;
        }
        entropy = entropy.wrapping_add(1);
    }
}

/// What stands before, between and behind the parts, at most.
const PART_HEADS_OCTETS: usize = 1024;
