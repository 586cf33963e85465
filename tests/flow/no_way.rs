//! Domains without a way: null MX, no such domain, DNS trouble, no address.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::{origin_sends, relay};

#[tokio::test]
async fn domains_without_a_way() {
    let net = Net::new().await;
    let origin = net.sink("sender.test", "").await;
    net.dns
        .add("null.test MX 0 .\nbroken.test SERVFAIL\nnobody.test TXT nothing else");
    let forwards = "n@example.test n@null.test\nm@example.test m@missing.test\n\
                    b@example.test b@broken.test\ne@example.test e@nobody.test\n";
    let relay = relay(&net, forwards).start().await;
    let to = [
        "n@example.test",
        "m@example.test",
        "b@example.test",
        "e@example.test",
    ];
    send(
        relay.address(),
        "origin@sender.test",
        &to,
        &mail::short("one"),
    )
    .await;
    relay
        .wait_for("failed to=n@example.test status=5.1.10")
        .await;
    relay
        .wait_for("failed to=m@example.test status=5.1.2")
        .await;
    relay
        .wait_for("deferred to=b@example.test status=4.4.3")
        .await;
    relay.wait_for("failed to=e@example.test status=5.").await;
    let text = origin.message().await.text();
    assert!(
        text.contains("Action: failed") && !text.contains("null.test"),
        "{text}"
    );
    net.dns.remove("broken.test");
    let late = net.sink("broken.test", "").await;
    assert_eq!(late.message().await.to(), ["b@broken.test"]);
}

#[tokio::test]
async fn dns_does_not_lead_us_to_what_listens_on_this_machine() {
    let net = Net::new().await;
    let inside = net.sink("inside.test", "").await;
    let relay = relay(&net, "i@example.test i@inside.test\n")
        .set("delivery.allow_loopback", "false")
        .start()
        .await;
    origin_sends(&relay, "i@example.test", "one").await;
    relay
        .wait_for("failed target=i@inside.test status=5.4.4")
        .await;
    assert_eq!(inside.connections(), 0);
}
