//! Too little room on the disk: new mail is put off with 452, what is queued goes out all the same.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn new_mail_is_put_off_and_queued_mail_goes_out() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let first = relay(&net, FORWARDS).start().await;
    origin_sends(&first, "alice@example.test", "before").await;
    first.wait_for("deferred").await;
    let setup = first.stop().await;

    sink.script("");
    let full = setup.set("queue.min_free", "\"900 TiB\"").start().await;
    let mut plain = Plain::hello(full.address()).await;
    let to = ["<alice@example.test>"];
    let (_, end) = plain
        .transaction("<origin@sender.test>", &to, &mail::short("now"))
        .await;
    assert!(end.starts_with("452 4.3.1"), "{end}");
    assert!(sink.message().await.text().contains("Subject: before"));
    full.wait_for("delivered").await;
}
