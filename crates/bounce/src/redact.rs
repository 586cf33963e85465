//! Removal of private targets from the words of others.
//!
//! A remote host's reply often repeats the address that we gave it, and behind a forward that is the address the
//! customer keeps to themselves. Each such address becomes the recipient that the sender knows. A reply may also
//! name the local part alone (`user jane unknown`), or hide the address in another notation
//! (`jane=mail.example`); so in a reply the local part is replaced too, wherever it stands as a word. That
//! replaces too much now and then, and never too little.
//!
//! The target's domain goes too, and with it the names below it: for many it is the customer's own. For the same
//! reason a notice about a forward has no `Remote-MTA` ([`is_private`]).

use envelope::Leg;

use crate::Report;

/// The targets of one notice. All are removed from every text: one reply may name several of them.
pub(crate) struct Redactor {
    addresses: Vec<Needle>,
    words: Vec<Needle>,
}

struct Needle {
    /// In lower case.
    text: String,
    replacement: String,
}

/// Whether the sender must not learn where this leg goes.
pub(crate) fn is_private(leg: &Leg) -> bool {
    leg.target != leg.recipient
}

impl Redactor {
    pub(crate) fn new(reports: &[Report<'_>]) -> Self {
        let mut redactor = Self {
            addresses: Vec::new(),
            words: Vec::new(),
        };
        for report in reports {
            redactor.add(report.leg);
        }
        // Of two needles that begin alike, the longer one must be seen first.
        for needles in [&mut redactor.addresses, &mut redactor.words] {
            needles.sort_by_key(|needle| std::cmp::Reverse(needle.text.len()));
            needles.dedup_by(|a, b| a.text == b.text);
        }
        redactor
    }

    /// Cleans what a remote host said, or what may repeat it.
    pub(crate) fn reply(&self, text: &str) -> String {
        replace(text, &self.addresses, &self.words)
    }

    /// Cleans a phrase of our own, which never names a bare local part.
    pub(crate) fn own_words(&self, text: &str) -> String {
        replace(text, &self.addresses, &[])
    }

    fn add(&mut self, leg: &Leg) {
        if !is_private(leg) {
            return;
        }
        let (target, recipient) = (&leg.target, &leg.recipient);
        let (local, host) = (target.local_part().as_str(), target.host());
        // Written out, and as a peer writes it that does not know about quotes.
        for text in [target.to_string(), format!("{local}@{host}")] {
            self.addresses
                .push(Needle::new(&text, recipient.to_string()));
        }
        if host != recipient.host() {
            let (host, shown) = (host.to_string(), recipient.host().to_string());
            self.addresses.push(Needle::new(&host, shown));
        }
        let shown = recipient.local_part();
        let base = local.split('+').next().unwrap_or(local);
        for text in [local, base] {
            if !text.is_empty() && !text.eq_ignore_ascii_case(shown.as_str()) {
                self.words.push(Needle::new(text, shown.to_string()));
            }
        }
    }
}

impl Needle {
    fn new(text: &str, replacement: String) -> Self {
        Self {
            text: text.to_lowercase(),
            replacement,
        }
    }

    /// How many octets of `text` this covers at its start, whatever their case.
    fn covers(&self, text: &str) -> Option<usize> {
        let mut wanted = self.text.chars().peekable();
        for (at, c) in text.char_indices() {
            if wanted.peek().is_none() {
                return Some(at);
            }
            if !c.to_lowercase().all(|lower| wanted.next() == Some(lower)) {
                return None;
            }
        }
        wanted.peek().is_none().then_some(text.len())
    }
}

/// One pass from left to right, so that no replacement is itself searched.
fn replace(text: &str, addresses: &[Needle], words: &[Needle]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut after_word = false;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let address = addresses.iter().find_map(|n| Some((n, n.covers(rest)?)));
        let found = address.or_else(|| {
            words.iter().filter(|_| !after_word).find_map(|needle| {
                let octets = needle.covers(rest)?;
                let ends = !rest[octets..].starts_with(char::is_alphanumeric);
                ends.then_some((needle, octets))
            })
        });
        if let Some((needle, octets)) = found {
            out.push_str(&needle.replacement);
            at += octets;
            after_word = false;
        } else {
            out.push(c);
            at += c.len_utf8();
            after_word = c.is_alphanumeric();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use envelope::{Diagnosis, EnhancedStatus, ReversePath};

    use super::*;

    #[track_caller]
    fn check(target: &str, reply: &str, expected: &str) {
        let leg = Leg {
            reverse_path: ReversePath::Null,
            target: target.parse().unwrap(),
            recipient: "Alice@example.org".parse().unwrap(),
            original: None,
            notify: None,
            trace: "".into(),
        };
        let diagnosis = Diagnosis::local(EnhancedStatus::permanent(1, 1), "");
        let report = Report {
            leg: &leg,
            diagnosis: &diagnosis,
            last_attempt: None,
            will_retry_until: None,
        };
        assert_eq!(Redactor::new(&[report]).reply(reply), expected, "{reply}");
    }

    #[test]
    fn addresses() {
        let target = "jane.doe@mail.example";
        let expected = "<Alice@example.org>: unknown";
        check(target, "<jane.doe@mail.example>: unknown", expected);
        check(target, "<Jane.DOE@MAIL.example>: unknown", expected);
        check(target, "jane.doe@mail.example", "Alice@example.org");
        check(
            target,
            "a jane.doe@mail.example, jane.doe@mail.example",
            "a Alice@example.org, Alice@example.org",
        );
        check(target, "bob@mail.example", "bob@example.org");
        check(target, "mx.mail.example is busy", "mx.example.org is busy");
        check(target, "mail.other.example", "mail.other.example");
        check(
            "Jürgen@m.example",
            "<jÜrgen@m.example>",
            "<Alice@example.org>",
        );
        check(
            "\"jane doe\"@m.example",
            "<jane doe@m.example> <\"jane doe\"@m.example>",
            "<Alice@example.org> <Alice@example.org>",
        );
    }

    #[test]
    fn local_parts() {
        let target = "jane@mail.example";
        check(target, "no user jane.", "no user Alice.");
        check(target, "JANE is full", "Alice is full");
        check(
            target,
            "bounce-jane=mail.example",
            "bounce-Alice=example.org",
        );
        check(target, "janet is not jane", "janet is not Alice");
        check(target, "Mjane", "Mjane");
        check("jane+x@m.example", "jane+x, jane", "Alice, Alice");
        // The same local part on both sides needs no change, and keeps its case.
        check("alice@m.example", "user alice", "user alice");
    }

    #[test]
    fn nothing_is_removed_without_a_forward() {
        check(
            "Alice@example.org",
            "<alice@example.org> alice",
            "<alice@example.org> alice",
        );
    }
}
