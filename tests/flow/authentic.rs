//! What is found out about a sender is told on top of the message, decides where its domain chose so, and is kept.

use testkit::daemon::Relay;
use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::relay;

const RECORDS: &str = "
    sender.test        TXT v=spf1 ip4:127.0.0.1 -all
    bank.test          TXT v=spf1 -all
    client.test        TXT v=spf1 ?all
    _dmarc.bank.test   TXT v=DMARC1; p=reject
    ill.test           SERVFAIL
";

/// With `default` as its profile; the measures as TOML writes them.
async fn with(net: &Net, measures: &str, forwards: &str) -> Relay {
    net.dns.add(RECORDS);
    let profile = format!("[{{ name = \"default\", {measures} }}]");
    let setup = relay(net, forwards).set("profile", &profile);
    setup.set("bounce.to", "\"proved\"").start().await
}

async fn send_from(relay: &Relay, sender: &str, body: &str) {
    let to = ["alice@example.test"];
    send(relay.address(), sender, &to, body.as_bytes()).await;
}

/// The fields of ours on top of a message.
fn results(text: &str) -> String {
    let (fields, _) = text.split_once("Received: from").unwrap_or_default();
    fields.replace("\r\n\t", " ").replace("\r\n", "\n")
}

#[tokio::test]
async fn results_are_told_on_top() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let forwards = "alice@example.test alice@target.test\n";
    let measures = "spf = \"mark\", dmarc = \"mark\"";
    let relay = with(&net, measures, forwards).await;
    let forged = "Authentication-Results: mx.fwd.test; spf=pass smtp.mailfrom=x@bank.test\r\n";
    let rest = "From: ann@bank.test\r\nAuthentication-Results: other.test; none\r\n\r\nhello\r\n";
    send_from(&relay, "x@bank.test", &format!("{forged}{rest}")).await;
    let text = target.message().await.text();
    let told = results(&text);
    let expected =
        "Delivered-To: alice@example.test\nAuthentication-Results: mx.fwd.test; spf=fail ";
    assert!(told.starts_with(expected), "{told}");
    for wanted in [
        "smtp.mailfrom=x@bank.test;",
        "spf=neutral smtp.helo=client.test;",
        "dkim=none;",
        "dmarc=fail ",
        "header.from=bank.test policy.dmarc=reject;",
        "arc=none ",
    ] {
        assert!(told.contains(wanted), "no {wanted:?} in {told}");
    }
    assert!(text.ends_with(rest), "{text}");
    relay.wait_for("received stripped=1").await;
    relay
        .wait_for("authenticated spf=fail dmarc=fail origin=forged")
        .await;

    send_from(&relay, "x@ill.test", "From: ann@ill.test\r\n\r\n").await;
    let told = results(&target.messages(2).await[1].text());
    assert!(told.contains("; spf=temperror "), "{told}");
    assert!(told.contains("; dmarc=temperror "), "{told}");
    relay
        .wait_for("authenticated spf=temperror origin=unproved")
        .await;
}

#[tokio::test]
async fn nothing_is_looked_at_unless_a_domain_wants_it() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    net.dns.add(RECORDS);
    let relay = relay(&net, "alice@example.test alice@target.test\n");
    let relay = relay.start().await;
    send_from(&relay, "x@bank.test", "From: ann@bank.test\r\n\r\n").await;
    let text = target.message().await.text();
    assert!(!text.contains("Authentication-Results"), "{text}");
    let asked = ["bank.test", "_dmarc.bank.test"].map(|name| net.dns.asked(name, "TXT"));
    assert_eq!(asked, [0, 0]);
    assert_eq!(relay.count("authenticated"), 0);
}

#[tokio::test]
async fn only_the_legs_of_domains_that_want_it_are_held() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let forwards = "example.test :domain: dmarc=hold\n\
                    alice@example.test alice@target.test\n\
                    bob@other.test bob@target.test\n\
                    carol@other.test alice@target.test\n";
    let relay = with(&net, "spf = \"off\", dmarc = \"off\"", forwards).await;
    let body = "From: ann@bank.test\r\n\r\nhello\r\n";
    let to = ["alice@example.test", "bob@other.test"];
    send(relay.address(), "x@bank.test", &to, body.as_bytes()).await;
    relay.wait_for("delivered to=bob@other.test").await;
    relay
        .wait_for("held to=alice@example.test reason=bank.test")
        .await;
    let page = relay.run_json(&["queue", "list", "--state", "held"]).await;
    let leg = &page["legs"][0];
    assert_eq!(leg["recipient"], "alice@example.test");
    assert_eq!(leg["origin"], "forged");
    let last = leg["last"].as_str().unwrap_or_default();
    assert!(last.contains("held (dmarc=hold): bank.test"), "{leg}");
    relay.run(&["queue", "release", "--all"]).await;
    let messages = target.messages(2).await;
    assert_eq!(messages[1].envelope().1, ["alice@target.test"]);
    // One copy for two recipients, of whom one does not want to wait.
    let to = ["alice@example.test", "carol@other.test"];
    send(relay.address(), "x@bank.test", &to, body.as_bytes()).await;
    relay.wait_for("delivered to=alice@example.test").await;
}

#[tokio::test]
async fn what_was_found_decides_who_gets_a_notice() {
    let net = Net::new().await;
    let _target = net.sink("target.test", "rcpt: 550 5.1.1 unknown").await;
    let _origin = net.sink("sender.test", "").await;
    let forwards = "alice@example.test alice@target.test\n";
    let measures = "spf = \"mark\", dmarc = \"mark\"";
    let relay = with(&net, measures, forwards).await;
    let body = String::from_utf8(mail::short("one")).expect("ASCII");
    send_from(&relay, "x@bank.test", &body).await;
    relay.wait_for("not-bounced reason=forged").await;
    send_from(&relay, "x@sender.test", &body).await;
    relay.wait_for("bounced to=<x@sender.test>").await;
}
