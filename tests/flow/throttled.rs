//! A provider that says that we send too much: it gets one message after each pause, then all that waits; and what shaping says.

use testkit::net::Net;

use crate::{origin_sends, relay};

#[tokio::test]
async fn a_site_that_throttles_us_gets_one_message_a_pause() {
    let net = Net::new().await;
    let script = "rcpt first 5: 450 4.7.28 unusual rate of unsolicited mail";
    let sink = net.sink("big.test", script).await;
    let relay = relay(&net, "b@example.test b@big.test\n")
        .set("queue.retry", "[\"1h\"]")
        .set("delivery.probe_first", "\"1s\"")
        .start()
        .await;
    for n in 0..8 {
        origin_sends(&relay, "b@example.test", &format!("m{n}")).await;
    }
    let event = relay.wait_for("site-throttled").await;
    assert!(event.text("error").contains("unusual rate"), "{event:?}");
    let shown = relay.run(&["site", "show", "big"]).await;
    assert!(
        shown.contains("throttles us") || shown.contains("250 2.0.0"),
        "{shown}"
    );
    relay.wait_for("site-takes-mail").await;
    relay.wait_for_count(8, "delivered target=b@big.test").await;
    assert_eq!(sink.messages(8).await.len(), 8);
    assert!(sink.connections() <= 5, "{}", sink.connections());
}

/// It has its own pause, which is longer.
#[tokio::test]
async fn the_end_of_a_throttle_is_none_of_a_full_mailbox() {
    let net = Net::new().await;
    let script = "rcpt for full@: 452 4.2.2 mailbox full\n\
                  rcpt for b@ first 3: 450 4.7.28 unusual rate of unsolicited mail";
    let sink = net.sink("big.test", script).await;
    let forwards = "b@example.test b@big.test\nfull@example.test full@big.test\n";
    let relay = relay(&net, forwards)
        .set("queue.retry", "[\"1h\"]")
        .set("delivery.probe_first", "\"1s\"")
        .start()
        .await;
    origin_sends(&relay, "full@example.test", "full").await;
    relay.wait_for("deferred target=full@big.test").await;
    for n in 0..4 {
        origin_sends(&relay, "b@example.test", &format!("m{n}")).await;
    }
    relay.wait_for("site-takes-mail").await;
    relay.wait_for_count(4, "delivered target=b@big.test").await;
    let sent = sink.transcript();
    let tries = sent.iter().filter(|line| line.contains("<full@big.test>"));
    assert_eq!(tries.count(), 1, "{sent:?}");
}

#[tokio::test]
async fn a_throttle_outlives_a_restart() {
    let net = Net::new().await;
    let sink = net.sink("big.test", "rcpt: 421 4.7.0 we are tired").await;
    let setup = relay(&net, "b@example.test b@big.test\n").set("shaping.file", "\"tired.toml\"");
    let shaping = "[[site]]\nmatch = 'big.test'\nconnections = 3\n[[site.reply]]\nmatch = 'are*tired'\nthen = 'pause 2h'\n";
    setup.write("tired.toml", shaping);
    let first = setup.start().await;
    origin_sends(&first, "b@example.test", "one").await;
    let event = first.wait_for("site-throttled").await;
    assert_eq!(event.text("probe_in_secs"), "7200");
    let second = first.stop().await.start().await;
    origin_sends(&second, "b@example.test", "two").await;
    let why = "throttles us since";
    while !second.run(&["queue", "list"]).await.contains(why) {}
    let shown = second.run(&["site", "show", "big.test"]).await;
    assert!(
        shown.contains(why) && shown.contains("are tired") && shown.contains("3 connections"),
        "{shown}"
    );
    assert_eq!(sink.connections(), 1, "no further message");
}
