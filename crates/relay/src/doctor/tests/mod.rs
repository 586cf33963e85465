//! Each check: good, bad, unknown, over IPv4 and IPv6; and zones that are made to keep us busy.

mod certificates;

use std::time::Instant;

use authentic::{Key, Kind};
use dns::{Hickory, Settings};
use testkit::dns::Dns;

use super::*;
use crate::dnsbl;
use crate::tests::routing;

/// All is well here.
const WELL: &str = "
mx.fwd.test A 192.0.2.10
mx.fwd.test AAAA 2001:db8::10
10.2.0.192.in-addr.arpa PTR mx.fwd.test
0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mx.fwd.test
fwd.test MX 10 mx.fwd.test
fwd.test TXT v=spf1 mx -all
h.test MX 10 mx.fwd.test
bl.test A 192.0.2.99
";
const PTR4: &str = "10.2.0.192.in-addr.arpa";
const PTR6: &str = "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";

fn key() -> Key {
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    Key::from_pem(
        "fwd.test".parse().unwrap(),
        "s1".parse().unwrap(),
        pem.as_bytes(),
    )
    .unwrap()
}

fn facts(forwards: &str) -> Facts {
    let mut routing = routing(forwards);
    let answers = ["127.0.0.2".to_owned()];
    let list = dnsbl::Dnsbl::new("bl.test", dnsbl::Kind::Address, &answers, "554 no", "");
    routing.dnsbls.insert("bl".into(), list.unwrap());
    let egress = |address: &str| Egress {
        address: address.parse().unwrap(),
        hello: "mx.fwd.test".parse().unwrap(),
        pool: None,
        sends_mail: true,
    };
    Facts {
        routing: Arc::new(routing),
        egresses: vec![egress("192.0.2.10"), egress("2001:db8::10")],
        listeners: Vec::new(),
        certificates: Vec::new(),
        way_out: None,
        local: Vec::new(),
    }
}

fn resolver(dns: &Dns) -> Hickory {
    let settings = Settings {
        servers: vec![dns.address()],
        timeout: Duration::from_millis(300),
        repeats: 0,
        ..Settings::default()
    };
    Hickory::new(&settings).unwrap()
}

async fn findings(dns: &Dns, facts: &Facts) -> Vec<Finding> {
    examine(
        &resolver(dns),
        facts,
        Timestamp::from_unix_millis(1_796_000_000_000),
    )
    .await
}

/// All but what is good, and the certificate that is not there: `bad spf fwd.test: text ► publish`.
fn lines(findings: &[Finding]) -> Vec<String> {
    let told = findings
        .iter()
        .filter(|finding| finding.status != Health::Good && finding.check != "certificate");
    let line = |finding: &Finding| {
        let Finding {
            status,
            check,
            of,
            text,
            publish,
        } = finding;
        let text = text.split("\n\nhint").next().unwrap();
        format!(
            "{} {check} {of}: {text} ► {}",
            status.name(),
            publish.as_deref().unwrap_or("-")
        )
    };
    told.map(line).collect()
}

/// Cases with blank lines between: names that are gone (`- name`), further records, and how each finding begins and ends
/// (`= bad spf fwd.test: … ► end`).
async fn check(cases: &str) {
    for case in cases.split("\n\n") {
        let dns = Dns::start(WELL).await;
        let (mut expected, mut records) = (Vec::new(), Vec::new());
        for line in case.lines().map(str::trim) {
            match line.split_once(' ') {
                Some(("-", name)) => dns.remove(name),
                Some(("=", finding)) => expected.push(finding.split_once(" … ").unwrap()),
                _ => records.push(line),
            }
        }
        dns.add(&records.join("\n"));
        let found = lines(&findings(&dns, &facts("@h.test x@y.test\n")).await);
        assert_eq!(found.len(), expected.len(), "{case}: {found:#?}");
        for (line, (begin, end)) in found.iter().zip(expected) {
            let fits = line.starts_with(begin) && line.ends_with(end);
            assert!(fits, "{line}\nis not {begin} … {end}");
        }
    }
}

#[tokio::test]
async fn well() {
    check("").await;
    let dns = Dns::start(WELL).await;
    let found = findings(&dns, &facts("@h.test x@y.test\n")).await;
    let good = found
        .iter()
        .filter(|finding| finding.status == Health::Good);
    let good: Vec<_> = good
        .map(|finding| format!("{} {}", finding.check, finding.of))
        .collect();
    let wanted = [
        "ptr 192.0.2.10",
        "hello mx.fwd.test 192.0.2.10",
        "ptr 2001:db8::10",
        "hello mx.fwd.test 2001:db8::10",
        "mx hosted domains",
        "mx fwd.test",
        "spf fwd.test",
        "dnsbl 192.0.2.10",
        "dnsbl 2001:db8::10",
    ];
    assert_eq!(good, wanted);
}

/// By address, under another name; by the domain's own address; elsewhere; nowhere; and where one host is ill, and might be ours.
#[tokio::test]
async fn where_mail_goes() {
    check(
        "- fwd.test
         fwd.test MX 10 in.test
         in.test AAAA 2001:db8::10
         fwd.test TXT v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all

         - fwd.test
         fwd.test A 192.0.2.10
         fwd.test TXT v=spf1 a ip6:2001:db8::/64 -all

         - fwd.test
         fwd.test TXT v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all
         fwd.test MX 10 in.test
         in.test A 192.0.2.77
         = bad mx fwd.test: rewritten senders are in this domain, and its mail does not come to us (it goes to in.test): bounces are lost … ► fwd.test. IN MX 10 mx.fwd.test.

         - fwd.test
         fwd.test TXT v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all
         fwd.test MX 0 .
         = bad mx fwd.test: rewritten senders are in this domain, and its mail does not come to us (domain takes no mail (null MX)): bounces are lost … ► fwd.test. IN MX 10 mx.fwd.test.

         - fwd.test
         fwd.test TXT v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all
         fwd.test MX 10 in.test
         fwd.test MX 20 ill.test
         in.test A 192.0.2.77
         ill.test SERVFAIL
         = unknown mx fwd.test: cannot be found out:  … ► -

         - h.test
         h.test MX 10 in.test
         in.test A 192.0.2.77
         = risky mx hosted domains: 1 of 1 have no MX that leads to us, so their mail never comes here: h.test … ► h.test. IN MX 10 mx.fwd.test.

         - h.test
         h.test SERVFAIL
         = unknown mx hosted domains: cannot be found out: DNS has no answer for h.test … ► -",
    )
    .await;
}

/// What is to be published is what was, and our addresses; two records are merged.
#[tokio::test]
async fn spf_covers_every_address() {
    check(
        "- fwd.test
         fwd.test MX 10 mx.fwd.test
         fwd.test TXT v=spf1 ip4:192.0.2.10 -all
         = bad spf fwd.test: it does not let 2001:db8::10 send ( … ► fwd.test. IN TXT \"v=spf1 ip6:2001:db8::10 ip4:192.0.2.10 -all\"

         - fwd.test
         fwd.test MX 10 mx.fwd.test
         fwd.test TXT V=SPF1 ip6:2001:db8::/48 ~all
         = bad spf fwd.test: it does not let 192.0.2.10 send ( … ► fwd.test. IN TXT \"v=spf1 ip4:192.0.2.10 ip6:2001:db8::/48 ~all\"

         - fwd.test
         fwd.test MX 10 mx.fwd.test
         fwd.test TXT unrelated
         = bad spf fwd.test: it does not let 192.0.2.10, 2001:db8::10 send ( … ► fwd.test. IN TXT \"v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 ~all\"

         fwd.test TXT v=spf1 -all
         = bad spf fwd.test: it does not let 192.0.2.10, 2001:db8::10 send (permerror:  … ► fwd.test. IN TXT \"v=spf1 mx -all\"

         - fwd.test
         fwd.test MX 10 mx.fwd.test
         fwd.test TXT v=spf1 include:ill.test -all
         ill.test SERVFAIL
         = unknown spf fwd.test:  … ► -",
    )
    .await;
}

#[tokio::test]
async fn names_of_addresses() {
    let cases = "- PTR4
         = bad ptr 192.0.2.10: has no name (PTR) … ► PTR4. IN PTR mx.fwd.test.

         - PTR6
         = bad ptr 2001:db8::10: has no name (PTR) … ► PTR6. IN PTR mx.fwd.test.

         - PTR6
         PTR6 PTR x.test
         x.test AAAA 2001:db8::11
         = bad ptr 2001:db8::10: its name (PTR) is x.test, and x.test is not … ► PTR6. IN PTR mx.fwd.test.

         - PTR6
         PTR6 PTR x.test
         x.test AAAA 2001:db8::10
         = risky ptr 2001:db8::10: its name (PTR) is x.test, and EHLO says mx.fwd.test … ► PTR6. IN PTR mx.fwd.test.

         - PTR6
         PTR6 SERVFAIL
         = unknown ptr 2001:db8::10:  … ► -

         PTR4 SERVFAIL
         = unknown ptr 192.0.2.10:  … ► -

         - mx.fwd.test
         - fwd.test
         mx.fwd.test A 192.0.2.10
         fwd.test MX 10 mx.fwd.test
         fwd.test TXT v=spf1 mx ip6:2001:db8::10 -all
         = bad ptr 2001:db8::10: its name (PTR) is mx.fwd.test, and … ► PTR6. IN PTR mx.fwd.test.
         = bad hello mx.fwd.test 2001:db8::10: EHLO says this name … ► mx.fwd.test. IN AAAA 2001:db8::10";
    let cases = cases.replace("PTR4", PTR4).replace("PTR6", PTR6);
    check(&cases).await;
}

#[tokio::test]
async fn blocklists() {
    check(
        "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test A 127.0.0.2
         = bad dnsbl 2001:db8::10: is on bl … ► -

         10.2.0.192.bl.test A 127.0.0.2
         = bad dnsbl 192.0.2.10: is on bl … ► -

         10.2.0.192.bl.test A 127.255.255.254
         = unknown dnsbl 192.0.2.10: cannot be found out: bl answers 127.255.255.254 … ► -

         bl.test SERVFAIL
         = unknown dnsbl 192.0.2.10:  … ► -
         = unknown dnsbl 2001:db8::10:  … ► -",
    )
    .await;
}

#[tokio::test]
async fn keys() {
    let ours = key().record().unwrap();
    let line = key().zone_line().unwrap();
    let name = "s1._domainkey.fwd.test";
    for (record, expected) in [
        (
            format!("TXT {}", ours.replace("p=", "p= ").replace("; ", " ;")),
            None,
        ),
        ("TXT other".to_owned(), Some(("bad", &*line))),
        (
            "TXT v=DKIM1; k=ed25519; p=AAAA".to_owned(),
            Some(("bad", &line)),
        ),
        (format!("TXT {ours}; t=s:y"), Some(("risky", &line))),
        (
            format!("TXT {ours}\n{name} TXT {ours}x"),
            Some(("bad", &line)),
        ),
        ("A 192.0.2.1".to_owned(), Some(("bad", &line))),
        ("SERVFAIL".to_owned(), Some(("unknown", "-"))),
    ] {
        let dns = Dns::start(&format!("{WELL}\n{name} {record}")).await;
        let mut facts = facts("");
        let routing = Arc::get_mut(&mut facts.routing).unwrap();
        let keys = Arc::get_mut(&mut routing.keys).unwrap();
        keys.named.insert("main".into(), key());
        let found = lines(&findings(&dns, &facts).await);
        let Some((status, end)) = expected else {
            assert!(found.is_empty(), "{record}: {found:?}");
            continue;
        };
        assert!(
            found[0].starts_with(&format!("{status} dkim {name}: ")) && found[0].ends_with(end),
            "{record}: {found:?}"
        );
    }
    let made = Key::generate(
        "a.test".parse().unwrap(),
        "s".parse().unwrap(),
        Kind::Rsa2048,
    );
    assert!(
        made.unwrap().0.record().unwrap().len() > 255,
        "a key that takes two strings"
    );
}

#[tokio::test]
async fn the_way_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap().port();
    // Dropped at once, so that nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr());
    let closed = closed.unwrap().port();
    let there = "big.test MX 10 mx.big.test\nmx.big.test A 127.0.0.1";
    for (zone, port, expected) in [
        (there, closed, "bad way-out"),
        ("big.test MX 10 mx.big.test", closed, "unknown way-out"),
        ("big.test SERVFAIL", closed, "unknown way-out"),
        (there, open, "good way-out"),
    ] {
        let dns = Dns::start(zone).await;
        let mut facts = facts("");
        facts.way_out = Some(WayOut {
            domain: "big.test".parse().unwrap(),
            port,
            sources: vec!["127.0.0.1".parse().unwrap()],
        });
        let found = reach::check(&resolver(&dns), &facts).await;
        let found = found
            .iter()
            .map(|finding| format!("{} {}", finding.status.name(), finding.check));
        assert_eq!(found.collect::<Vec<_>>(), [expected], "{zone} {port}");
    }
}

/// A zone may be written by somebody who wants to keep us busy: names that never end, answers that fill a message, a thousand hosts.
#[tokio::test]
async fn hostile_zones_are_bounded() {
    let mut zone = WELL.replace("fwd.test TXT v=spf1 mx -all\n", "");
    zone.push_str("h.test CNAME loop.test\nloop.test CNAME h.test\n");
    zone.push_str(&format!(
        "fwd.test TXT v=spf1 {} -all\n",
        "exists:a.test ".repeat(4000)
    ));
    for host in 0..300 {
        zone.push_str(&format!("many.test MX 10 m{host}.test\n"));
    }
    let mut forwards = String::from("@h.test x@y.test\n@many.test x@y.test\n");
    (0..1000).for_each(|n| forwards.push_str(&format!("@d{n}.test x@y.test\n")));
    let dns = Dns::start(&zone).await;
    let begun = Instant::now();
    let found = findings(&dns, &facts(&forwards)).await;
    assert!(begun.elapsed() < EACH_WITHIN, "{:?}", begun.elapsed());
    let octets: usize = found
        .iter()
        .map(|finding| finding.text.len() + finding.publish.as_ref().map_or(0, String::len))
        .sum();
    assert!(octets < 20_000, "{octets}");
    let asked: usize = (0..300)
        .map(|host| dns.asked(&format!("m{host}.test"), "A"))
        .sum();
    assert!(asked <= 10, "{asked}");
    let told = lines(&found);
    assert!(
        told.iter()
            .any(|line| line.starts_with("bad spf fwd.test: ")),
        "{told:#?}"
    );
    assert!(
        told.iter()
            .any(|line| line.starts_with("unknown mx 802 more: ")),
        "{told:#?}"
    );
}

#[tokio::test]
async fn a_resolver_that_takes_dnssec_away() {
    let signed = testkit::signed::SignedDns::start("").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signed.anchor()).unwrap();
    let plain = Dns::start(WELL).await;
    for (server, expected) in [
        (signed.address(), Health::Good),
        (plain.address(), Health::Bad),
    ] {
        let resolver = Hickory::new(&Settings {
            servers: vec![server],
            dnssec: true,
            trust_anchor: Some(file.path().to_owned()),
            ..Settings::default()
        });
        let found = records::check(&resolver.unwrap(), &facts("")).await;
        let found = found.iter().find(|finding| finding.check == "dnssec");
        assert_eq!(found.map(|found| found.status), Some(expected));
    }
}
