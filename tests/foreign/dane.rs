//! DANE over zones that knot signs and unbound resolves: we deliver where Postfix's posttls-finger says "Verified", and nowhere else.

use std::fs;
use std::path::Path;

use testkit::net::Net;
use testkit::program::{self, Running};
use testkit::sink::Sink;
use testkit::tls::Identity;

use crate::relay;

/// A host of the signed zone, its TLSA records, and whether mail goes there. posttls-finger judges each of them, too.
const HOSTS: [(&str, &str, bool); 7] = [
    ("own", "FITS", true),
    ("other", "3 1 1 OTHER", false),
    ("both", "3 1 1 OTHER;FITS", true),
    ("strong", "3 1 2 OTHEROTHER;FITS", false),
    ("authority", "2 1 1 OTHER", false),
    ("alias", "", true),
    ("none", "", true),
];

#[tokio::test]
#[ignore = "needs knot, unbound, postfix: ./test.sh installs and runs"]
async fn as_postfix_judges() {
    // Port 53, and a /etc/resolv.conf of one's own.
    if !program::are_root() {
        eprintln!("only root can give posttls-finger a resolver: not run");
        return;
    }
    let net = Net::new().await;
    let port = net.port();
    let folder = tempfile::tempdir().expect("a folder");
    let (mut zone, mut sinks, mut forwards) = (ZONE.to_owned(), Vec::new(), String::new());
    for (host, records, _) in HOSTS {
        let address = net.address();
        let identity = Identity::new(&format!("mx.{host}.dane.test"));
        sinks.push(Sink::with_tls(address, "", Some(&identity)).await);
        let (owner, records) = match host {
            "alias" => ("real.alias", identity.tlsa()),
            _ => {
                let records = records.replace("FITS", &identity.tlsa());
                (
                    &*format!("mx.{host}"),
                    records.replace("OTHER", &"0".repeat(64)),
                )
            }
        };
        zone += &format!("{host} MX 10 mx.{host}\n{owner} A {}\n", address.ip());
        if host == "alias" {
            zone += "mx.alias CNAME real.alias\n";
        }
        for record in records.split(';').filter(|record| !record.is_empty()) {
            zone += &format!("_{port}._tcp.{owner} TLSA {record}\n");
        }
        forwards += &format!("{host}@example.test {host}@{host}.dane.test\n");
    }
    fs::write(folder.path().join("dane.test.zone"), zone).expect("a file for a daemon");
    let (signing, resolving) = (net.address(), net.address());
    let (_knot, anchor) = knot(folder.path(), &signing.to_string().replace(':', "@")).await;
    let _unbound = unbound(
        folder.path(),
        &resolving.ip().to_string(),
        &signing.to_string().replace(':', "@"),
    );
    let setup = relay(&net, &forwards)
        .set("resolver.servers", &format!("[\"{}:53\"]", resolving.ip()))
        .set("resolver.dnssec", "true")
        .set("resolver.trust_anchor", "\"root.key\"");
    setup.write("root.key", &anchor);
    let relay = setup.start().await;
    for (host, ..) in HOSTS {
        let to = format!("{host}@example.test");
        testkit::sender::send(relay.address(), "", &[&to], &testkit::mail::short("one")).await;
    }
    for (host, records, is_delivered) in HOSTS {
        let is_dane = !records.is_empty() || host == "alias";
        let postfix = finger(
            folder.path(),
            &resolving.ip().to_string(),
            &format!("{host}.dane.test:{port}"),
        )
        .await;
        let says_verified = postfix.contains("Verified TLS connection established");
        assert_eq!(says_verified, is_dane && is_delivered, "{host}: {postfix}");
        let expected = match (is_delivered, is_dane) {
            (true, true) => "delivered verified=dane",
            (true, false) => "delivered verified=no",
            (false, _) => "deferred status=4.7.5",
        };
        relay
            .wait_for(&format!("{expected} to={host}@example.test"))
            .await;
    }
}

/// Signs and serves the zone; and the zone's key as a trust anchor.
async fn knot(folder: &Path, listen: &str) -> (Running, String) {
    let conf = folder.join("knot.conf");
    let text = KNOT.replace("FOLDER", &folder.display().to_string());
    fs::write(&conf, text.replace("LISTEN", listen)).expect("a file for a daemon");
    let conf = conf.display().to_string();
    let running = program::start("/usr/sbin/knotd", &["-c", &conf]);
    let deadline = tokio::time::Instant::now() + testkit::PATIENCE;
    loop {
        let keys = program::run(
            "/usr/sbin/keymgr",
            &["-c", &conf, "dane.test", "dnskey"],
            b"",
        )
        .await;
        if let Some(anchor) = keys.stdout.lines().find(|line| line.contains("DNSKEY")) {
            let anchor = anchor.replace("DNSKEY", "60 IN DNSKEY") + "\n";
            fs::write(folder.join("anchor"), &anchor).expect("a file for a daemon");
            return (running, anchor);
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "knot: {}",
            keys.stderr
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn unbound(folder: &Path, listen: &str, knot: &str) -> Running {
    let conf = folder.join("unbound.conf");
    let text = UNBOUND.replace("FOLDER", &folder.display().to_string());
    fs::write(&conf, text.replace("LISTEN", listen).replace("KNOT", knot))
        .expect("a file for a daemon");
    program::start(
        "/usr/sbin/unbound",
        &["-d", "-c", &conf.display().to_string()],
    )
}

/// What posttls-finger says of a domain, with a `/etc/resolv.conf` that only it sees.
async fn finger(folder: &Path, resolver: &str, domain: &str) -> String {
    let resolv = folder.join("resolv.conf");
    fs::write(
        &resolv,
        format!("nameserver {resolver}\noptions trust-ad edns0\n"),
    )
    .expect("a file for a daemon");
    fs::write(folder.join("main.cf"), "compatibility_level = 3.6\n").expect("a file for a daemon");
    let script = format!(
        "mount --bind {} /etc/resolv.conf && MAIL_CONFIG={} exec /usr/sbin/posttls-finger -t 20 -l dane -L summary {domain}",
        resolv.display(),
        folder.display(),
    );
    let done = program::run("/usr/bin/unshare", &["-m", "sh", "-c", &script], b"").await;
    done.stdout + &done.stderr
}

const ZONE: &str =
    "$ORIGIN dane.test.\n$TTL 60\n@ SOA ns root 1 3600 600 86400 30\n@ NS ns\nns A 127.0.0.1\n";
const KNOT: &str = "
server:
    rundir: FOLDER
    listen: LISTEN
database:
    storage: FOLDER
policy:
  - id: one-key
    algorithm: ecdsap256sha256
    single-type-signing: on
zone:
  - domain: dane.test
    storage: FOLDER
    file: dane.test.zone
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: all
    dnssec-signing: on
    dnssec-policy: one-key
";
const UNBOUND: &str = "
server:
    interface: LISTEN@53
    port: 53
    username: \"\"
    chroot: \"\"
    directory: FOLDER
    pidfile: \"\"
    do-daemonize: no
    use-syslog: no
    do-not-query-localhost: no
    trust-anchor-file: FOLDER/anchor
    local-zone: \"test.\" nodefault
    access-control: 127.0.0.0/8 allow
stub-zone:
    name: dane.test
    stub-addr: KNOT
remote-control:
    control-enable: no
";
