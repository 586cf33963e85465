//! The mail that tells an operator what was frozen: one part of plain text, and its words.

use envelope::{Domain, Mailbox, MessageId, SenderTls, Timestamp};

use crate::Composed;
use crate::compose::words_part;
use crate::field::{clip, field, one_line, paragraph};

/// A mail to the operator.
#[derive(Debug, Clone, Copy)]
pub struct Alert<'a> {
    /// The mail's id.
    pub id: MessageId,
    /// Our name.
    pub hostname: &'a Domain,
    /// Who is told.
    pub to: &'a Mailbox,
    /// When.
    pub now: Timestamp,
}

/// One freeze.
#[derive(Debug, Clone, Copy)]
pub struct Frozen<'a> {
    /// What is frozen, as it is lifted: `user:ann`, `client:2001:db8::/64`.
    pub key: &'a str,
    /// The limit that was broken, and what it says: `cracked: 100 failures in 1h`.
    pub limit: &'a str,
    /// Since when.
    pub since: Timestamp,
}

/// What the doctor has found to be otherwise than before.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// Whether it is bad now; if not, it was.
    pub is_bad: bool,
    /// What was looked at: `spf fwd.example.net`.
    pub what: &'a str,
    /// How it is, and what it costs.
    pub text: &'a str,
    /// What would make it right, to be pasted.
    pub publish: Option<&'a str>,
}

/// Makes a mail about freezes, the oldest first; nothing without one.
pub fn freezes(alert: &Alert<'_>, frozen: &[Frozen<'_>]) -> Option<Composed> {
    let first = frozen.first()?;
    let (subject, words) = (subject(alert, frozen, first), words(alert, frozen, first));
    Some(letter(alert, &subject, words))
}

/// Makes a mail about changes.
pub fn changes(alert: &Alert<'_>, changes: &[Change<'_>]) -> Composed {
    let host = alert.hostname;
    let bad = changes.iter().filter(|change| change.is_bad).count();
    let subject = match bad {
        0 => format!("{host} is well again"),
        _ => format!("the doctor finds {bad} new faults on {host}"),
    };
    let mut out = String::new();
    paragraph(
        &mut out,
        "",
        &format!("This is the mail system at {host}. What its daily look has found changed:"),
    );
    for change in changes.iter().take(LISTED_MAX) {
        let how = if change.is_bad { "BAD" } else { "good again" };
        out.push_str("\r\n");
        paragraph(&mut out, "  ", &format!("{how}: {}", change.what));
        paragraph(&mut out, "    ", change.text);
        for line in change.publish.unwrap_or_default().lines() {
            // Not wrapped: it is there to be pasted.
            let line = one_line(line);
            out.push_str(&format!("\r\n{}\r\n", clip(&line, PASTED_OCTETS_MAX)));
        }
    }
    out.push_str("\r\n");
    paragraph(
        &mut out,
        "",
        "\"onward doctor\" looks again, and shows all that it finds.",
    );
    letter(alert, &subject, out)
}

fn letter(alert: &Alert<'_>, subject: &str, words: String) -> Composed {
    let host = alert.hostname;
    let part = words_part(words);
    let mut out = String::new();
    field(&mut out, "Date", &alert.now.rfc5322());
    field(&mut out, "From", &format!("Onward <postmaster@{host}>"));
    out.push_str(&format!("To: {}\r\n", alert.to));
    field(&mut out, "Subject", subject);
    field(&mut out, "Message-ID", &format!("<{}@{host}>", alert.id));
    // RFC 3834 §5.
    field(&mut out, "Auto-Submitted", "auto-generated");
    field(&mut out, "MIME-Version", "1.0");
    field(&mut out, "Content-Type", part.content_type);
    field(&mut out, "Content-Transfer-Encoding", part.encoding);
    out.push_str("\r\n");
    let mut bytes = out.into_bytes();
    bytes.extend_from_slice(&part.bytes);
    Composed::new(alert.to, bytes, true, SenderTls::AsUsual)
}

/// A name that would have to be encoded, or fills more than a line, stands in the text alone.
fn subject(alert: &Alert<'_>, frozen: &[Frozen<'_>], first: &Frozen<'_>) -> String {
    let what = match frozen {
        [_] if first.key.is_ascii() && first.key.len() <= SUBJECT_KEY_OCTETS => first.key,
        [_] => "a key",
        several => return format!("{} keys are frozen on {}", several.len(), alert.hostname),
    };
    format!("{what} is frozen on {}", alert.hostname)
}

fn words(alert: &Alert<'_>, frozen: &[Frozen<'_>], first: &Frozen<'_>) -> String {
    let mut out = String::new();
    let host = alert.hostname;
    let opening = format!(
        "This is the mail system at {host}. Somebody has broken a limit, and is frozen until you lift it:"
    );
    paragraph(&mut out, "", &opening);
    for Frozen { key, limit, since } in frozen.iter().take(LISTED_MAX) {
        out.push_str(&format!("\r\n  {key}\r\n"));
        paragraph(&mut out, "    ", &format!("limit {limit}"));
        paragraph(&mut out, "    ", &format!("since {since}"));
    }
    let more = frozen.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        let words = format!("and {more} more: \"onward freeze list\" shows all.");
        out.push_str("\r\n");
        paragraph(&mut out, "  ", &words);
    }
    out.push_str("\r\n");
    paragraph(&mut out, "", WHAT_IT_DOES);
    out.push_str("\r\nTo lift it:\r\n\r\n");
    out.push_str(&format!(
        "  onward freeze lift {}\r\n\r\n",
        quoted(first.key)
    ));
    paragraph(&mut out, "", HOW_TO_LIFT);
    out
}

/// For a shell: a client chooses the name that it tries to log in with.
fn quoted(key: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || ":/.@-_+=".contains(c);
    match key.chars().all(is_plain) {
        true => key.to_owned(),
        false => format!("'{}'", key.replace('\'', r"'\''")),
    }
}

/// Freezes that one mail names: some 200 KB.
const LISTED_MAX: usize = 1000;
const SUBJECT_KEY_OCTETS: usize = 64;
/// RFC 5322 §2.1.1: a line has 998.
const PASTED_OCTETS_MAX: usize = 990;
const WHAT_IT_DOES: &str = "Mail is answered 450, logins of a frozen user 454, connections of a frozen client 421: all mean \
    \"try again later\", so nothing is lost if this is a mistake. What a frozen user still had in the queue is on hold: see \
    \"onward queue list --state held\".";
const HOW_TO_LIFT: &str = "What is on hold stays there: add --release to let it go, or remove it with \"onward queue \
    remove\". There is no other mail about this freeze.";

#[cfg(test)]
mod tests {
    use super::*;

    fn told(keys: &[&str]) -> String {
        let frozen = keys.iter().map(|key| Frozen {
            key,
            limit: "cracked: 100 failures in 1h",
            since: Timestamp::from_unix_millis(1_790_000_000_000),
        });
        let alert = Alert {
            id: MessageId::from_bits(7),
            hostname: &"mx.example.net".parse().unwrap(),
            to: &"ops@example.net".parse().unwrap(),
            now: Timestamp::from_unix_millis(1_790_000_001_000),
        };
        let mail = freezes(&alert, &frozen.collect::<Vec<_>>());
        let bytes = mail.map(|mail| mail.bytes).unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }

    #[track_caller]
    fn check(keys: &[&str], wanted: &[&str]) {
        let mail = told(keys);
        for text in wanted {
            assert!(mail.contains(text), "{text}: {mail}");
        }
        let mut lines = mail.split("\r\n");
        assert!(lines.all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
    }

    #[test]
    fn says_who_and_why_and_since_when_and_how_to_lift_it() {
        let v6 = "client:2001:db8::/64";
        check(
            &[v6],
            &[
                "Subject: client:2001:db8::/64 is frozen on mx.example.net\r\n",
                "Auto-Submitted: auto-generated\r\n",
                "\r\n  client:2001:db8::/64\r\n    limit cracked: 100 failures in 1h\r\n    since 2026-",
                "\r\n  onward freeze lift client:2001:db8::/64\r\n",
            ],
        );
        check(&["user:a", v6], &["Subject: 2 keys are frozen on mx."]);
        check(
            &["user:jörg"],
            &["Subject: a key is frozen", "user:j=C3=B6rg"],
        );
        check(&["user:a; rm 'x"], &[r"lift 'user:a; rm '\''x'"]);
        assert_eq!(told(&[]), "");
    }

    #[test]
    fn names_only_so_many() {
        let mail = told(&["user:ann"; 100_000]);
        assert!(mail.contains("and 99000 more") && mail.len() < 200_000);
    }
}
