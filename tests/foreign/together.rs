//! Nodes of one spool are one relay to operators and to the world: what one is told holds on all, limits are counted together, and a
//! site that is down is probed once a pause.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::postgres::Postgres;
use testkit::sender::Plain;

use crate::origin_sends;

async fn nodes(net: &Net, url: &str, set: impl Fn(Setup) -> Setup) -> [Relay; 2] {
    let node = |name: &str| {
        let forwards = "@example.test @target.test\n@dead.example @dead.test\n";
        let program = env!("CARGO_BIN_EXE_onward");
        let setup = Setup::new(program, net, "fwd.test", forwards)
            .set("queue.store", &format!("'{url}'"))
            .set("queue.node", &format!("'{name}'"));
        set(setup).start()
    };
    [node("one").await, node("two").await]
}

/// How many messages of a client a node takes, until it says no.
async fn takes(relay: &Relay, max: usize) -> usize {
    let mut plain = Plain::hello(relay.address()).await;
    for taken in 0..max {
        let said = plain.command("MAIL FROM:<ann@sender.test>").await;
        if said.starts_with("450 4.7.1") {
            return taken;
        }
        let to = format!("RCPT TO:<u{taken}@example.test>");
        plain.expect(&to, "250").await;
        plain.expect("DATA", "354").await;
        plain.raw(b"Subject: x\r\n\r\n.\r\n").await;
        let said = plain.reply().await;
        if !said.starts_with("250") {
            return taken;
        }
    }
    max
}

/// Until a command says so.
async fn until(relay: &Relay, command: &[&str], is_so: impl Fn(&serde_json::Value) -> bool) {
    let began = Instant::now();
    loop {
        let said = relay.run_json(command).await;
        if is_so(&said) {
            return;
        }
        assert!(began.elapsed() < testkit::PATIENCE, "{command:?}: {said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn what_one_node_is_told_holds_on_all() {
    let server = Postgres::start(&[]).await;
    let (net, url) = (Net::new().await, server.database("mail").await);
    let sink = net.sink("target.test", "").await;
    let [one, two] = nodes(&net, &url, |setup| setup).await;
    one.run(&["site", "pause", "target.test", "--reason", "they asked"])
        .await;
    let ordered = |list: &serde_json::Value| list["orders"][0]["reason"] == "they asked";
    until(&two, &["site", "list"], ordered).await;
    origin_sends(&two, "a@example.test", "first").await;
    origin_sends(&one, "a@example.test", "second").await;
    // Both nodes come back to it.
    let two = two.stop().await.start().await;
    assert!(ordered(&two.run_json(&["site", "list"]).await));
    assert_eq!(sink.connections(), 0);
    two.run(&["site", "resume", "target.test"]).await;
    sink.messages(2).await;
    until(&one, &["site", "list"], |list| list["orders"] == json!([])).await;
    // Each has what the other took in, and what became of it.
    let delivered = |traced: &serde_json::Value| {
        let messages = traced["messages"].as_array().expect("messages");
        messages.len() == 2 && messages.iter().all(|it| it["status"] == "delivered")
    };
    for node in [&one, &two] {
        until(node, &["trace", "a@example.test"], delivered).await;
        let sums = ["stats", "--by", "recipient-domain"];
        until(node, &sums, |page| page["rows"][0]["delivered"] == 2).await;
    }
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_drain_waits_for_what_its_own_node_works_on() {
    let server = Postgres::start(&[]).await;
    let (net, url) = (Net::new().await, server.database("mail").await);
    let sink = net.sink("target.test", "dot first 1: wait 90s").await;
    let [one, two] = nodes(&net, &url, |setup| setup).await;
    one.run(&["node", "drain", "one"]).await;
    let draining = |list: &serde_json::Value| list[0]["state"] == "draining";
    until(&two, &["node", "list"], draining).await;
    origin_sends(&two, "a@example.test", "slow").await;
    let at_work = |status: &serde_json::Value| status["queue"]["active"] == 1;
    until(&one, &["status"], at_work).await;
    let said = one.run(&["drain", "--wait", "10s"]).await;
    assert!(said.contains("drained: no mail is taken"), "{said}");
    drop(sink);
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn limits_and_freezes_are_those_of_all() {
    let server = Postgres::start(&[]).await;
    let (net, url) = (Net::new().await, server.database("mail").await);
    let _sink = net.sink("target.test", "").await;
    let limit = "[{ name = 'flood', key = 'sender', of = 'messages', max = 40, per = '1h', then = 'freeze' }]";
    let [one, two] = nodes(&net, &url, |setup| setup.set("limit", limit)).await;
    assert_eq!(takes(&one, 30).await, 30);
    // It is told within two seconds.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let more = takes(&two, 40).await;
    assert!((5..=15).contains(&more), "{more} of 10 that are left");
    let frozen = |list: &serde_json::Value| list[0]["key"] == "sender:ann@sender.test";
    until(&one, &["freeze", "list"], frozen).await;
    assert_eq!(takes(&one, 1).await, 0);
    // It outlives a restart, and is lifted anywhere.
    let one = one.stop().await.start().await;
    assert!(frozen(&one.run_json(&["freeze", "list"]).await));
    one.run(&["freeze", "lift", "ann@sender.test"]).await;
    until(&two, &["freeze", "list"], |list| *list == json!([])).await;
    assert_eq!(takes(&two, 3).await, 3);
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_site_that_is_down_is_probed_once_a_pause() {
    let server = Postgres::start(&[]).await;
    let (net, url) = (Net::new().await, server.database("mail").await);
    let dead = net.sink("dead.test", "greeting: drop").await;
    let settle = |setup: Setup| {
        setup
            .set("delivery.probe_first", "'2s'")
            .set("delivery.probe_longest", "'2s'")
    };
    let [one, two] = nodes(&net, &url, settle).await;
    origin_sends(&one, "a@dead.example", "first").await;
    one.wait_for("site-down").await;
    let shown = |list: &serde_json::Value| list["sites"][0]["state"] == "down";
    for number in 0..5 {
        origin_sends(&two, "a@dead.example", &number.to_string()).await;
        origin_sends(&one, "a@dead.example", &number.to_string()).await;
    }
    let before = dead.connections();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let probes = dead.connections() - before;
    assert!(
        (3..=6).contains(&probes),
        "{probes} probes in 10 s, one in 2 s"
    );
    for node in [&one, &two] {
        until(node, &["site", "list"], shown).await;
    }
    // The first to get through tells the other.
    dead.script("");
    dead.messages(11).await;
}
