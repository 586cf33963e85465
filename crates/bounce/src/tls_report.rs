//! The mail that carries a report of TLS with a domain's hosts (RFC 8460 §5.3).

use data_encoding::BASE64;
use envelope::{Domain, Mailbox, SenderTls};

use crate::Composed;
use crate::alert::Alert;
use crate::compose::words_part;
use crate::field::{field, paragraph};

/// A report that is ready to go.
#[derive(Debug, Clone, Copy)]
pub struct TlsReport<'a> {
    /// Who reports.
    pub from: &'a Mailbox,
    /// The domain that it is about.
    pub domain: &'a Domain,
    /// Its `report-id`.
    pub id: &'a str,
    /// The name of its file.
    pub file: &'a str,
    /// Its JSON, in gzip.
    pub gzip: &'a [u8],
}

/// Makes the mail. It asks that no policy of TLS keeps it back: it may be about the very fault that does (RFC 8460 §5.3).
pub fn tls_report(alert: &Alert<'_>, report: &TlsReport<'_>) -> Composed {
    let Alert {
        id, hostname, to, ..
    } = alert;
    let TlsReport { domain, file, .. } = report;
    let mut out = String::new();
    field(&mut out, "Date", &alert.now.rfc5322());
    out.push_str(&format!("From: {}\r\nTo: {to}\r\n", report.from));
    let subject = format!(
        "Report Domain: {domain} Submitter: {hostname} Report-ID: <{}>",
        report.id
    );
    field(&mut out, "Subject", &subject);
    field(&mut out, "Message-ID", &format!("<{id}@{hostname}>"));
    field(&mut out, "TLS-Report-Domain", domain.as_str());
    field(&mut out, "TLS-Report-Submitter", hostname.as_str());
    field(&mut out, "TLS-Required", "No");
    field(&mut out, "Auto-Submitted", "auto-generated");
    field(&mut out, "MIME-Version", "1.0");
    // It is in neither part: base64 has no `_`, and the words are ours.
    let boundary = format!("=_{id}");
    let kind = format!("multipart/report; report-type=\"tlsrpt\"; boundary=\"{boundary}\"");
    field(&mut out, "Content-Type", &kind);
    let mut words = String::new();
    let text = format!(
        "This is the daily report of {hostname} on TLS with the hosts that take mail for {domain}."
    );
    paragraph(&mut words, "", &text);
    let words = words_part(words);
    out.push_str(&format!("\r\n--{boundary}\r\n"));
    field(&mut out, "Content-Type", words.content_type);
    field(&mut out, "Content-Transfer-Encoding", words.encoding);
    out.push_str(&format!(
        "\r\n{}\r\n--{boundary}\r\n",
        String::from_utf8_lossy(&words.bytes)
    ));
    field(&mut out, "Content-Type", "application/tlsrpt+gzip");
    field(&mut out, "Content-Transfer-Encoding", "base64");
    field(
        &mut out,
        "Content-Disposition",
        &format!("attachment; filename=\"{file}\""),
    );
    for line in report.gzip.chunks(LINE_OCTETS) {
        out.push_str("\r\n");
        out.push_str(&BASE64.encode(line));
    }
    out.push_str(&format!("\r\n--{boundary}--\r\n"));
    Composed::new(to, out.into_bytes(), true, SenderTls::NotRequired)
}

/// 76 characters in base64 (RFC 2045 §6.8).
const LINE_OCTETS: usize = 57;
