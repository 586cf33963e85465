//! Signatures of our own: DKIM-Signature (RFC 6376) and ARC sets (RFC 8617).
//!
//! Both are relaxed/relaxed, over the body as it streamed in. Neither covers a trace field, so what goes on top of the message or is
//! taken out of its header before it leaves (Authentication-Results) does not matter.

use std::fmt::Write as _;

use data_encoding::BASE64;
use envelope::Domain;

use crate::keys::chunks;
use crate::{Canonical, Chain, Checked, Field, Key, Parsed, Verdict, relaxed_field, results};

/// The DKIM-Signature field for this message, with its CRLF. `None` if it cannot be signed: it has no From, or far too many
/// fields, or was read without hashing its body for us ([`Reader::signing`](crate::Reader::signing)).
///
/// `now` is in seconds since 1970.
pub fn sign(key: &Key, parsed: &Parsed, now: u64) -> Option<String> {
    let expires = now + VALID_SECS;
    let start = format!("DKIM-Signature: v=1; t={now}; x={expires};");
    signature(key, parsed, &start, &SIGNED)
}

/// The three fields of an ARC set for this message, the seal first, each with its CRLF. `None` if it is not to be sealed:
/// its chain does not hold or cannot be told to hold, or has grown too long (RFC 8617 §5.1), or it cannot be signed
/// or not with this key ([`Key::can_seal`]).
///
/// A chain that is broken is left as it is: another set could only say so once more, and a new chain must never hide it.
pub fn seal(
    key: &Key,
    parsed: &Parsed,
    chain: &Chain,
    hostname: &Domain,
    checked: &[Checked<'_>],
    now: u64,
) -> Option<String> {
    let sets = parsed.arc_fields()?;
    let instance = sets.len() / 3 + 1;
    let validated = match chain.verdict {
        Verdict::None if instance == 1 => "none",
        Verdict::Pass if instance == usize::from(chain.instance) + 1 => "pass",
        _ => return None,
    };
    if instance > INSTANCE_MAX || !key.can_seal() {
        return None;
    }
    let results = format!(
        "ARC-Authentication-Results: i={instance}; {}\r\n",
        results::value(hostname, checked)
    );
    let start = format!("ARC-Message-Signature: i={instance}; t={now};");
    let covered = [&SIGNED[..], &[("dkim-signature", false)]].concat();
    let message = signature(key, parsed, &start, &covered)?;
    let Key {
        domain, selector, ..
    } = key;
    let algorithm = key.algorithm();
    let seal = format!(
        "ARC-Seal: i={instance}; a={algorithm}; t={now}; cv={validated};\r\n\td={domain};\r\n\ts={selector};\r\n\tb="
    );
    let mut data = Vec::new();
    let own = [&*results, &message].map(field);
    let own = own.into_iter().flatten();
    sets.into_iter()
        .chain(own)
        .for_each(|field| relaxed_field(field, &mut data));
    let seal = signed(key, data, seal)?;
    Some(seal + &message + &results)
}

/// A signature over header and body. `covered` names the fields, and whether one more than there are is signed, so that none can
/// be added.
fn signature(key: &Key, parsed: &Parsed, start: &str, covered: &[(&str, bool)]) -> Option<String> {
    let body = BASE64.encode(&parsed.body_hash(Canonical::Relaxed)?);
    let mut names = Vec::new();
    let mut data = Vec::new();
    // From the bottom up: that is how a verifier counts fields of one name (§5.4.2).
    for field in parsed.header().fields().rev() {
        let name = covered.iter().find(|(name, _)| field.is(name));
        if let Some((name, _)) = name {
            names.push(*name);
            relaxed_field(field, &mut data);
        }
    }
    if !names.contains(&"from") || names.len() > FIELDS_MAX {
        return None;
    }
    names.extend(
        covered
            .iter()
            .filter(|(_, more)| *more)
            .map(|(name, _)| name),
    );
    let Key {
        domain, selector, ..
    } = key;
    let algorithm = key.algorithm();
    let mut field = format!(
        "{start} a={algorithm};\r\n\tc=relaxed/relaxed; d={domain};\r\n\ts={selector};\r\n\th="
    );
    for (at, names) in names.chunks(NAMES_A_LINE).enumerate() {
        let fold = if at == 0 { "" } else { ":\r\n\t" };
        // Writing to a String does not fail.
        let _ = write!(field, "{fold}{}", names.join(":"));
    }
    let _ = write!(field, ";\r\n\tbh={body};\r\n\tb=");
    signed(key, data, field)
}

/// Completes a field that ends in `b=`: what it covers goes first, then itself, without its last CRLF (§3.7).
fn signed(key: &Key, mut data: Vec<u8>, mut text: String) -> Option<String> {
    relaxed_field(field(&text)?, &mut data);
    data.truncate(data.len() - 2);
    for (at, line) in chunks(&key.sign(&data)?, BASE64_A_LINE).enumerate() {
        let fold = if at == 0 { "" } else { "\r\n\t" };
        let _ = write!(text, "{fold}{line}");
    }
    Some(text + "\r\n")
}

fn field(text: &str) -> Option<Field<'_>> {
    let (name, value) = text.split_once(':')?;
    let (name, value) = (name.as_bytes(), value.as_bytes());
    Some(Field { name, value })
}

/// What a reader sees of a message, or a program makes of it. What is marked must not be added to on the way; a mailing list adds
/// the others.
const SIGNED: [(&str, bool); 24] = [
    ("from", true),
    ("to", true),
    ("cc", true),
    ("subject", true),
    ("date", true),
    ("message-id", true),
    ("reply-to", true),
    ("in-reply-to", true),
    ("references", true),
    ("mime-version", true),
    ("content-type", true),
    ("content-transfer-encoding", true),
    ("sender", false),
    ("resent-from", false),
    ("resent-to", false),
    ("resent-date", false),
    ("resent-message-id", false),
    ("list-id", false),
    ("list-help", false),
    ("list-post", false),
    ("list-unsubscribe", false),
    ("list-unsubscribe-post", false),
    ("feedback-id", false),
    ("auto-submitted", false),
];
/// Of an honest message they are two dozen.
const FIELDS_MAX: usize = 100;
/// A signature is good for longer than the message waits in any queue on its way, and not for a replay next year.
const VALID_SECS: u64 = 30 * 24 * 3600;
/// RFC 8617 §4.2.1.
const INSTANCE_MAX: usize = 50;
const NAMES_A_LINE: usize = 5;
const BASE64_A_LINE: usize = 72;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::{Kind, Reader};

    static KEY: LazyLock<Key> = LazyLock::new(|| {
        let (domain, selector) = ("fwd.example".parse().unwrap(), "s1".parse().unwrap());
        Key::generate(domain, selector, Kind::Rsa2048).unwrap().0
    });
    const NOW: u64 = 1_795_900_000;

    fn read(message: &str) -> Parsed {
        let mut reader = Reader::signing();
        reader.feed(message.as_bytes());
        reader.finish()
    }

    fn sealed(message: &str, verdict: Verdict, instance: u8) -> Option<String> {
        let chain = Chain {
            verdict,
            reason: "",
            instance,
            domain: None,
            is_closed: false,
        };
        let spf = Checked::new("spf", "none");
        let hostname = "mx.fwd.example".parse().unwrap();
        seal(&KEY, &read(message), &chain, &hostname, &[spf], NOW)
    }

    /// The value of a tag, without folds.
    fn tag(field: &str, name: &str) -> String {
        let field = field.replace(['\r', '\n', '\t', ' '], "");
        let (_, rest) = field.split_once(&format!(";{name}=")).unwrap();
        rest.split(';').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn fields_that_are_signed() {
        let message = "Received: x\r\nFrom: a@b.example\r\nTo: b\r\nto : c\r\nX-Other: d\r\nList-Id: e\r\n\r\n";
        let field = sign(&KEY, &read(message), NOW).unwrap();
        let names = "list-id:to:to:from:from:to:cc:subject:date:message-id:reply-to:in-reply-to:references:mime-version:content-type:content-transfer-encoding";
        assert_eq!(tag(&field, "h"), names);
        assert_eq!(tag(&field, "d"), "fwd.example");
        assert_eq!(tag(&field, "x"), (NOW + VALID_SECS).to_string());
        // The hash of an empty body (RFC 6376 §3.4.4).
        assert_eq!(
            tag(&field, "bh"),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
        assert!(field.ends_with("\r\n") && field.lines().all(|line| line.len() <= 78));
    }

    #[track_caller]
    fn check_unsigned(message: &str) {
        assert_eq!(sign(&KEY, &read(message), NOW), None);
        assert_eq!(sealed(message, Verdict::None, 0), None);
    }

    #[test]
    fn what_cannot_be_signed() {
        check_unsigned("");
        check_unsigned("Subject: nobody\r\n\r\n");
        let many = "To: a\r\n".repeat(FIELDS_MAX);
        check_unsigned(&format!("From: a\r\n{many}\r\n"));
        let large = "x".repeat(300_000);
        check_unsigned(&format!("From: a\r\nX: {large}\r\n\r\n"));
    }

    /// Whatever we sign and seal, verifies.
    #[tokio::test]
    async fn odd_messages_verify() {
        let dns = dns::Fixed::new().with_txt(KEY.record_name(), KEY.record().unwrap());
        for message in [
            "From: a@b.example\r\n\r\n",
            "From: a@b.example",
            "From : a@b.example\r\nFrom:c@d.example\r\n\r\na\rb\nc\0 \t\r\n \r\n\r\n",
            "from:\r\n \r\n\ta@b.example\r\nSubject:\r\nSUBJECT: \t x\ty \r\nTo: \u{fc}\u{0}\r\n\r\n \r\nx",
            "From x Sat Nov 28 12:00:00 2026\r\nFrom: a\r\nno field\r\n: none\r\n\r\n\r\n",
        ] {
            let signed = sign(&KEY, &read(message), NOW).unwrap() + message;
            let first = sealed(&signed, Verdict::None, 0).unwrap() + &signed;
            let second = sealed(&first, Verdict::Pass, 1).unwrap() + &first;
            let results = read(&second).verify(&dns, crate::Spf::Other, NOW).await;
            assert_eq!(
                results.dkim[0].verdict,
                Verdict::Pass,
                "{message:?}: {results:?}"
            );
            assert_eq!(
                results.arc.verdict,
                Verdict::Pass,
                "{message:?}: {results:?}"
            );
            assert_eq!(results.arc.instance, 2);
        }
    }

    #[test]
    fn a_chain_goes_on_only_if_it_holds() {
        let message = "From: a@b.example\r\n\r\n";
        let first = sealed(message, Verdict::None, 0).unwrap();
        assert!(first.starts_with("ARC-Seal: i=1;"));
        assert_eq!(tag(&first, "cv"), "none");
        let once = format!("{first}{message}");
        let second = sealed(&once, Verdict::Pass, 1).unwrap();
        assert!(second.starts_with("ARC-Seal: i=2;"));
        assert_eq!(tag(&second, "cv"), "pass");
        for verdict in [Verdict::Fail, Verdict::TempError, Verdict::PermError] {
            assert_eq!(sealed(&once, verdict, 1), None);
            assert_eq!(sealed(&once, verdict, 0), None);
        }
        // Other sets than verification saw: none of them may be left out.
        assert_eq!(sealed(&once, Verdict::Pass, 2), None);
        assert_eq!(sealed(&once, Verdict::None, 0), None);
        let mut longest = once;
        for instance in 1..50 {
            let set = sealed(&longest, Verdict::Pass, instance).unwrap();
            longest.insert_str(0, &set);
        }
        assert_eq!(sealed(&longest, Verdict::Pass, 50), None);
    }
}
