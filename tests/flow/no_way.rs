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
    let failed = relay
        .wait_for("failed target=i@inside.test status=5.4.4")
        .await;
    let address = inside.address().ip();
    assert!(
        failed.text("host").ends_with(&format!("[{address}]")),
        "{failed:?}"
    );
    assert!(failed.text("reason").contains("delivery.allow_loopback"));
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn dns_does_not_lead_us_into_the_operators_network() {
    let net = Net::new().await;
    net.dns.add(
        "inside.test A 10.11.12.13
round.test AAAA 64:ff9b::a0b:c0d",
    );
    let forwards = "i@example.test i@inside.test\nr@example.test r@round.test\n";
    let relay = relay(&net, forwards).start().await;
    for (to, address) in [
        ("i", "inside.test[10.11.12.13]"),
        ("r", "round.test[64:ff9b::a0b:c0d]"),
    ] {
        origin_sends(&relay, &format!("{to}@example.test"), "one").await;
        let failed = relay
            .wait_for(&format!("failed to={to}@example.test status=5.4.4"))
            .await;
        assert_eq!(failed.text("host"), address);
        assert!(
            failed.text("reason").contains("delivery.allow_private"),
            "{failed:?}"
        );
    }
}
