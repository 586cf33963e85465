//! The operator does not wait for the probe of a site that is down: `queue retry` probes it at once, with one connection.

use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::sink::Sink;

use crate::{origin_sends, relay};

/// Left alone, nothing is tried a second time while the test runs.
fn patient(net: &Net) -> Setup {
    relay(net, "d@example.test d@dead.test\n")
        .set("queue.retry", "[\"1h\"]")
        .set("delivery.probe_first", "\"1h\"")
        .set("delivery.probe_longest", "\"4h\"")
}

/// Two messages: one with which the site goes down, and one that waits untried.
async fn two_wait(relay: &Relay) {
    origin_sends(relay, "d@example.test", "tried").await;
    relay.wait_for("site-down").await;
    relay.wait_for("deferred target=d@dead.test").await;
    origin_sends(relay, "d@example.test", "untried").await;
}

#[tokio::test]
async fn a_site_that_listens_again() {
    let net = Net::new().await;
    let address = net.address();
    net.publish("dead.test", address);
    let relay = patient(&net).start().await;
    two_wait(&relay).await;
    let late = Sink::start(address, "").await;
    relay.run(&["queue", "retry", "--to", "dead.test"]).await;
    late.messages(2).await;
    relay.wait_for("site-up").await;
    relay
        .wait_for_count(2, "delivered target=d@dead.test")
        .await;
}

#[tokio::test]
async fn a_site_that_is_still_dead() {
    let net = Net::new().await;
    let dead = net.sink("dead.test", "greeting: drop").await;
    let relay = patient(&net).start().await;
    two_wait(&relay).await;
    for retries in 1..=2 {
        relay.run(&["queue", "retry", "--all"]).await;
        relay.wait_for_count(1 + retries, "site-down").await;
        relay.wait_for_count(1 + retries, "deferred").await;
    }
    assert_eq!(dead.connections(), 3, "one at first, one a retry");
}
