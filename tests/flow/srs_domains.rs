//! SRS by hosted domain: its own SRS domain, none at all; and what may come back to an SRS address.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::{origin_sends, relay};

const FORWARDS: &str = "\
own.test      :domain:              srs_domain=srs.own.test
a@own.test    a@target.test
off.test      :domain:              srs=off
b@off.test    b@target.test
c@other.test  c@target.test
";

#[tokio::test]
async fn each_domain_as_its_line_says() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS)
        .set("srs.accept_nonnull", "true")
        .start()
        .await;
    let mut senders = Vec::new();
    for to in ["a@own.test", "b@off.test", "c@other.test"] {
        origin_sends(&relay, to, "one").await;
        senders.push(target.message().await.from);
    }
    assert!(senders[0].ends_with("=origin@srs.own.test"), "{senders:?}");
    assert_eq!(senders[1], "origin@sender.test");
    assert!(senders[2].ends_with("=origin@fwd.test"), "{senders:?}");

    // A vacation reply of the badly behaved kind: not from <>, but the operator allows it. It is a forward, so its sender is
    // rewritten too.
    let reply = mail::short("reply");
    send(relay.address(), "c@target.test", &[&senders[0]], &reply).await;
    assert_eq!(origin.message().await.to(), ["origin@sender.test"]);
}
