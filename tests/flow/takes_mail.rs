//! A site that says "later" to all and then takes mail again: what waits for it does not wait for its next try.

use testkit::net::Net;

use crate::{origin_sends, relay};

#[tokio::test]
async fn what_waits_for_a_site_comes_when_it_takes_mail_again() {
    let net = Net::new().await;
    let sink = net.sink("busy.test", "rcpt first 12: 450 4.3.2 busy").await;
    let relay = relay(&net, "b@example.test b@busy.test\n")
        .set("queue.retry", "[\"1h\"]")
        .start()
        .await;
    for n in 0..12 {
        origin_sends(&relay, "b@example.test", &format!("m{n}")).await;
    }
    relay.wait_for_count(12, "deferred status=4.3.2").await;
    origin_sends(&relay, "b@example.test", "last").await;
    relay.wait_for("site-takes-mail legs=12").await;
    relay
        .wait_for_count(13, "delivered target=b@busy.test")
        .await;
    assert_eq!(sink.messages(13).await.len(), 13);
}
