//! rbldnsd, which most DNS blocklists run on, answers about clients of both families and about domains.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use dns::Resolver as _;
use testkit::net::Net;
use testkit::program;
use testkit::sender::Plain;

use crate::relay;

const RBLDNSD: &str = "/usr/sbin/rbldnsd";
const ZONES: [(&str, &str, &str); 3] = [
    (
        "v4.test",
        "ip4set",
        ":127.0.0.2:see https://bl.test/$\n192.0.2.7\n192.0.2.128/25 :127.0.0.11:dynamic $\n192.0.2.130 :127.255.255.254:refused\n",
    ),
    ("v6.test", "ip6trie", ":127.0.0.3:v6 $\n2001:db8:1::/48\n"),
    (
        "names.test",
        "dnset",
        ":127.0.1.2:sends spam\nspam.test\n.bulk.test\n",
    ),
];

/// Client, sender, reply.
const CLIENTS: [(&str, &str, &str); 9] = [
    (
        "192.0.2.7",
        "a@sender.test",
        "554 5.7.1 192.0.2.7 is on the blocklist v4: see https://bl.test/192.0.2.7",
    ),
    (
        "192.0.2.200",
        "a@sender.test",
        "554 5.7.1 192.0.2.200 is on the blocklist v4: dynamic 192.0.2.200",
    ),
    ("192.0.2.8", "a@sender.test", "250"),
    ("192.0.2.130", "a@sender.test", "250"),
    (
        "2001:db8:1::7",
        "a@sender.test",
        "554 5.7.1 2001:db8:1::7 is on the blocklist v6: v6 ",
    ),
    ("2001:db8:2::7", "a@sender.test", "250"),
    (
        "192.0.2.8",
        "a@spam.test",
        "554 5.7.1 spam.test is on the blocklist names: sends spam",
    ),
    ("192.0.2.8", "a@x.spam.test", "250"),
    (
        "192.0.2.8",
        "a@x.bulk.test",
        "554 5.7.1 x.bulk.test is on the blocklist names: sends spam",
    ),
];

#[tokio::test]
#[ignore = "needs rbldnsd: ./test.sh installs and runs"]
async fn lists_of_rbldnsd() {
    let net = Net::new().await;
    let folder = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let mut zones = Vec::new();
    for (zone, kind, data) in ZONES {
        let path = folder.path().join(zone);
        fs::write(
            &path,
            format!("$SOA 60 ns.{zone} root.{zone} 1 60 60 60 60\n{data}"),
        )
        .unwrap();
        zones.push(format!("{zone}:{kind}:{}", path.display()));
    }
    let free = program::free();
    let bind = format!("127.0.0.1/{}", free.port());
    // It refuses to run as root, and as anybody else cannot become another.
    let user: &[&str] = match program::are_root() {
        true => &["-u", "nobody"],
        false => &[],
    };
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    let _rbldnsd = program::start(RBLDNSD, &[user, &["-n", "-b", &bind], &zones].concat());
    answers(free).await;

    let lists = "[{ name = \"v4\", zone = \"v4.test\" }, { name = \"v6\", zone = \"v6.test\" }, \
                  { name = \"names\", zone = \"names.test\", kind = \"domain\", answers = [\"127.0.1.2-127.0.1.254\"] }]";
    let profile = "[{ name = \"default\", dnsbl = [\"v4\", \"v6\", \"names\"] }]";
    let table = "bind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.0/8\"]";
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .set("resolver.servers", &format!("[\"{free}\"]"))
        .set("dnsbl", lists)
        .set("profile", profile)
        .listener(table)
        .start()
        .await;
    for (client, sender, expected) in CLIENTS {
        let mut plain = Plain::connect_silently(relay.address()).await;
        let family = if client.contains(':') { 6 } else { 4 };
        let header = format!("PROXY TCP{family} {client} {client} 4711 25\r\n");
        plain.raw(header.as_bytes()).await;
        assert!(plain.reply().await.starts_with("220 "));
        plain.expect("EHLO [192.0.2.8]", "250").await;
        plain.expect(&format!("MAIL FROM:<{sender}>"), "250").await;
        plain.expect("RCPT TO:<alice@example.test>", expected).await;
    }
    assert_eq!(relay.count("dnsbl-down"), 0);
}

/// Waits until the server is there.
async fn answers(server: SocketAddr) {
    let settings = dns::Settings {
        servers: vec![server],
        failures_kept: Duration::from_millis(1),
        ..dns::Settings::default()
    };
    let resolver = dns::Hickory::new(&settings).expect("a resolver");
    let answer = async {
        while resolver.ipv4("7.2.0.192.v4.test").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::time::timeout(testkit::PATIENCE, answer).await;
    answer.expect("rbldnsd answers");
}
