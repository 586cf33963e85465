//! SIGTERM: running transactions finish, new ones are refused, the next start delivers what is queued.

use testkit::daemon::Signal;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn queued_mail_survives_sigterm() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let first = relay(&net, FORWARDS).start().await;
    for subject in ["one", "two", "three"] {
        origin_sends(&first, "alice@example.test", subject).await;
    }
    first.wait_for_count(3, "deferred").await;
    let setup = first.stop().await;
    sink.script("");
    let second = setup.start().await;
    assert_eq!(second.wait_for("ready").await.text("queued"), "3");
    sink.messages(3).await;
    second.wait_for_count(3, "delivered").await;
    let third = second.stop().await.start().await;
    assert_eq!(third.wait_for("ready").await.text("queued"), "0");
    assert_eq!(sink.received().len(), 3);
}

#[tokio::test]
async fn sigterm_lets_a_transaction_finish_and_refuses_new_ones() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let mut busy = Plain::hello(relay.address()).await;
    let mut idle = Plain::hello(relay.address()).await;
    busy.expect("MAIL FROM:<origin@sender.test>", "250").await;
    busy.expect("RCPT TO:<alice@example.test>", "250").await;
    busy.expect("DATA", "354").await;
    relay.signal(Signal::TERM);
    let told = idle.reply().await;
    assert!(
        told.starts_with("421 4.3.2"),
        "an idle client is told: {told:?}"
    );
    busy.raw(b"Subject: last\r\n\r\n").await;
    busy.expect(".", "250").await;
    let setup = relay.stopped().await;
    // Delivered before the end, or by the next start: never lost.
    let _relay = setup.start().await;
    assert!(sink.message().await.text().contains("Subject: last"));
}

/// A database that takes connections and says nothing.
#[cfg(feature = "sql")]
#[tokio::test]
async fn sigterm_is_heard_while_a_reload_waits() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS).start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let silent = silent.expect("loopback");
    let at = silent.local_addr().expect("an address");
    let path = relay.setup().path("onward.toml");
    let config = std::fs::read_to_string(path).expect("a file");
    let source = format!(
        "[[forwards.source]]\nkind = 'sql'\nname = 'panel'\nurl = 'postgres://u@{at}/x'\nquery = 'SELECT 1'\n"
    );
    relay.setup().write("onward.toml", &(config + &source));
    relay.reload();
    let _asked = silent.accept().await.expect("the reload asks");
    relay.stop().await;
}
