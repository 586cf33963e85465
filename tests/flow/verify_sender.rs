//! Sender verify: the sender's own server is asked whether it takes mail for the sender, and only its plain "no such address"
//! is held against the sender.

use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::sender::Plain;

use crate::{relay, relay_called};

/// The reply to a recipient of mail from this sender.
async fn rcpt(relay: &Relay, from: &str, to: &str) -> String {
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect(&format!("MAIL FROM:<{from}>"), "250").await;
    let reply = plain.command(&format!("RCPT TO:<{to}>")).await;
    plain.quit().await;
    reply.trim_end().to_owned()
}

const FORWARDS: &str = "example.test :domain: verify_sender=reject sender_exempt=friends
    alice@example.test alice@target.test
    bob@example.test bob@target.test verify_sender=off\n";

fn verifying(net: &Net) -> Setup {
    let setup = relay(net, FORWARDS);
    setup.write("friends", "friend.test\n");
    setup.set("list", "[{ name = \"friends\", file = \"friends\" }]")
}

/// The sender, and what is said of it; empty: it is taken.
#[rustfmt::skip]
const SENDERS: [(&str, &str); 15] = [
    ("", ""),
    ("ann@yes.test", ""),
    ("ann@later.test", ""),
    ("ann@policy.test", ""),
    ("ann@no-null.test", ""),
    ("ann@blocked.test", ""),
    ("ann@exempt.test", ""),
    ("ann@friend.test", ""),
    ("ann@down.test", ""),
    ("ann@ill.test", ""),
    ("ann@no.test", "asked about <ann@no.test>, its mail server mx.no.test says: \"550 5.1.1 no such user\""),
    ("ann@null.test", "no mail can be sent to <ann@null.test>: null.test takes no mail (null MX)"),
    ("ann@nowhere.test", "no mail can be sent to <ann@nowhere.test>: no such domain: nowhere.test"),
    // Of our own addresses the forwards tell.
    ("bob@example.test", ""),
    ("nobody@example.test", "no mail can be sent to <nobody@example.test>: no such address here"),
];

#[tokio::test]
async fn a_sender_that_does_not_exist_is_refused_and_nobody_else() {
    let net = Net::new().await;
    let no_such = "rcpt: 550 5.1.1 no such user";
    let no = net.sink("no.test", no_such).await;
    let exempt = net.sink("exempt.test", no_such).await;
    let friend = net.sink("friend.test", no_such).await;
    let mut sinks = Vec::new();
    for (domain, script) in [
        ("later.test", "rcpt: 450 4.7.1 later"),
        ("policy.test", "rcpt: 550 5.7.1 no callouts"),
        ("no-null.test", "mail: 550 5.1.1 no bounces here"),
        ("blocked.test", "greeting: 554 5.7.1 you are listed"),
        ("yes.test", ""),
    ] {
        sinks.push(net.sink(domain, script).await);
    }
    // Nobody listens there.
    net.publish("down.test", net.address());
    net.dns.add("null.test MX 0 .\nill.test SERVFAIL");
    let egress = "{ name = \"v\", addresses = [\"127.0.0.77\"], hello = \"verify.fwd.test\" }";
    let relay = verifying(&net)
        .set("verify.exempt_mx", "[\"*.exempt.test\"]")
        .set("verify.egress", "\"v\"")
        .set("egress", &format!("[{egress}]"))
        .start()
        .await;
    // The second time from memory.
    for (from, refusal) in SENDERS.iter().chain(&SENDERS) {
        let reply = rcpt(&relay, from, "alice@example.test").await;
        let is_as_expected = match *refusal {
            "" => reply.starts_with("250"),
            why => reply.starts_with("550") && reply.ends_with(&format!("sender refused: {why}")),
        };
        assert!(is_as_expected, "{from}: {reply}");
        let off = rcpt(&relay, from, "bob@example.test").await;
        assert!(off.starts_with("250"), "{from}: {off}");
    }
    let [.., yes] = &sinks[..] else {
        unreachable!("there are five")
    };
    assert_eq!((yes.connections(), no.connections()), (1, 1));
    assert_eq!((exempt.connections(), friend.connections()), (0, 0));
    let asked = yes.transcript().join("\n");
    assert!(asked.contains("EHLO verify.fwd.test"), "{asked}");
    assert!(asked.contains("MAIL FROM:<>"), "{asked}");
    assert!(!asked.contains("DATA"), "{asked}");
    let line = relay.wait_for("callout-refused sender=ann@no.test").await;
    assert_eq!(line.text("reply"), "550 5.1.1 no such user");
    assert!(line.text("host").starts_with("mx.no.test["), "{line:?}");
    relay.wait_for("callout-exists sender=ann@yes.test").await;
    relay
        .wait_for("callout-unknown sender=ann@blocked.test")
        .await;
    relay.wait_for_count(1, "callout-exists").await;
    let refused = "refused rule=verify-sender from=<ann@no.test>";
    relay.wait_for_count(2, refused).await;
}

#[tokio::test]
async fn a_tarpit_costs_its_time_limit_once() {
    let net = Net::new().await;
    let tarpit = net.sink("mute.test", "greeting: wait 60s").await;
    let relay = verifying(&net)
        .set("verify.timeout", "\"1s\"")
        .start()
        .await;
    for from in ["a@mute.test", "b@mute.test", "c@mute.test"] {
        let reply = rcpt(&relay, from, "alice@example.test").await;
        assert!(reply.starts_with("250"), "{from}: {reply}");
    }
    assert_eq!(tarpit.connections(), 1);
    let line = relay.wait_for("callout-unknown sender=a@mute.test").await;
    // Which of the two limits ends it first is up to the machine.
    let reasons = [
        "no answer in time",
        "timed out while waiting for the greeting",
    ];
    assert!(reasons.contains(&&*line.text("reason")), "{line:?}");
}

/// Each asks the other about its senders; the question itself has none.
#[tokio::test]
async fn two_relays_that_verify_each_other() {
    let net = Net::new().await;
    let start = async |name: &str, hosted: &str, forwards: String| {
        let address = net.address();
        net.publish(hosted, address);
        let listener = format!("bind = \"{address}\"");
        let setup = relay_called(name, &net, &forwards).listener(&listener);
        setup.start().await
    };
    let domain = |name: &str| format!("{name} :domain: verify_sender=reject\n");
    let first = domain("a.test") + "ann@a.test ann@target.test\n";
    let first = start("fwd-a.test", "a.test", first).await;
    let second = domain("b.test") + "bob@b.test bob@target.test\n";
    let second = start("fwd-b.test", "b.test", second).await;
    assert!(
        rcpt(&first, "bob@b.test", "ann@a.test")
            .await
            .starts_with("250")
    );
    assert!(
        rcpt(&second, "ann@a.test", "bob@b.test")
            .await
            .starts_with("250")
    );
    let refused = rcpt(&first, "nobody@b.test", "ann@a.test").await;
    assert!(
        refused.contains("\"550 5.1.1 no such address here\""),
        "{refused}"
    );
    // A domain whose MX we are, and which we do not host: nobody to ask.
    net.publish("lost.test", first.address());
    assert!(
        rcpt(&first, "x@lost.test", "ann@a.test")
            .await
            .starts_with("250")
    );
    first.wait_for("callout-refused sender=nobody@b.test").await;
    first.wait_for_count(1, "callout-exists").await;
    second.wait_for_count(1, "callout-exists").await;
    assert_eq!(second.count("callout-refused"), 0);
}
