//! The validating resolver against signed zones on loopback: what is proven, what is not, what is trouble; and what one can try who
//! sits between us and the servers.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may panic too")]

use std::time::Duration;

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
    *.wild.plain.test CNAME mx.signed.test
    gone.plain.test CNAME nope.signed.test
    gone.signed.test CNAME nope.signed.test
    wild.test ZONE signed
    other.test ZONE signed
    other.test MX 10 mx.other.test
    wrong.test MX 10 mx.wrong.test
    _25._tcp.mx.wrong.test TLSA 3 1 1 00
";
const NXDOMAIN: &str = ". CODE NXDOMAIN";
const OTHER_ZONE: &str = "plain.test SOA -";
/// From a zone that had such a wildcard.
const REPLAYED: &str = "_25._tcp.mx.signed.test CNAME mx.signed.test @*.signed.test";
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
        failures_kept: Duration::ZERO,
        trust_anchor: Some(anchor.clone()),
        ..Settings::default()
    });
    std::fs::remove_file(&anchor).unwrap();
    (dns, resolver.unwrap())
}

fn proof<T>(answer: Result<Answer<T>, Error>) -> String {
    match answer {
        Ok(answer) => {
            let proof = answer.proof;
            let canonical = proof.canonical.map(|name| format!(" as {name}"));
            let word = match (proof.is_secure, proof.is_name_secure) {
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
        ("MX nope.mx.signed.test", "no such domain"),
        ("MX x.invalid", "no such domain"),
        ("A inside.signed.test", "secure as mx.signed.test"),
        ("A outside.signed.test", "name secure as mx.plain.test"),
        ("A into.plain.test", "insecure as mx.signed.test"),
        ("A a.wild.plain.test", "insecure as mx.signed.test"),
        ("MX a.wild.plain.test", "no such records"),
        ("MX gone.plain.test", "no such domain"),
        ("MX gone.signed.test", "no such domain"),
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

/// What is asked for (`TLSA`: those of the host of signed.test), and the forged answer and authority sections.
type Forgery = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

async fn is_trouble(forgeries: &[Forgery]) {
    for (question, answer, authority) in forgeries {
        let (dns, resolver) = start(ZONES).await;
        let (kind, name) = question
            .split_once(' ')
            .unwrap_or((question, "_25._tcp.mx.signed.test"));
        dns.forge(name, kind, answer, authority);
        if let Some(alias) = answer.first().filter(|line| line.contains(" CNAME ")) {
            dns.forge(name, "CNAME", &[alias], authority);
        }
        let found = ask(&resolver, &format!("{kind} {name}")).await;
        // One family of addresses is enough: the other one is still proven.
        let expected = if kind == "A" { "secure" } else { "trouble" };
        assert_eq!(found, expected, "{question}: {answer:?} {authority:?}");
    }
}

#[tokio::test]
async fn forgeries_are_trouble_and_never_absence() {
    is_trouble(&[
        // The signatures taken away.
        ("MX signed.test", &["signed.test MX 10 mx.evil.test"], &[]),
        ("A mx.signed.test", &["mx.signed.test A 192.0.2.66"], &[]),
        // "There is none", with no proof, with one of another zone, with none of this zone.
        ("MX signed.test", &[], &[]),
        ("MX signed.test", &[], &[OTHER_ZONE]),
        ("MX signed.test", &[], &["signed.test SOA -"]),
        (
            "MX signed.test",
            &["x.plain.test A 192.0.2.66"],
            &[OTHER_ZONE],
        ),
        ("TLSA", &[], &[]),
        ("TLSA", &[], &[OTHER_ZONE]),
        ("TLSA", &[], &["_tcp.mx.signed.test SOA -"]),
        ("TLSA", &["x.plain.test A 192.0.2.66"], &[OTHER_ZONE]),
        (
            "MX signed.test",
            &[NXDOMAIN, "x.plain.test A 192.0.2.66"],
            &[OTHER_ZONE],
        ),
        (
            "TLSA",
            &[NXDOMAIN, "x.plain.test A 192.0.2.66"],
            &[OTHER_ZONE],
        ),
        // The answer to another question.
        (
            "MX signed.test",
            &["x.plain.test QUESTION MX"],
            &[OTHER_ZONE],
        ),
        (
            "MX signed.test",
            &["x.plain.test QUESTION MX", NXDOMAIN],
            &[OTHER_ZONE],
        ),
        (
            "TLSA",
            &["x.plain.test QUESTION TLSA", NXDOMAIN],
            &[OTHER_ZONE],
        ),
        // Records of another name, which may well be in an unsigned zone.
        (
            "MX signed.test",
            &["plain.test MX 10 mx.evil.test"],
            &[OTHER_ZONE],
        ),
        (
            "MX signed.test",
            &["signed.test CNAME plain.test"],
            &[OTHER_ZONE],
        ),
    ])
    .await;
}

/// What is signed, but by others, or for others.
#[tokio::test]
async fn what_does_not_belong_together_is_trouble() {
    is_trouble(&[
        // A proof by a zone that the name is not in: of "none", of more work than we do, of a wildcard.
        (
            "MX signed.test",
            &[NXDOMAIN],
            &["other.test NSEC zz.zz @other.test"],
        ),
        ("TLSA", &[NXDOMAIN], &["other.test NSEC zz.zz @other.test"]),
        (
            "TLSA",
            &[NXDOMAIN],
            &[
                "signed.test SOA - @signed.test",
                "other.test NSEC zz.zz @other.test",
            ],
        ),
        (
            "MX signed.test",
            &[],
            &["8888.other.test NSEC3 150 @other.test"],
        ),
        (
            "TLSA",
            &[NXDOMAIN],
            &["8888.other.test NSEC3 150 @other.test"],
        ),
        ("TLSA", &[REPLAYED], &["other.test NSEC zz.zz @other.test"]),
        // A wildcard's record in place of the one that is there.
        ("TLSA", &[REPLAYED], &[OTHER_ZONE]),
        (
            "TLSA",
            &["_25._tcp.mx.signed.test CNAME mx.plain.test @*.signed.test"],
            &[OTHER_ZONE],
        ),
        (
            "MX b.mail.signed.test",
            &["b.mail.signed.test MX 10 mx.signed.test @*.mail.signed.test"],
            &[OTHER_ZONE],
        ),
    ])
    .await;
}

/// However long the packet says that it holds.
#[tokio::test]
async fn a_forgery_is_soon_forgotten() {
    let (dns, resolver) = start(ZONES).await;
    let day = "plain.test 86400 MX 10 mx.evil.test";
    for (answer, authority) in [
        (&[][..], &["plain.test 3600 SOA -"][..]),
        (&[NXDOMAIN], &["plain.test 3600 SOA -"]),
        (&[day], &["plain.test 86400 SOA -"]),
        (&["signed.test 86400 MX 10 mx.evil.test"], &[]),
    ] {
        dns.forge("signed.test", "MX", answer, authority);
        let found = ask(&resolver, "MX signed.test").await;
        assert_eq!(found, "trouble", "{answer:?} {authority:?}");
        dns.relent();
        let found = ask(&resolver, "MX signed.test").await;
        assert_eq!(found, "secure", "{answer:?} {authority:?}");
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
}

/// With the proof that nothing is nearer, a wildcard's record is as good as any.
#[tokio::test]
async fn wildcards() {
    let (dns, resolver) = start(ZONES).await;
    let nothing_nearer = "a.wild.test NSEC z.wild.test";
    for (name, record, nsec, expected) in [
        ("a.b.wild.test", "MX 10 mx.test", nothing_nearer, "secure"),
        (
            "b.b.wild.test",
            "CNAME plain.test",
            nothing_nearer,
            "name secure as plain.test",
        ),
        (
            "c.b.wild.test",
            "CNAME mx.signed.test",
            nothing_nearer,
            "no such records",
        ),
        (
            "d.b.wild.test",
            "CNAME nope.signed.test",
            nothing_nearer,
            "no such domain",
        ),
        (
            "e.b.wild.test",
            "MX 10 mx.test",
            "a.wild.test NSEC b.wild.test",
            "trouble",
        ),
        // Right by RFC 4035 §B.6, but hickory 0.26.3 wants the wildcard itself denied.
        (
            "f.wild.test",
            "MX 10 mx.test",
            "*.wild.test NSEC z.wild.test",
            "trouble",
        ),
    ] {
        let record = format!("{name} {record} @*.wild.test");
        let nsec = format!("{nsec} @wild.test");
        dns.forge(name, "MX", &[&record], &[&nsec]);
        dns.forge(name, "CNAME", &[&record], &[&nsec]);
        let found = ask(&resolver, &format!("MX {name}")).await;
        assert_eq!(found, expected, "{record} {nsec}");
    }
}

/// RFC 9276 §3.2: a zone whose proofs of absence are too dear to check counts as unsigned.
#[tokio::test]
async fn many_iterations_of_its_own_zone_are_no_trouble() {
    let (dns, resolver) = start(ZONES).await;
    let name = "_26._tcp.mx.signed.test";
    let dear = "8888.signed.test NSEC3 150 @signed.test";
    for (code, expected) in [
        (&[NXDOMAIN][..], "no such domain"),
        (&[], "no such records"),
    ] {
        dns.forge(name, "TLSA", code, &[dear]);
        let found = ask(&resolver, &format!("TLSA {name}")).await;
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_look_up_that_fails_is_trouble() {
    let (dns, resolver) = start(ZONES).await;
    dns.fail("_25._tcp.mx.signed.test", "TLSA");
    let found = ask(&resolver, "TLSA _25._tcp.mx.signed.test").await;
    assert_eq!(found, "trouble");
}
