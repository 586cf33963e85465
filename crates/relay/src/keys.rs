//! Keys of ours, and what they put on top of mail: ARC sets and DKIM signatures.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use authentic::{Chain, Checked, Key, Parsed, Reader, seal, sign};
use envelope::{Domain, Timestamp};

/// The keys of the configuration, by name.
#[derive(Debug, Default)]
pub struct Keys {
    /// Each `[[dkim]]`.
    pub named: BTreeMap<Arc<str>, Key>,
    /// The one that signs our notices.
    pub notices: Option<Arc<str>>,
}

/// A message that is about to leave, whose recipients may want it signed and sealed, each with keys of its own.
pub struct Outgoing<'a> {
    /// The keys to choose from.
    pub keys: &'a Keys,
    /// The message as it came in.
    pub parsed: &'a Parsed,
    /// The ARC chain that it came with, if that was looked at.
    pub chain: Option<&'a Chain>,
    /// Whether DMARC proves its author.
    pub is_proved: bool,
    /// All that was found out about it.
    pub checked: &'a [Checked<'a>],
    /// Our own name.
    pub hostname: &'a Domain,
    /// The time of the signatures.
    pub now: Timestamp,
}

/// The names of a key that signs and of one that seals.
pub type Wanted = (Option<Arc<str>>, Option<Arc<str>>);

impl Keys {
    fn find(&self, name: Option<&Arc<str>>) -> Option<&Key> {
        self.named.get(name?)
    }

    /// A notice of our own, signed if there is a key for it.
    pub fn sign_notice(&self, notice: Vec<u8>, now: Timestamp) -> Vec<u8> {
        let Some(key) = self.find(self.notices.as_ref()) else {
            return notice;
        };
        let mut reader = Reader::signing();
        reader.feed(&notice);
        match sign(key, &reader.finish(), now.unix_secs()) {
            Some(field) => [field.into_bytes(), notice].concat(),
            None => notice,
        }
    }
}

impl Outgoing<'_> {
    /// The fields for these recipients, in their order: the set above the signature, empty if there is neither.
    ///
    /// A signature takes as long as a small message takes in all: each is made once, however many recipients want it.
    pub fn fields(&self, recipients: &[Wanted]) -> Vec<Arc<str>> {
        let mut made = HashMap::new();
        let field = |wanted: &Wanted| {
            let made = made.entry(wanted.clone());
            Arc::clone(made.or_insert_with_key(|wanted| self.make(wanted)))
        };
        recipients.iter().map(field).collect()
    }

    fn make(&self, (signing, sealing): &Wanted) -> Arc<str> {
        let now = self.now.unix_secs();
        let set = self.keys.find(sealing.as_ref()).zip(self.chain);
        let set = set.and_then(|(key, chain)| {
            seal(key, self.parsed, chain, self.hostname, self.checked, now)
        });
        let signature = self.keys.find(signing.as_ref());
        let signature = signature.filter(|key| self.may_sign(key));
        let signature = signature.and_then(|key| sign(key, self.parsed, now));
        (set.unwrap_or_default() + &signature.unwrap_or_default()).into()
    }

    /// Signed with a key of the author's own organisation, a forged message would pass DMARC: only what passes anyway may be.
    fn may_sign(&self, key: &Key) -> bool {
        let author = self.parsed.author();
        self.is_proved || author.is_some_and(|author| apex(author) != apex(&key.domain))
    }
}

/// The last two labels: whatever belongs to one organisation has them in common, and a few others have, too.
fn apex(domain: &Domain) -> &str {
    let mut dots = domain.as_str().rmatch_indices('.').map(|(at, _)| at + 1);
    &domain.as_str()[dots.nth(1).unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use authentic::{Kind, Verdict};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_795_900_000_000);

    fn keys() -> Keys {
        let key = |name: &str| {
            let domain = format!("{name}.example").parse().unwrap();
            let (key, _) = Key::generate(domain, "s1".parse().unwrap(), Kind::Rsa2048).unwrap();
            (name.into(), key)
        };
        Keys {
            named: ["a", "b"].map(key).into(),
            notices: Some("b".into()),
        }
    }

    /// Who forges an address of the signing domain gets no signature that makes it pass.
    #[test]
    fn an_author_of_the_key_s_domain_must_be_proved() {
        let keys = keys();
        for (from, is_proved, expected) in [
            ("ceo@a.example", false, false),
            ("ceo@a.example", true, true),
            ("ceo@News.A.example", false, false),
            ("[Ceo] <ceo@a.example>", false, false),
            ("[Ceo] <ceo@b.example>", false, false),
            ("ceo@b.example", false, true),
            ("ceo@aa.example", false, true),
        ] {
            let mut reader = Reader::signing();
            reader.feed(format!("From: {from}\r\n\r\n").as_bytes());
            let outgoing = Outgoing {
                keys: &keys,
                parsed: &reader.finish(),
                chain: None,
                is_proved,
                checked: &[],
                hostname: &"mx.example.net".parse().unwrap(),
                now: NOW,
            };
            let fields = outgoing.fields(&[(Some("a".into()), None)]);
            assert_eq!(!fields[0].is_empty(), expected, "{from}");
        }
    }

    #[test]
    fn each_recipient_gets_what_its_domain_chose() {
        let keys = keys();
        let mut reader = Reader::signing();
        reader.feed(b"From: x@example.org\r\n\r\n");
        let chain = Chain {
            verdict: Verdict::None,
            reason: "",
            instance: 0,
            domain: None,
            is_closed: false,
        };
        let outgoing = Outgoing {
            keys: &keys,
            parsed: &reader.finish(),
            chain: Some(&chain),
            is_proved: false,
            checked: &[],
            hostname: &"mx.example.net".parse().unwrap(),
            now: NOW,
        };
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let fields = outgoing.fields(&[
            (None, None),
            (Some(a.clone()), None),
            (Some(a.clone()), Some(b)),
            (Some(a), None),
        ]);
        let domains = fields.iter().map(|fields| {
            let lines = fields.lines().filter_map(|line| line.split_once("d="));
            lines
                .map(|(_, rest)| rest.trim_end_matches(';'))
                .collect::<Vec<_>>()
        });
        let domains: Vec<_> = domains.collect();
        let sealed = vec!["b.example", "b.example", "a.example"];
        assert_eq!(
            domains,
            [vec![], vec!["a.example"], sealed, vec!["a.example"]]
        );
        assert!(Arc::ptr_eq(&fields[1], &fields[3]), "it is made once");
    }

    #[test]
    fn notices_are_signed() {
        let mut keys = keys();
        let notice = b"From: postmaster@b.example\r\n\r\nhello\r\n".to_vec();
        let signed = keys.sign_notice(notice.clone(), NOW);
        assert!(signed.starts_with(b"DKIM-Signature: ") && signed.ends_with(&notice));
        keys.notices = None;
        assert_eq!(keys.sign_notice(notice.clone(), NOW), notice);
    }
}
