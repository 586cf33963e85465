//! The part for machines: `message/delivery-status` (RFC 3464 §2), in UTF-8 when RFC 6533 allows it.

use envelope::Mailbox;

use crate::field::{clip, field, one_line};
use crate::redact::{Redactor, is_private, searchable};
use crate::{Kind, Notice, Report};

/// Of a reply, no more than this is shown, in octets. A reply may have hundreds of lines.
const DIAGNOSTIC_OCTETS_MAX: usize = 2048;

/// Of what is said again of each further recipient of a leg: there may be hundreds.
const DIAGNOSTIC_AGAIN_OCTETS_MAX: usize = 256;

/// More than this of a reply is not even searched for addresses: enough to show, whatever is replaced.
const REPLY_OCTETS_MAX: usize = 4 * 1024;

/// The whole part: a group of fields about the message, then one for each report. `utf8` says whether addresses
/// and replies may stand there as they are; if not, all of it is ASCII.
pub(crate) fn fields(
    notice: &Notice<'_>,
    reports: &[Report<'_>],
    redactor: &Redactor,
    utf8: bool,
) -> String {
    let mut out = String::new();
    let mta = format!("dns; {}", notice.reporting_mta);
    field(&mut out, "Reporting-MTA", &mta);
    if let Some(envid) = &notice.message.envid {
        field(&mut out, "Original-Envelope-Id", &encode(envid, utf8));
    }
    field(&mut out, "Arrival-Date", &notice.message.arrived.rfc5322());
    // For our own operators: what to look for in the log.
    field(&mut out, "X-Onward-Id", &notice.message.id.to_string());
    for report in reports {
        // What the host said is the same for all who share a leg, and need not be repeated at length.
        let whole = ascii_unless(utf8, diagnostic(report, redactor));
        let mut said = whole.as_str();
        for recipient in report.leg.recipients() {
            out.push_str("\r\n");
            recipient_fields(&mut out, notice.kind, report, recipient, said, utf8);
            said = clip(said, DIAGNOSTIC_AGAIN_OCTETS_MAX);
        }
        if report.leg.merged.more > 0 {
            let more = report.leg.merged.more.to_string();
            field(&mut out, "X-Onward-Further-Recipients", &more);
        }
    }
    out
}

/// What the remote host said, or else our own words: on one line, bounded, and without private addresses.
pub(crate) fn diagnostic(report: &Report<'_>, redactor: &Redactor) -> String {
    let words = match &report.diagnosis.reply {
        Some(reply) => one_line(&reply.to_string()),
        // Of a leg that was tried in vain it repeats what the host said last.
        None => one_line(&report.diagnosis.text),
    };
    let text = redactor.said(searchable(&words, REPLY_OCTETS_MAX), report);
    clip(&text, DIAGNOSTIC_OCTETS_MAX).to_owned()
}

/// The name of the host that was talked to, without address and port; none when it would tell where a forward goes. It
/// came from DNS: only what a host name or an address literal can hold is kept.
pub(crate) fn remote_host(report: &Report<'_>) -> Option<String> {
    if is_private(report.leg) {
        return None;
    }
    host_name(report.diagnosis.host.as_deref()?)
}

fn host_name(host: &str) -> Option<String> {
    // The path of a socket of this machine is nobody else's business.
    if host.contains('/') {
        return None;
    }
    let end = match host.find('[') {
        Some(0) => host.find(']').map_or(host.len(), |end| end + 1),
        Some(bracket) => bracket,
        None => host.len(),
    };
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "-._:[]".contains(*c);
    let name: String = host[..end].chars().filter(allowed).collect();
    (!name.is_empty()).then(|| clip(&name, HOST_OCTETS_MAX).to_owned())
}

/// RFC 1035 §2.3.4.
const HOST_OCTETS_MAX: usize = 255;

fn recipient_fields(
    out: &mut String,
    kind: Kind,
    report: &Report<'_>,
    recipient: &Mailbox,
    said: &str,
    utf8: bool,
) {
    let Report { leg, diagnosis, .. } = report;
    if let Some(original) = &leg.original {
        // As the sender gave it, no longer in xtext (RFC 3461 §4.2, RFC 3464 §2.3.1).
        let (kind, address) = (
            encode(&original.kind, false),
            encode(&original.address, utf8),
        );
        field(out, "Original-Recipient", &format!("{kind}; {address}"));
    }
    field(out, "Final-Recipient", &final_recipient(recipient, utf8));
    field(out, "Action", action(kind));
    field(out, "Status", &diagnosis.status.to_string());
    if let Some(host) = remote_host(report) {
        field(out, "Remote-MTA", &format!("dns; {host}"));
    }
    // Our own words are no SMTP reply, and say so by their type (RFC 3464 §2.1.2).
    let code_type = if diagnosis.reply.is_some() {
        "smtp"
    } else {
        "x-onward"
    };
    field(out, "Diagnostic-Code", &format!("{code_type}; {said}"));
    if let Some(time) = report.last_attempt {
        field(out, "Last-Attempt-Date", &time.rfc5322());
    }
    if let Some(time) = report.will_retry_until.filter(|_| kind == Kind::Delayed) {
        field(out, "Will-Retry-Until", &time.rfc5322());
    }
}

/// RFC 3464 §2.3.3.
const fn action(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "failed",
        Kind::Delayed => "delayed",
        Kind::Relayed => "relayed",
    }
}

/// The recipient that our client named.
fn final_recipient(recipient: &Mailbox, utf8: bool) -> String {
    let kind = if recipient.is_ascii() {
        "rfc822"
    } else {
        "utf-8"
    };
    format!("{kind}; {}", encode(&recipient.to_string(), utf8))
}

/// As it is, or with non-ASCII characters as `\x{E9}` (`utf-8-addr-xtext`, RFC 6533 §3).
fn encode(text: &str, utf8: bool) -> String {
    if utf8 || text.is_ascii() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(2 * text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\x{5C}"),
            c if c.is_ascii() => out.push(c),
            c => out.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
        }
    }
    out
}

fn ascii_unless(utf8: bool, text: String) -> String {
    if utf8 || text.is_ascii() {
        return text;
    }
    let mark = |c: char| if c.is_ascii() { c } else { '?' };
    text.chars().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use envelope::{Diagnosis, EnhancedStatus, Reply};
    use testkit::nouns;

    use super::*;

    #[track_caller]
    fn check_host(host: &str, expected: Option<&str>) {
        assert_eq!(host_name(host).as_deref(), expected, "{host}");
    }

    #[test]
    fn hosts() {
        check_host("mx.example[192.0.2.1]:25", Some("mx.example"));
        check_host("[192.0.2.1]:25", Some("[192.0.2.1]"));
        check_host("[IPv6:2001:db8::1]:25", Some("[IPv6:2001:db8::1]"));
        check_host("mx\r\nBcc: x.example", Some("mxBcc:x.example"));
        check_host("unix:/run/dovecot/lmtp", None);
        check_host("", None);
        check_host(&"a".repeat(999), Some(&"a".repeat(255)));
    }

    #[test]
    fn encoding() {
        assert_eq!(
            encode("jürgen\\@x.example", false),
            "j\\x{FC}rgen\\x{5C}@x.example"
        );
        assert_eq!(encode("jürgen@x.example", true), "jürgen@x.example");
        assert_eq!(encode("a\\b", false), "a\\b");
        assert_eq!(ascii_unless(false, "voilà".to_owned()), "voil?");
    }

    #[test]
    fn a_long_reply_is_clipped() {
        let mut diagnosis = Diagnosis::local(EnhancedStatus::permanent(1, 1), "");
        diagnosis.reply = Some(Reply {
            code: 550,
            status: None,
            text: "word\n".repeat(10_000),
        });
        let leg = nouns::leg("a@b.example");
        let report = Report {
            leg: &leg,
            diagnosis: &diagnosis,
            last_attempt: None,
            will_retry_until: None,
        };
        let text = diagnostic(&report, &Redactor::new([&leg]));
        assert!(text.starts_with("550 word word") && text.len() <= DIAGNOSTIC_OCTETS_MAX);
    }
}
