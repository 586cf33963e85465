//! Removal of private targets from the words of others.
//!
//! A remote host's reply often repeats the address that we gave it, and behind a forward that is the address the
//! customer keeps to themselves. Each such address becomes the recipient that the sender knows. A reply may also
//! name the local part alone (`user jane unknown`), or hide the address in another notation
//! (`jane=mail.example`); so in a reply the local part is replaced too, wherever it stands as a word. That
//! replaces too much now and then, and never too little.
//!
//! Any other address goes from such a reply, too: it may say where somebody has moved.
//!
//! The target's domain goes too, and with it the names below it: for many it is the customer's own. For the same
//! reason a notice about a forward has no `Remote-MTA` ([`is_private`]), and the host that was talked to loses its name and
//! address where its reply tells them.

use envelope::{Diagnosis, Leg, Mailbox, Reply};

use crate::Report;
use crate::field::{clip, one_line};

/// The targets of some legs of one message, to be removed from every text: one reply may name several of them.
#[derive(Debug)]
pub struct Redactor {
    addresses: Vec<Needle>,
    words: Vec<Needle>,
}

#[derive(Debug)]
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
    /// For the private targets among those of the legs.
    pub fn new<'a>(legs: impl IntoIterator<Item = &'a Leg>) -> Self {
        let mut redactor = Self {
            addresses: Vec::new(),
            words: Vec::new(),
        };
        for leg in legs {
            redactor.add(leg);
        }
        for needles in [&mut redactor.addresses, &mut redactor.words] {
            needles.sort_by(|a, b| a.text.cmp(&b.text));
            needles.dedup_by(|a, b| a.text == b.text);
        }
        redactor
    }

    /// What may be told about one leg of a transaction: without the targets of the others, which a reply to the whole
    /// transaction may name. A reply is cut to what is ever shown of it.
    #[must_use]
    pub fn diagnosis(&self, diagnosis: &Diagnosis) -> Diagnosis {
        let reply = |reply: &Reply| Reply {
            text: self.reply(searchable(&reply.text, REPLY_OCTETS_KEPT)),
            ..reply.clone()
        };
        Diagnosis {
            // Beside no reply our text may repeat what the host said.
            text: match diagnosis.reply {
                Some(_) => self.own_words(&diagnosis.text),
                None => self.reply(searchable(&diagnosis.text, REPLY_OCTETS_KEPT)),
            },
            reply: diagnosis.reply.as_ref().map(reply),
            ..diagnosis.clone()
        }
    }

    /// What a sender who is still connected may be told of why a leg failed: the words of the host without its code, or ours.
    pub fn verdict(&self, leg: &Leg, diagnosis: &Diagnosis) -> String {
        let report = Report {
            leg,
            diagnosis,
            last_attempt: None,
            will_retry_until: None,
        };
        let words = diagnosis.reply.as_ref().map(|reply| &reply.text);
        let words = one_line(words.unwrap_or(&diagnosis.text));
        let said = self.said(searchable(&words, REPLY_OCTETS_KEPT), &report);
        clip(&said, VERDICT_OCTETS_MAX).to_owned()
    }

    /// Cleans what a remote host said about one leg, or what may repeat it. Where the sender has named the leg's target
    /// himself it stays, though it may be another leg's private one, too.
    pub(crate) fn said(&self, text: &str, report: &Report<'_>) -> String {
        let hosts = host_needles(report);
        let known = (!is_private(report.leg)).then_some(&report.leg.target);
        let cleaned = replace(text, known, &[&self.addresses, &hosts], &self.words);
        match known {
            Some(_) => cleaned,
            None => hide_others(&cleaned, &report.leg.recipient.host().to_string()),
        }
    }

    /// Cleans a phrase of our own, which never names a bare local part.
    pub(crate) fn own_words(&self, text: &str) -> String {
        replace(text, None, &[&self.addresses], &[])
    }

    fn reply(&self, text: &str) -> String {
        replace(text, None, &[&self.addresses], &self.words)
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

    /// Whether it is this address, its host or its local part.
    fn is_of(&self, address: &Mailbox) -> bool {
        let is = |text: &str| text.to_lowercase() == self.text;
        is(address.local_part().as_str())
            || is(&address.host().to_string())
            || is(&address.to_string())
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

/// What must not be told of the host that was talked to about a private leg: its name, the domain that it is in (which
/// mostly tells the provider), and its address.
fn host_needles(report: &Report<'_>) -> Vec<Needle> {
    let Some(host) = report
        .diagnosis
        .host
        .as_deref()
        .filter(|_| is_private(report.leg))
    else {
        return Vec::new();
    };
    let (name, rest) = host.split_once('[').unwrap_or((host, ""));
    let address = rest.split(']').next().unwrap_or_default();
    let parent = name.split_once('.').map_or("", |(_, parent)| parent);
    let parent = if parent.contains('.') { parent } else { "" };
    let shown = &report.leg.recipient.host().to_string();
    let known = |text: &&str| !text.is_empty() && !shown.eq_ignore_ascii_case(text);
    let texts = [name, parent, address].into_iter().filter(known);
    texts.map(|text| Needle::new(text, shown.clone())).collect()
}

/// A text in bounds, and not cut within a word: half an address would not be found, but would be read.
pub(crate) fn searchable(text: &str, octets_max: usize) -> &str {
    match clip(text, octets_max) {
        whole if whole.len() == text.len() => whole,
        cut => cut.rsplit_once(' ').map_or("", |(words, _)| words),
    }
}

/// Hides every address in what a private target's host said that is not of the domain `shown`: whoever has moved is named by where
/// he lives now (`551 try real.person@elsewhere.example`), and that is no less private.
fn hide_others(text: &str, shown: &str) -> String {
    let shown = shown.to_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let local = match before
            .strip_suffix('"')
            .and_then(|quoted| quoted.rfind('"'))
        {
            Some(quote) => quote,
            None => before
                .rfind(|c: char| !is_of_local_part(c))
                .map_or(0, |end| {
                    end + before[end..].chars().next().map_or(1, char::len_utf8)
                }),
        };
        let host_end = after.find(|c: char| !is_of_host(c)).unwrap_or(after.len());
        let host = after[..host_end].trim_end_matches(['.', '-', ':']);
        let lower = host.to_lowercase();
        let above = lower.strip_suffix(shown.as_str());
        let ours = above.is_some_and(|above| above.is_empty() || above.ends_with('.'));
        let end = at + 1 + host.len();
        match local == at || host.is_empty() || ours {
            true => out.push_str(&rest[..end]),
            false => {
                out.push_str(&rest[..local]);
                out.push_str(HIDDEN);
            }
        }
        rest = &rest[end..];
    }
    out + rest
}

/// RFC 5322 §3.2.3, and what is not ASCII (RFC 6531 §3.3).
fn is_of_local_part(c: char) -> bool {
    c.is_alphanumeric() || ".!#$%&'*+-/=?^_`{|}~".contains(c)
}

/// A domain or an address literal.
fn is_of_host(c: char) -> bool {
    c.is_alphanumeric() || ".-:[]".contains(c)
}

/// One pass from left to right, so that no replacement is itself searched. Of two needles that begin alike, the longer
/// one counts. What is `known` stays, and its parts.
fn replace(
    text: &str,
    known: Option<&Mailbox>,
    addresses: &[&[Needle]],
    words: &[Needle],
) -> String {
    let is_secret = |needle: &&Needle| !known.is_some_and(|known| needle.is_of(known));
    let addresses = addresses.iter().copied().flatten().filter(is_secret);
    let addresses: Vec<_> = addresses.collect();
    let words: Vec<_> = words.iter().filter(is_secret).collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut after_word = false;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let address = addresses.iter().filter_map(|n| Some((*n, n.covers(rest)?)));
        let word = words.iter().filter(|_| !after_word).filter_map(|needle| {
            let octets = needle.covers(rest)?;
            let ends = !rest[octets..].starts_with(char::is_alphanumeric);
            ends.then_some((*needle, octets))
        });
        let longest = |found: &(&Needle, usize)| found.1;
        let found = address.max_by_key(longest);
        let found = found.or_else(|| word.max_by_key(longest));
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

/// What stands in the place of a private address that stands for no recipient.
const HIDDEN: &str = "[hidden]";
/// Octets of a reply that [`Redactor::diagnosis`] keeps: as much as a notice shows, and more than the queue keeps.
const REPLY_OCTETS_KEPT: usize = 2048;
/// It goes on one line of a reply, with words of our own (RFC 5321 §4.5.3.1.5: 512 octets).
const VERDICT_OCTETS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use envelope::EnhancedStatus;
    use testkit::nouns;

    use super::*;

    fn leg(target: &str) -> Leg {
        nouns::forward("Alice@example.org", target)
    }

    #[track_caller]
    fn check(target: &str, reply: &str, expected: &str) {
        check_from(None, target, reply, expected);
    }

    /// A reply of this host.
    #[track_caller]
    fn check_from(host: Option<&str>, target: &str, reply: &str, expected: &str) {
        let leg = leg(target);
        let mut diagnosis = Diagnosis::local(EnhancedStatus::permanent(1, 1), "");
        diagnosis.host = host.map(str::to_owned);
        let report = Report {
            leg: &leg,
            diagnosis: &diagnosis,
            last_attempt: None,
            will_retry_until: None,
        };
        assert_eq!(
            Redactor::new([&leg]).said(reply, &report),
            expected,
            "{reply}"
        );
    }

    #[test]
    fn the_host_that_was_talked_to() {
        let target = "jane@private.example";
        let host = Some("mx1.provider.example[192.0.2.7]:25");
        let check = |reply, expected| check_from(host, target, reply, expected);
        check("MX1.provider.example is busy", "example.org is busy");
        check(
            "see http://help.provider.example/",
            "see http://help.example.org/",
        );
        check("192.0.2.7 says no", "example.org says no");
        check_from(
            Some("mx.private.example.net[2001:db8::1]:25"),
            target,
            "mx.private.example.net [2001:db8::1]",
            "example.org [example.org]",
        );
        check_from(
            Some("mail.example[192.0.2.7]:25"),
            target,
            "an example",
            "an example",
        );
        check_from(
            Some("mx.example.org[192.0.2.7]:25"),
            "Alice@example.org",
            "mx.example.org",
            "mx.example.org",
        );
    }

    #[test]
    fn targets_of_a_whole_transaction() {
        let legs = ["jane@mail.example", "joe@mail.example"].map(leg);
        let reply = "<jane@mail.example> and joe are unknown";
        let reply = Reply::new(550, EnhancedStatus::permanent(1, 1), reply);
        let diagnosis = Diagnosis {
            reply: Some(reply),
            ..Diagnosis::local(EnhancedStatus::permanent(1, 1), "")
        };
        let cleaned = Redactor::new(&legs).diagnosis(&diagnosis);
        let text = cleaned.reply.unwrap().text;
        assert_eq!(text, "<Alice@example.org> and Alice are unknown");
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
    fn where_somebody_lives_now() {
        let target = "jane@mail.example";
        check(
            target,
            "551 jane moved, try <real.person@elsewhere.example>.",
            "551 Alice moved, try <[hidden]>.",
        );
        check(
            target,
            "try real.person@elsewhere.example.",
            "try [hidden].",
        );
        check(
            target,
            "\"real person\"@x.example or r@[192.0.2.1]",
            "[hidden] or [hidden]",
        );
        check(target, "rédo@bücher.example", "[hidden]");
        check(
            target,
            "jane@mail.example, postmaster@mail.example",
            "Alice@example.org, postmaster@example.org",
        );
        check(target, "@ x@ @x a@b@c", "@ x@ @x [hidden]@c");
        // The sender knows whom he wrote to, and may be told where they live now.
        check(
            "Alice@example.org",
            "try al@new.example",
            "try al@new.example",
        );
    }

    /// The sender wrote to Jane himself, and to Alice, whose mail goes to Jane: he must not learn the latter.
    #[test]
    fn a_target_that_the_sender_named_stays_where_it_is_his() {
        let (private, mut named) = (leg("jane@mail.example"), leg("jane@mail.example"));
        named.recipient = named.target.clone();
        let redactor = Redactor::new([&private, &named]);
        let diagnosis = Diagnosis::local(EnhancedStatus::permanent(1, 1), "");
        let said = |leg| {
            let report = Report {
                leg,
                diagnosis: &diagnosis,
                last_attempt: None,
                will_retry_until: None,
            };
            redactor.said("no user jane@mail.example", &report)
        };
        assert_eq!(said(&named), "no user jane@mail.example");
        assert_eq!(said(&private), "no user Alice@example.org");
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
