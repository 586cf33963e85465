//! A message that cannot be delivered: the sender is warned after a while, and told in the end.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::{origin_sends, relay};

#[tokio::test]
async fn sender_is_warned_and_in_the_end_told() {
    let net = Net::new().await;
    let _target = net
        .sink("target.test", "rcpt: 450 4.2.1 mailbox busy")
        .await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .set("queue.warn_after", "\"1s\"")
        .set("queue.expire", "\"4s\"")
        .start()
        .await;
    origin_sends(&relay, "alice@example.test", "one").await;
    let warning = origin.message().await.text();
    assert!(
        warning.contains("Action: delayed")
            && warning.contains("Status: 4.2.1")
            && warning.contains("Diagnostic-Code: smtp; 450 4.2.1 mailbox busy"),
        "{warning}"
    );
    let failure = origin.message().await.text();
    assert!(
        failure.contains("Action: failed") && failure.contains("alice@example.test"),
        "{failure}"
    );
    relay
        .wait_for("bounced kind=delayed to=<origin@sender.test>")
        .await;
    relay
        .wait_for("bounced kind=failed to=<origin@sender.test>")
        .await;
}

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

#[tokio::test]
async fn one_notice_tells_of_all_recipients_of_a_message() {
    let net = Net::new().await;
    let _target = net
        .sink("target.test", "rcpt: 450 4.2.1 mailbox busy")
        .await;
    let origin = net.sink("sender.test", "").await;
    let forwards = "alice@example.test a@target.test\nbob@example.test b@target.test\n";
    let relay = relay(&net, forwards)
        .set("queue.retry", "[\"1h\"]")
        .set("queue.warn_after", "\"2s\"")
        .set("queue.expire", "\"4s\"")
        .start()
        .await;
    let to = ["alice@example.test", "bob@example.test"];
    let mail = mail::short("one");
    send(relay.address(), "origin@sender.test", &to, &mail).await;
    for action in ["Action: delayed", "Action: failed"] {
        let notice = origin.message().await.text();
        assert_eq!(notice.matches(action).count(), 2, "{notice}");
        for recipient in to {
            let field = format!("Final-Recipient: rfc822; {recipient}");
            assert_eq!(notice.matches(&field).count(), 1, "{notice}");
        }
    }
    relay.wait_for_count(2, "bounced").await;
}
