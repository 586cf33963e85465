//! DANE (RFC 7672) from the DNS of a signed root to the next hop: to whom mail goes, and to whom it does not.

use testkit::mail;
use testkit::net::Net;
use testkit::signed::SignedDns;
use testkit::sink::Sink;
use testkit::tls::Identity;

use crate::relay;

/// A domain; the zone it is in; the TLSA records of its host, `FITS` for those of the host's certificate; what the mail log says.
const DOMAINS: [(&str, &str, &str, &str); 10] = [
    ("match.test", "signed", "FITS", "delivered verified=dane"),
    (
        "wrong.test",
        "signed",
        "3 1 1 OTHER",
        "deferred status=4.7.5",
    ),
    (
        "missing.test",
        "signed",
        "",
        "delivered verified=no tls=TLSv1.3",
    ),
    (
        "useless.test",
        "signed",
        "1 1 1 OTHER",
        "delivered verified=no tls=TLSv1.3",
    ),
    (
        "plain.test",
        "unsigned",
        "3 1 1 OTHER",
        "delivered verified=no tls=TLSv1.3",
    ),
    ("forged.test", "bogus", "FITS", "deferred status=4.4.3"),
    ("expired.test", "expired", "FITS", "deferred status=4.4.3"),
    ("clear.test", "signed", "FITS", "deferred status=4.7.5"),
    ("mute.test", "signed", "FITS", "deferred status=4.4.3"),
    ("alias.test", "signed", "", "delivered verified=dane"),
];

#[tokio::test]
async fn whom_mail_goes_to() {
    let net = Net::new().await;
    let (mut zones, mut sinks, mut forwards) = (String::new(), Vec::new(), String::new());
    let port = net.port();
    for (domain, zone, records, _) in DOMAINS {
        let address = net.address();
        // Whose names and dates do not count.
        let identity = Identity::expired("another.test");
        let with_tls = (domain != "clear.test").then_some(&identity);
        sinks.push(Sink::with_tls(address, "", with_tls).await);
        zones += &format!("{domain} ZONE {zone}\n{domain} MX 10 mx.{domain}\n");
        let host = match domain {
            "alias.test" => {
                zones += "mx.alias.test CNAME host.alias.test\n";
                "host.alias.test".to_owned()
            }
            _ => format!("mx.{domain}"),
        };
        zones += &format!("{host} A {}\n", address.ip());
        let records = match domain {
            "alias.test" => identity.tlsa(),
            _ => records
                .replace("FITS", &identity.tlsa())
                .replace("OTHER", &"0".repeat(64)),
        };
        if !records.is_empty() {
            zones += &format!("_{port}._tcp.{host} TLSA {records}\n");
        }
        let name = domain.trim_end_matches(".test");
        forwards += &format!("{name}@example.test {name}@{domain}\n");
    }
    let dns = SignedDns::start(&zones).await;
    dns.fail(&format!("_{port}._tcp.mx.mute.test"), "TLSA");
    let setup = relay(&net, &forwards)
        .set("resolver.servers", &format!("[\"{}\"]", dns.address()))
        .set("resolver.dnssec", "true")
        .set("resolver.trust_anchor", "\"root.key\"");
    setup.write("root.key", dns.anchor());
    let relay = setup.start().await;
    for (domain, ..) in DOMAINS {
        let to = domain.replace(".test", "@example.test");
        testkit::sender::send(relay.address(), "", &[&to], &mail::short("one")).await;
    }
    for (domain, _, _, expected) in DOMAINS {
        let (event, fields) = expected.split_once(' ').unwrap();
        let to = domain.replace(".test", "@example.test");
        relay.wait_for(&format!("{event} to={to} {fields}")).await;
    }
    let told = relay.run(&["explain", "--to", "match@example.test"]).await;
    assert!(told.contains(", TLS dane\n"), "{told}");
    for ((domain, _, _, expected), sink) in DOMAINS.iter().zip(&sinks) {
        let got = sink.received().len();
        assert_eq!(
            got,
            usize::from(expected.starts_with("delivered")),
            "{domain}"
        );
    }
}

/// The host that does not prove itself is passed over for one that does.
#[tokio::test]
async fn the_next_host_may_do() {
    let net = Net::new().await;
    let (identity, port) = (Identity::new("mx.to.test"), net.port());
    let (bad, good) = (net.address(), net.address());
    let zones = format!(
        "to.test ZONE signed
         to.test MX 10 bad.to.test
         to.test MX 20 good.to.test
         bad.to.test A {}
         good.to.test A {}
         _{port}._tcp.bad.to.test TLSA 3 1 1 {}
         _{port}._tcp.good.to.test TLSA {}",
        bad.ip(),
        good.ip(),
        "0".repeat(64),
        identity.tlsa(),
    );
    let dns = SignedDns::start(&zones).await;
    let bad = Sink::with_tls(bad, "", Some(&identity)).await;
    let good = Sink::with_tls(good, "", Some(&identity)).await;
    let setup = relay(&net, "a@example.test a@to.test\n")
        .set("resolver.servers", &format!("[\"{}\"]", dns.address()))
        .set("resolver.dnssec", "true")
        .set("resolver.trust_anchor", "\"root.key\"");
    setup.write("root.key", dns.anchor());
    let relay = setup.start().await;
    testkit::sender::send(
        relay.address(),
        "",
        &["a@example.test"],
        &mail::short("one"),
    )
    .await;
    assert!(good.message().await.tls);
    relay
        .wait_for("delivered host=good.to.test verified=dane")
        .await;
    assert_eq!(bad.received().len(), 0);
    assert!(bad.connections() > 0);
}
