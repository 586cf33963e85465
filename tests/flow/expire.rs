//! A message that cannot be delivered: the sender is warned after a while, and told in the end. When, and of how many recipients
//! together, is tested on a clock turned by hand: `crates/relay/src/tests/days.rs`.

use testkit::net::Net;

use crate::{origin_sends, relay};

/// Both notices repeat what the last attempt met: the host and its words are the target's.
#[tokio::test]
async fn neither_notice_shows_where_the_forward_goes() {
    let net = Net::new().await;
    let busy = "rcpt: 450 4.2.1 mailbox of secret.box is busy";
    let _busy = net.sink("private.test", busy).await;
    net.publish("closed.test", net.address());
    net.dns
        .add("lost.test MX 10 mx.provider.test\nmx.provider.test SERVFAIL");
    let origin = net.sink("sender.test", "").await;
    let forwards = "alice@example.test secret.box@private.test, secret.box@closed.test, \
                    secret.box@lost.test\n";
    let relay = relay(&net, forwards)
        .set("queue.warn_after", "\"1s\"")
        .set("queue.expire", "\"4s\"")
        .start()
        .await;
    origin_sends(&relay, "alice@example.test", "one").await;
    let (mut warned, mut failed) = (0, 0);
    while warned < 3 || failed < 3 {
        let notice = origin.message().await.text();
        warned += notice.matches("Action: delayed").count();
        failed += notice.matches("Action: failed").count();
        for private in [
            "secret.box",
            "private.test",
            "closed.test",
            "lost.test",
            "provider.test",
            "[127.",
        ] {
            let (_, words) = notice
                .split_once("This is the mail system")
                .unwrap_or_default();
            let words = words.split("Received:").next().unwrap_or_default();
            assert!(!words.contains(private), "{private} in:\n{notice}");
        }
    }
}
