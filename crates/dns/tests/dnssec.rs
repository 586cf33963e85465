//! The validating resolver against signed zones on loopback: what is proven, what is not, what is trouble; and what one can try who
//! sits between us and the servers.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may panic too")]

use dns::{Answer, Error, Hickory, Resolver, Settings};
use testkit::signed::SignedDns;

const ZONES: &str = "
    signed.test ZONE signed
    plain.test ZONE unsigned
    wrong.test ZONE bogus
    signed.test MX 10 mx.signed.test
    mx.signed.test A 192.0.2.1
    mx.signed.test AAAA 2001:db8::1
    _25._tcp.mx.signed.test TLSA 3 1 1 00
    inside.signed.test CNAME mx.signed.test
    outside.signed.test CNAME mx.plain.test
    plain.test MX 10 mx.plain.test
    mx.plain.test A 192.0.2.2
    _25._tcp.mx.plain.test TLSA 3 1 1 00
    into.plain.test CNAME mx.signed.test
    wrong.test MX 10 mx.wrong.test
    _25._tcp.mx.wrong.test TLSA 3 1 1 00
";
const EXPIRED: &str = "
    old.test ZONE expired
    old.test MX 10 mx.old.test
    mx.old.test A 192.0.2.3
    _25._tcp.mx.old.test TLSA 3 1 1 00
";

async fn start(zones: &str) -> (SignedDns, Hickory) {
    let dns = SignedDns::start(zones).await;
    let anchor = std::env::temp_dir().join(format!("anchor-{}", dns.address().port()));
    std::fs::write(&anchor, dns.anchor()).unwrap();
    let resolver = Hickory::new(&Settings {
        servers: vec![dns.address()],
        dnssec: true,
        trust_anchor: Some(anchor.clone()),
        ..Settings::default()
    });
    std::fs::remove_file(&anchor).unwrap();
    (dns, resolver.unwrap())
}

fn proof<T>(answer: Result<Answer<T>, Error>) -> String {
    match answer {
        Ok(answer) => {
            let canonical = answer.canonical.map(|name| format!(" as {name}"));
            let word = match (answer.is_secure, answer.is_name_secure) {
                (true, _) => "secure",
                (false, true) => "name secure",
                (false, false) => "insecure",
            };
            word.to_owned() + &canonical.unwrap_or_default()
        }
        Err(Error::Trouble(_)) => "trouble".to_owned(),
        Err(error) => error.to_string(),
    }
}

async fn ask(resolver: &Hickory, question: &str) -> String {
    let (kind, name) = question.split_once(' ').unwrap();
    match kind {
        "MX" => proof(resolver.mx(name).await),
        "A" => proof(resolver.addresses(name).await),
        _ => proof(resolver.tlsa(name).await),
    }
}

#[tokio::test]
async fn proofs() {
    let (_dns, resolver) = start(&[ZONES, EXPIRED].concat()).await;
    for (question, expected) in [
        ("MX signed.test", "secure"),
        ("MX SIGNED.test", "secure"),
        ("A mx.signed.test", "secure"),
        ("TLSA _25._tcp.mx.signed.test", "secure"),
        ("TLSA _26._tcp.mx.signed.test", "no such domain"),
        ("MX mx.signed.test", "no such records"),
        ("MX nope.signed.test", "no such domain"),
        ("MX x.invalid", "no such domain"),
        ("A inside.signed.test", "secure as mx.signed.test"),
        ("A outside.signed.test", "name secure as mx.plain.test"),
        ("A into.plain.test", "insecure as mx.signed.test"),
        ("MX plain.test", "insecure"),
        ("A mx.plain.test", "insecure"),
        ("TLSA _25._tcp.mx.plain.test", "insecure"),
        ("TLSA _26._tcp.mx.plain.test", "no such domain"),
        ("MX mx.plain.test", "no such records"),
        ("MX wrong.test", "trouble"),
        ("TLSA _25._tcp.mx.wrong.test", "trouble"),
        ("TLSA _26._tcp.mx.wrong.test", "trouble"),
        ("MX old.test", "trouble"),
        ("A mx.old.test", "trouble"),
        ("TLSA _25._tcp.mx.old.test", "trouble"),
    ] {
        assert_eq!(ask(&resolver, question).await, expected, "{question}");
    }
    // Other questions are none of DNSSEC's business.
    assert!(resolver.ipv4("mx.old.test").await.is_ok());
}

#[tokio::test]
async fn forgeries_are_trouble_and_never_absence() {
    let tlsa = "_25._tcp.mx.signed.test";
    let other_zone = "plain.test SOA -";
    for (question, answer, authority) in [
        // The signatures taken away.
        (
            "MX signed.test",
            &["signed.test MX 10 mx.evil.test"][..],
            &[][..],
        ),
        ("A mx.signed.test", &["mx.signed.test A 192.0.2.66"], &[]),
        // "There is none", with no proof, with one of another zone, with none of this zone.
        ("MX signed.test", &[], &[]),
        ("MX signed.test", &[], &[other_zone]),
        ("MX signed.test", &[], &["signed.test SOA -"]),
        (
            "MX signed.test",
            &["x.plain.test A 192.0.2.66"],
            &[other_zone],
        ),
        ("TLSA", &[], &[]),
        ("TLSA", &[], &[other_zone]),
        ("TLSA", &[], &["_tcp.mx.signed.test SOA -"]),
        ("TLSA", &["x.plain.test A 192.0.2.66"], &[other_zone]),
        // Records of another name, which may well be in an unsigned zone.
        (
            "MX signed.test",
            &["plain.test MX 10 mx.evil.test"],
            &[other_zone],
        ),
        (
            "MX signed.test",
            &["signed.test CNAME plain.test"],
            &[other_zone],
        ),
    ] {
        let (dns, resolver) = start(ZONES).await;
        let (kind, name) = question.split_once(' ').unwrap_or((question, tlsa));
        dns.forge(name, kind, answer, authority);
        let found = ask(&resolver, &format!("{kind} {name}")).await;
        // One family of addresses is enough: the other one is still proven.
        let expected = if kind == "A" { "secure" } else { "trouble" };
        assert_eq!(found, expected, "{question}: {answer:?} {authority:?}");
    }
}

#[tokio::test]
async fn a_look_up_that_fails_is_trouble() {
    let (dns, resolver) = start(ZONES).await;
    dns.fail("_25._tcp.mx.signed.test", "TLSA");
    let found = ask(&resolver, "TLSA _25._tcp.mx.signed.test").await;
    assert_eq!(found, "trouble");
}
