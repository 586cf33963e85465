//! Destinations without an MX: implicit MX, alias, static route; a smarthost that wants a password; a mail store.

use testkit::daemon::Setup;
use testkit::net::Net;
use testkit::sink::Sink;
use testkit::tls::Identity;
use tokio::net::{TcpStream, UnixListener};

use crate::{origin_sends, relay};

#[tokio::test]
async fn implicit_mx_alias_and_route() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let routed = Sink::start("127.0.0.1:0".parse().expect("an address"), "").await;
    net.dns.add(&format!(
        "bare.test A {}\nalias.test CNAME target.test",
        sink.address().ip()
    ));
    let forwards =
        "b@example.test b@bare.test\na@example.test a@alias.test\nr@example.test r@routed.test\n";
    let route = format!(
        "[{{ domain = \"routed.test\", host = \"{}\" }}]",
        routed.address()
    );
    let relay = relay(&net, forwards)
        .set("delivery.route", &route)
        .start()
        .await;
    for to in ["b@example.test", "a@example.test", "r@example.test"] {
        origin_sends(&relay, to, "one").await;
    }
    let got = sink.messages(2).await;
    let mut to: Vec<_> = got.iter().flat_map(|got| got.to()).collect();
    to.sort_unstable();
    assert_eq!(to, ["a@alias.test", "b@bare.test"]);
    assert_eq!(routed.message().await.to(), ["r@routed.test"]);
    assert_eq!(net.dns.asked("routed.test", "MX"), 0);
}

/// A relay that sends everything through a smarthost `mx.smart.test`, of which it trusts the certificate.
async fn smarthost(net: &Net, script: &str, more: &str) -> (Sink, Setup) {
    let identity = Identity::new("mx.smart.test");
    let sink = Sink::with_tls(net.address(), script, Some(&identity)).await;
    net.publish("smart.test", sink.address());
    let setup = relay(net, "a@example.test a@target.test\n")
        .set("delivery.ca", "\"ca.pem\"")
        .set("delivery.probe_first", "\"1h\"")
        .set("delivery.probe_longest", "\"1h\"")
        .set("delivery.route", &format!(
            "[{{ domain = \"*\", host = [\"{}\", \"mx.smart.test\"], auth = \"smart\"{more} }}]",
            net.address()
        ));
    setup.write("ca.pem", &identity.certificate_pem);
    setup.write("smart", "us:secret\n");
    (sink, setup)
}

fn logins(sink: &Sink) -> Vec<String> {
    let lines = sink.transcript().into_iter();
    let logins = lines.filter_map(|line| Some(line.split_once("AUTH PLAIN ")?.1.to_owned()));
    logins.collect()
}

/// Nobody listens at the first host. At the second the password is taken when it is right, which it is after a reload.
#[tokio::test]
async fn a_smarthost_with_a_password() {
    let net = Net::new().await;
    let script = "offer: AUTH=PLAIN\nauth first 1: 535 5.7.8 wrong";
    let (sink, setup) = smarthost(&net, script, "").await;
    let relay = setup.start().await;
    origin_sends(&relay, "a@example.test", "one").await;
    let deferred = relay.wait_for("deferred target=a@target.test").await;
    assert_eq!(deferred.text("reply"), "535 5.7.8 wrong");
    let down = relay.wait_for("site-down").await;
    let site = relay.run(&["site", "show", &down.text("site")]).await;
    assert!(
        site.contains("535 5.7.8 wrong") && site.contains("mx.smart.test"),
        "{site}"
    );
    let explained = relay.run(&["explain", "--to", "a@example.test"]).await;
    assert!(
        explained.contains(", TLS verified, login by /"),
        "{explained}"
    );

    relay.setup().write("smart", "no colon");
    relay.reload();
    let failed = relay.wait_for("reload-failed").await;
    assert!(failed.text("error").contains("name:password"), "{failed}");
    relay.setup().write("smart", "us:right\n");
    relay.reload();
    relay.wait_for("reloaded").await;
    relay.run(&["queue", "retry", "--all"]).await;
    let delivered = relay.wait_for("delivered target=a@target.test").await;
    assert_eq!(delivered.text("tls"), "TLSv1.3");
    assert!(sink.message().await.tls);
    // "\0us\0secret" and "\0us\0right".
    assert_eq!(logins(&sink), ["AHVzAHNlY3JldA==", "AHVzAHJpZ2h0"]);
    assert_eq!(
        relay
            .events()
            .iter()
            .filter(|event| event.to_string().contains("secret"))
            .count(),
        0
    );
}

/// With a certificate that proves nothing, nobody learns it.
#[tokio::test]
async fn a_password_is_not_told_to_a_stranger() {
    let net = Net::new().await;
    let (sink, setup) = smarthost(&net, "offer: AUTH=PLAIN", "").await;
    setup.write("ca.pem", &Identity::new("mx.smart.test").certificate_pem);
    let relay = setup.start().await;
    origin_sends(&relay, "a@example.test", "one").await;
    relay.wait_for("deferred target=a@target.test").await;
    assert_eq!(logins(&sink), [""; 0]);
}

/// Nor in clear.
#[tokio::test]
async fn a_password_is_not_told_without_tls() {
    let net = Net::new().await;
    let script = "offer: AUTH=PLAIN\nstarttls: 454 4.7.0 not now";
    let (clear, setup) = smarthost(&net, script, ", tls = \"required\"").await;
    let relay = setup.start().await;
    origin_sends(&relay, "a@example.test", "one").await;
    relay.wait_for("deferred target=a@target.test").await;
    assert_eq!(logins(&clear), [""; 0]);
}

/// A verdict for each recipient, over a socket of this machine.
#[tokio::test]
async fn a_mail_store() {
    let net = Net::new().await;
    let script = "rcpt for none@: 550 5.1.1 unknown\ndot for full@: 452 4.2.2 over quota";
    let store = Sink::start(net.address(), script).await;
    let forwards =
        "all@example.test ann@store.test, none@store.test, full@store.test, bob@store.test\n";
    let setup = relay(&net, forwards);
    let path = setup.path("lmtp");
    let listener = UnixListener::bind(&path).expect("a socket");
    let address = store.address();
    let bridge = tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let mut there = TcpStream::connect(address).await.expect("the sink");
            let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
        }
    });
    let host = format!("lmtp:unix:{}", path.display());
    let route = format!("[{{ domain = \"store.test\", host = \"{host}\" }}]");
    let relay = setup
        .set("delivery.route", &route)
        .set("delivery.tls", "\"required\"")
        .start()
        .await;
    origin_sends(&relay, "all@example.test", "one").await;
    for (event, target) in [
        ("delivered", "ann"),
        ("failed", "none"),
        ("deferred", "full"),
        ("delivered", "bob"),
    ] {
        let event = relay.wait_for(&format!("{event} target={target}@")).await;
        assert_eq!(event.text("site"), host);
        assert_eq!(event.text("host"), format!("unix:{}", path.display()));
    }
    let got = store.message().await;
    assert_eq!(got.to(), ["ann@store.test", "bob@store.test"]);
    let commands = store.transcript();
    assert!(
        commands.contains(&"1C: LHLO mx.fwd.test".to_owned()),
        "{commands:?}"
    );
    let site = relay.run(&["site", "show", &host]).await;
    assert!(site.contains(&host), "{site}");
    let explained = relay.run(&["explain", "--to", "all@example.test"]).await;
    assert!(explained.contains(&format!("site {host}")), "{explained}");
    bridge.abort();
}
