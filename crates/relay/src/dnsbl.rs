//! DNS blocklists as the operator defines them (RFC 5782): the question, what an answer means, and the reply to whoever is listed.
//!
//! It does *not* ask DNS or decide who is asked about: see `inbound/answers/dnsbl.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use envelope::{Domain, Reply};
use policy::Name;

/// Blocklists by the names that measures call them by.
pub type Dnsbls = BTreeMap<Name, Dnsbl>;

/// One blocklist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dnsbl {
    zone: Domain,
    /// What it lists.
    pub kind: Kind,
    answers: Vec<RangeInclusive<Ipv4Addr>>,
    reply: Reply,
    first_reply: Option<Reply>,
}

envelope::named! {
    /// What a blocklist lists.
    pub enum Kind {
        /// Clients, by their addresses.
        Address = "address",
        /// Domains: that of the sender, the name in EHLO, and the client's name.
        Domain = "domain",
    }
}

/// Who may be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A client.
    Address(IpAddr),
    /// A name.
    Domain(Domain),
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing that counts.
    NotListed,
    /// Listed.
    Listed,
    /// The list does not answer us: this address says so, or cannot come from a list at all.
    Error(Ipv4Addr),
}

/// Why a definition cannot be used: which key, and what is wrong. The text has a hint.
pub type Wrong = (&'static str, String);

impl Dnsbl {
    /// A blocklist from what was typed. An empty `first_reply` is as `reply`.
    pub fn new(
        zone: &str,
        kind: Kind,
        answers: &[String],
        reply: &str,
        first_reply: &str,
    ) -> Result<Self, Wrong> {
        let zone = zone.parse().map_err(|e| {
            (
                "zone",
                format!("`{zone}`: {e}\n\nhint: zone = \"zen.spamhaus.org\""),
            )
        })?;
        let answers: Result<Vec<_>, _> = answers.iter().map(|text| range(text)).collect();
        let answers = answers?;
        if answers.is_empty() {
            let text =
                "without any, nobody is ever listed\n\nhint: leave it out to get the default";
            return Err(("answers", text.to_owned()));
        }
        let first = (!first_reply.is_empty()).then(|| template("first_reply", first_reply));
        Ok(Self {
            zone,
            kind,
            answers,
            reply: template("reply", reply)?,
            first_reply: first.transpose()?,
        })
    }

    /// The name to ask for (RFC 5782 §2.1, §2.4, §3).
    pub fn question(&self, subject: &Subject) -> String {
        let zone = &self.zone;
        match subject {
            Subject::Address(address) => format!("{}.{zone}", reversed(*address)),
            Subject::Domain(domain) => format!("{domain}.{zone}"),
        }
    }

    /// One address that no list gives spoils the whole answer: somebody else answers for the zone then.
    pub fn meaning(&self, answer: &[Ipv4Addr]) -> Meaning {
        if let Some(foreign) = answer.iter().find(|address| !is_of_a_list(**address)) {
            return Meaning::Error(*foreign);
        }
        let counts = |address| self.answers.iter().any(|range| range.contains(address));
        match answer.iter().any(counts) {
            true => Meaning::Listed,
            false => Meaning::NotListed,
        }
    }

    /// Whether a client that it has not made us refuse lately gets a reply of its own.
    pub fn has_first_reply(&self) -> bool {
        self.first_reply.is_some()
    }

    /// The reply to a listed one. `text` is what the list says (TXT), any octets.
    pub fn reply(&self, first: bool, name: &str, subject: &Subject, text: Option<&[u8]>) -> Reply {
        let template = self.first_reply.as_ref().filter(|_| first);
        let template = template.unwrap_or(&self.reply);
        let reason = text.map(printable).filter(|text| !text.is_empty());
        // The words of the list go in last: what they hold is no placeholder.
        let text = template
            .text
            .replace("%{list}", name)
            .replace("%{address}", &subject.to_string())
            .replace("%{text}", reason.as_deref().unwrap_or(NO_REASON));
        Reply {
            text,
            ..template.clone()
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Domain(domain) => domain.fmt(f),
        }
    }
}

/// An address as a name in DNS begins with it: `1.2.0.192`, or each digit of IPv6 (RFC 1035 §3.5, RFC 3596 §2.5).
pub(crate) fn reversed(address: IpAddr) -> String {
    let parts: Vec<String> = match address {
        IpAddr::V4(v4) => v4.octets().iter().map(u8::to_string).collect(),
        IpAddr::V6(v6) => {
            let digits = format!("{:032x}", v6.to_bits());
            digits.chars().map(String::from).collect()
        }
    };
    let reversed: Vec<_> = parts.into_iter().rev().collect();
    reversed.join(".")
}

/// `127.0.0.2`, or `127.0.0.2-127.0.0.11`.
fn range(text: &str) -> Result<RangeInclusive<Ipv4Addr>, Wrong> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.trim().parse().ok().zip(last.trim().parse().ok());
    range
        .filter(|(first, last)| first <= last && *last < ERRORS && is_of_a_list(*first))
        .map(|(first, last)| first..=last)
        .ok_or_else(|| {
            let text = format!("`{text}` is no range of a list's answers\n\nhint: write \"127.0.0.2\" or \"127.0.0.2-127.0.0.11\"; all are in 127.0.0.0/8, and 127.255.255.x is how lists report errors");
            ("answers", text)
        })
}

/// Listings are in 127.0.0.0/8 (RFC 5782 §2.3); the last /24 of it says that the list refuses to answer us.
fn is_of_a_list(address: Ipv4Addr) -> bool {
    address.is_loopback() && address < ERRORS
}

fn template(key: &'static str, text: &str) -> Result<Reply, Wrong> {
    let wrong = |what: String| (key, format!("`{text}`: {what}\n\nhint: {TEMPLATE_HINT}"));
    let reply = Reply::parse_refusal(text, POLICY).map_err(|e| wrong(e.to_string()))?;
    if reply.text.is_empty() || !reply.text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Err(wrong("its text must be one line of ASCII".to_owned()));
    }
    let known = ["list}", "address}", "text}"];
    let mut placeholders = reply.text.split("%{").skip(1);
    match placeholders.find(|rest| !known.iter().any(|name| rest.starts_with(name))) {
        Some(rest) => {
            let name = rest.split('}').next().unwrap_or_default();
            Err(wrong(format!("unknown placeholder `%{{{name}}}`")))
        }
        None => Ok(reply),
    }
}

/// Somebody else's words, made fit for a reply.
fn printable(text: &[u8]) -> String {
    let shown = text.iter().take(TEXT_OCTETS_MAX);
    let fit = |b: &u8| {
        if matches!(b, b' '..=b'~') {
            char::from(*b)
        } else {
            ' '
        }
    };
    let words: String = shown.map(fit).collect();
    words.trim().to_owned()
}

/// 127.255.255.0/24 and what is behind it.
const ERRORS: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 0);
/// RFC 3463 §3.8: delivery not authorized.
const POLICY: (u16, u16) = (7, 1);
const NO_REASON: &str = "no reason given";
/// A reason and the address of a page fit; a list must not fill the session with words.
const TEXT_OCTETS_MAX: usize = 255;
const TEMPLATE_HINT: &str = "a code of 4xx or 5xx, perhaps a status, and a text with %{list} (its name here), %{address} (who is listed) and %{text} (what the list says): \"554 5.7.1 %{address} is on the blocklist %{list}: %{text}\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: Kind, answers: &[&str], reply: &str, first: &str) -> Result<Dnsbl, Wrong> {
        let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
        Dnsbl::new("bl.example", kind, &answers, reply, first)
    }

    fn zen() -> Dnsbl {
        let answers = ["127.0.0.2-127.0.0.11", "127.0.1.1"];
        list(
            Kind::Address,
            &answers,
            "554 5.7.1 %{address} %{list} %{text}",
            "451 later",
        )
        .unwrap()
    }

    #[track_caller]
    fn check_question(subject: Subject, expected: &str) {
        assert_eq!(zen().question(&subject), expected);
    }

    #[test]
    fn questions() {
        let address = |text: &str| Subject::Address(text.parse().unwrap());
        check_question(address("192.0.2.99"), "99.2.0.192.bl.example");
        // RFC 5782 §2.4.
        check_question(
            address("2001:db8:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example",
        );
        let domain = Subject::Domain("Spam.Example".parse().unwrap());
        check_question(domain, "spam.example.bl.example");
    }

    #[track_caller]
    fn check_meaning(answer: &[&str], expected: Meaning) {
        let addresses: Vec<Ipv4Addr> = answer.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(zen().meaning(&addresses), expected, "{answer:?}");
    }

    #[test]
    fn meanings() {
        let error = |text: &str| Meaning::Error(text.parse().unwrap());
        check_meaning(&[], Meaning::NotListed);
        check_meaning(&["127.0.0.2"], Meaning::Listed);
        check_meaning(&["127.0.0.11"], Meaning::Listed);
        check_meaning(&["127.0.0.12"], Meaning::NotListed);
        check_meaning(&["127.0.0.1"], Meaning::NotListed);
        check_meaning(&["127.0.1.1"], Meaning::Listed);
        check_meaning(&["127.0.0.99", "127.0.0.3"], Meaning::Listed);
        check_meaning(&["127.255.255.254"], error("127.255.255.254"));
        check_meaning(&["127.0.0.2", "127.255.255.252"], error("127.255.255.252"));
        check_meaning(&["192.0.2.1"], error("192.0.2.1"));
        check_meaning(&["128.0.0.2", "127.0.0.2"], error("128.0.0.2"));
    }

    #[track_caller]
    fn check_wrong(answers: &[&str], reply: &str, expected: &str) {
        let (key, text) = list(Kind::Domain, answers, reply, "").unwrap_err();
        let said = format!("{key}: {text}");
        assert!(said.contains(expected) && said.contains("hint: "), "{said}");
    }

    #[test]
    fn definitions() {
        let one = ["127.0.0.2"];
        check_wrong(&[], "554 no", "answers: without any");
        for bad in [
            "127.0.0.3-127.0.0.2",
            "192.0.2.1",
            "127.0.0.2-127.255.255.254",
            "127.0.0.2-",
            "127.0.0",
            "::1",
        ] {
            check_wrong(&[bad], "554 no", "answers: `");
        }
        check_wrong(&one, "no", "reply: `no`: ");
        check_wrong(&one, "250 no", "code 250 does not refuse");
        check_wrong(&one, "451 5.7.1 no", "contradicts");
        check_wrong(&one, "554 5.7.1", "must be one line");
        check_wrong(&one, "554 no\r\n250 yes", "must be one line");
        check_wrong(&one, "554 %{ip} is listed", "unknown placeholder `%{ip}`");
        let wrong = list(Kind::Domain, &one, "554 no", "later").unwrap_err();
        assert_eq!(wrong.0, "first_reply");
        assert!(Dnsbl::new("", Kind::Domain, &[], "554 no", "").is_err());
    }

    #[track_caller]
    fn check_reply(first: bool, text: Option<&[u8]>, expected: &str) {
        let subject = Subject::Address("2001:db8::7".parse().unwrap());
        let reply = zen().reply(first, "zen", &subject, text);
        assert_eq!(reply.to_string(), expected);
    }

    #[test]
    fn replies() {
        check_reply(
            false,
            Some(b"see https://bl.example/7"),
            "554 5.7.1 2001:db8::7 zen see https://bl.example/7",
        );
        check_reply(false, None, "554 5.7.1 2001:db8::7 zen no reason given");
        check_reply(
            false,
            Some(b" \r\n"),
            "554 5.7.1 2001:db8::7 zen no reason given",
        );
        check_reply(
            false,
            Some(b"a\r\n250 b\x1b\xff%{list}"),
            "554 5.7.1 2001:db8::7 zen a  250 b  %{list}",
        );
        check_reply(true, None, "451 4.7.1 later");
        let long = zen().reply(
            false,
            "zen",
            &Subject::Domain("a.example".parse().unwrap()),
            Some(&[b'x'; 60_000]),
        );
        assert!(long.text.len() < 300);
    }
}
