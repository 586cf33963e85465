//! Lists that operators keep in files: domains, addresses and networks, one a line.
//!
//! ```text
//! example.org          the domain alone
//! *.example.org        the domains below it
//! alice@example.org    one address, in upper or lower case
//! 192.0.2.0/24         a network, or one address: IPv4 and IPv6 alike
//! ```
//!
//! A `#` at the beginning of a line or after a blank begins a comment. A list costs the octets of its names, and 18 for each
//! network: a million domains are some 20 MB. It does *not* read files or say what a list is for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use envelope::{AddressPattern, Domain, Host, Mailbox, NotAPattern};
use forwarder::fold;
use forwarder::table::{TableError, TableErrors};
use ipnet::{IpNet, Ipv4Net};
use policy::Name;

/// Lists by the names that measures call them by.
pub type Lists = BTreeMap<Name, List>;

/// One list.
#[derive(Debug, Default)]
pub struct List {
    /// The names, sorted, with a line feed between two. `*.example.org` is kept as `.example.org`.
    names: Box<str>,
    /// Sorted; none overlaps another.
    networks: Box<[IpNet]>,
}

enum Entry {
    Name(String),
    Network(IpNet),
}

impl List {
    /// Reads the content of a file, all of it or nothing; `file` is its name in messages.
    pub fn parse(file: &str, content: Vec<u8>) -> Result<Self, TableErrors> {
        let lines = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&content);
        let mut errors = TableErrors::default();
        let (mut names, mut networks) = (String::with_capacity(lines.len()), Vec::new());
        for (line, number) in lines.split(|b| *b == b'\n').zip(1..) {
            match Entry::parse(line) {
                Ok(None) => {}
                Ok(Some(Entry::Network(network))) => networks.push(network),
                Ok(Some(Entry::Name(name))) => {
                    names.push_str(&name);
                    names.push('\n');
                }
                Err(wrong) => errors.push(|| TableError {
                    file: file.to_owned(),
                    line: number,
                    column: 1,
                    text: wrong.to_string(),
                    hint: Some(HINT.to_owned()),
                }),
            }
        }
        if errors.count > 0 {
            return Err(errors);
        }
        // A reload has the old list beside it already.
        drop(content);
        let mut sorted: Vec<&str> = names.lines().collect();
        sorted.sort_unstable();
        sorted.dedup();
        Ok(Self {
            names: sorted.join("\n").into(),
            networks: IpNet::aggregate(&networks).into(),
        })
    }

    /// How many names and networks it has; networks side by side count as one.
    pub fn entries(&self) -> usize {
        self.names.lines().count() + self.networks.len()
    }

    /// Whether it names this sender, by address or domain, or this client.
    pub fn names(&self, sender: Option<&Mailbox>, client: Option<IpAddr>) -> bool {
        client.is_some_and(|client| self.has_client(client))
            || sender.is_some_and(|sender| self.has_sender(sender))
    }

    fn has_client(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let behind = |network: &IpNet| network.network() <= client;
        let next = self.networks.partition_point(behind);
        next > 0 && self.networks[next - 1].contains(&client)
    }

    fn has_sender(&self, sender: &Mailbox) -> bool {
        let has_domain = |domain: &Domain| {
            let name = domain.as_str();
            let mut above = name.match_indices('.').map(|(at, _)| &name[at..]);
            self.has(name) || above.any(|parent| self.has(parent))
        };
        sender.domain().is_some_and(has_domain) || self.has(&written(sender))
    }

    /// Binary search on the text itself: a million names need no index.
    fn has(&self, name: &str) -> bool {
        let (mut low, mut high) = (0, self.names.len());
        while low < high {
            // Between two octets of a character there is no line feed either, so a search in octets is right.
            let (octets, middle) = (self.names.as_bytes(), low + (high - low) / 2);
            let before = octets[low..middle].iter().rposition(|b| *b == b'\n');
            let start = before.map_or(low, |at| low + at + 1);
            let behind = octets[middle..high].iter().position(|b| *b == b'\n');
            let end = behind.map_or(high, |at| middle + at);
            match octets[start..end].cmp(name.as_bytes()) {
                std::cmp::Ordering::Less => low = end + 1,
                std::cmp::Ordering::Greater => high = start,
                std::cmp::Ordering::Equal => return true,
            }
        }
        false
    }
}

impl Entry {
    /// What a line without its end names; `None` if it is blank or a comment.
    fn parse(line: &[u8]) -> Result<Option<Self>, NotAPattern> {
        let text = String::from_utf8_lossy(line);
        let text = without_comment(&text).trim();
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(network) = network(text) {
            return Ok(Some(Self::Network(network)));
        }
        let (dot, name) = match text.strip_prefix("*.") {
            Some(parent) => (".", parent),
            None => ("", text),
        };
        Ok(Some(Self::Name(match name.parse() {
            Ok(AddressPattern::Address(mailbox)) if dot.is_empty() => written(&mailbox),
            Ok(AddressPattern::Domain(domain)) if is_meant(&domain, dot) => {
                format!("{dot}{domain}")
            }
            _ => return Err(NotAPattern::new(text, "a domain, address or network")),
        })))
    }
}

/// What is before a `#` at the beginning of a line or after a blank.
pub(crate) fn without_comment(line: &str) -> &str {
    let is_comment = |at: &usize| {
        let before = line[..*at].chars().next_back();
        before.is_none_or(char::is_whitespace)
    };
    let mut marks = line.match_indices('#').map(|(at, _)| at);
    &line[..marks.find(is_comment).unwrap_or(line.len())]
}

/// `192.0.2` and `192.0.2.300` are no domains, and a single label is most often a slip: `*.top` is all of that top level.
fn is_meant(domain: &Domain, dot: &str) -> bool {
    domain.is_full() || (!dot.is_empty() && !domain.as_str().contains('.'))
}

/// An address as it is compared.
fn written(mailbox: &Mailbox) -> String {
    let local = fold(mailbox.local_part().as_str());
    match mailbox.host() {
        Host::Domain(domain) => format!("{local}@{domain}"),
        literal => format!("{local}@{literal}"),
    }
}

/// A network or a single address. An IPv4-mapped IPv6 network is the IPv4 network that it contains, since clients are
/// compared in that form.
pub fn network(text: &str) -> Option<IpNet> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_| single()).ok()?;
    let IpNet::V6(v6) = network else {
        return Some(network);
    };
    let mapped = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(MAPPED_BITS))
        .and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    Some(mapped.map_or(network, IpNet::V4))
}

pub(crate) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Bits before the IPv4 address in `::ffff:192.0.2.1`.
const MAPPED_BITS: u8 = 96;
const HINT: &str = "one a line: `example.org`, `*.example.org`, `alice@example.org`, `192.0.2.0/24`, `2001:db8::/32`";

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\u{feff}# senders\n\
        example.org\n\
        *.spam.example   # and all below\r\n\
        \tBob@Mixed.EXAMPLE\n\n\
        \"john doe\"@quoted.example\n\
        #1@odd.example\n\
        a#1@odd.example\n\
        \u{fc}ber@b\u{fc}cher.example\n\
        root@[192.0.2.77]\n\
        *.top\n\
        192.0.2.0/24\n192.0.2.128/25\n10.0.0.1\n::ffff:198.51.100.0/120\n2001:db8::/32\n\
        example.org\n";

    #[track_caller]
    fn check_sender(sender: &str, expected: bool) {
        let list = List::parse("list", LIST.into()).unwrap();
        let sender: Mailbox = sender.parse().unwrap();
        assert_eq!(list.names(Some(&sender), None), expected, "{sender}");
    }

    #[test]
    fn senders() {
        check_sender("a@example.org", true);
        check_sender("a@EXAMPLE.ORG", true);
        check_sender("a@sub.example.org", false);
        check_sender("a@xample.org", false);
        check_sender("a@spam.example", false);
        check_sender("a@x.spam.example", true);
        check_sender("a@x.y.spam.example", true);
        check_sender("a@notspam.example", false);
        check_sender("bob@mixed.example", true);
        check_sender("BOB@mixed.example", true);
        check_sender("bo@mixed.example", false);
        check_sender("bob+x@mixed.example", false);
        check_sender("\"John Doe\"@quoted.example", true);
        check_sender("a#1@odd.example", true);
        check_sender("#1@odd.example", false);
        check_sender("\u{dc}ber@xn--bcher-kva.example", true);
        check_sender("root@[192.0.2.77]", true);
        check_sender("root@[192.0.2.78]", false);
        check_sender("a@win.top", true);
    }

    #[track_caller]
    fn check_client(client: &str, expected: bool) {
        let list = List::parse("list", LIST.into()).unwrap();
        let client = client.parse().unwrap();
        assert_eq!(list.names(None, Some(client)), expected, "{client}");
    }

    #[test]
    fn clients() {
        check_client("192.0.2.0", true);
        check_client("192.0.2.255", true);
        check_client("::ffff:192.0.2.7", true);
        check_client("192.0.3.0", false);
        check_client("192.0.1.255", false);
        check_client("10.0.0.1", true);
        check_client("10.0.0.2", false);
        check_client("198.51.100.9", true);
        check_client("2001:db8:ffff::1", true);
        check_client("2001:db9::1", false);
        check_client("::1", false);
    }

    #[track_caller]
    fn check_mistake(line: &str) {
        let text = format!("# head\nexample.org\n{line}\n");
        let errors = List::parse("lists/bad", text.into()).unwrap_err();
        let said = errors.to_string();
        assert!(said.starts_with("lists/bad:3:1: `"), "{said}");
        assert!(said.contains("hint: "), "{said}");
    }

    #[test]
    fn mistakes() {
        for line in [
            "192.0.2",
            "192.0.2.300",
            "192.0.2.0/33",
            "2001:db8::/129",
            "example",
            "*",
            "*.",
            "a*.example",
            "*.bob@example.org",
            "example.org example.net",
            "example.org REJECT",
            "http://example.org",
            "\u{1b}[31m.example",
            "@",
        ] {
            check_mistake(line);
        }
        assert!(List::parse("bad", b"a.example\n\xff\xfe.example\n".to_vec()).is_err());
        let many = "a b\n".repeat(1000);
        let errors = List::parse("bad", many.into()).unwrap_err();
        assert_eq!(
            (errors.count, errors.errors.len()),
            (1000, TableErrors::SHOWN_MAX)
        );
    }

    #[test]
    fn each_of_many_is_found_and_nothing_between() {
        let name = |number: usize| format!("d{number}.example");
        let text: String = (0..2000).step_by(2).map(|n| name(n) + "\n").collect();
        let list = List::parse("list", text.into()).unwrap();
        assert_eq!(list.entries(), 1000);
        for number in 0..2000 {
            assert_eq!(list.has(&name(number)), number % 2 == 0, "{number}");
        }
        assert!(!list.has("") && !List::default().has("a.example"));
        assert_eq!(
            List::parse("list", b"# nothing\n".to_vec())
                .unwrap()
                .entries(),
            0
        );
    }

    /// `cargo test --release -p relay -- --ignored --nocapture million`: the time to load a million domains, and the memory.
    #[test]
    #[ignore = "measures; prints its figures"]
    fn a_million_domains() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("VmHWM"))
                .unwrap();
            line.to_owned()
        };
        let name = |n: u64| {
            format!(
                "{:x}.sender-{n}.example\n",
                n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            )
        };
        let text: String = (0..1_000_000).map(name).collect();
        let before = resident();
        let began = std::time::Instant::now();
        let list = List::parse("list", text.clone().into()).unwrap();
        let (loaded, after) = (began.elapsed(), resident());
        let began = std::time::Instant::now();
        let found = text
            .lines()
            .step_by(100)
            .filter(|name| list.has(name))
            .count();
        let each = began.elapsed() / 10_000;
        assert_eq!((list.entries(), found), (1_000_000, 10_000));
        let octets = (text.len(), list.names.len());
        println!("{octets:?} octets, {loaded:?} to load, {each:?} a look-up; {before} -> {after}");
    }
}
