//! One of two recipients is refused: the DSN is about that one. The null sender gets none.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::relay;

#[tokio::test]
async fn one_refused_of_two_and_none_for_the_null_sender() {
    let net = Net::new().await;
    let target = net
        .sink("target.test", "rcpt for bob@: 550 5.2.1 disabled")
        .await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(
        &net,
        "alice@example.test alice@target.test\nbob@example.test bob@target.test\n",
    )
    .start()
    .await;
    let to = ["alice@example.test", "bob@example.test"];
    send(relay.address(), "", &to, &mail::short("bounce")).await;
    relay.wait_for("not-bounced").await;
    send(
        relay.address(),
        "origin@sender.test",
        &to,
        &mail::short("one"),
    )
    .await;
    let text = origin.message().await.text();
    assert!(
        text.contains("bob@example.test") && !text.contains("rfc822; alice@"),
        "{text}"
    );
    assert!(
        target
            .messages(2)
            .await
            .iter()
            .all(|got| got.to() == ["alice@target.test"])
    );
    assert_eq!(origin.received().len(), 1);
}
