//! Killed again and again in the middle of much mail: whatever was answered 250 arrives, whole.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::relay;

const ROUNDS: usize = 4;
const SENDERS: usize = 8;
const ACKNOWLEDGED: usize = 60;

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let net = Net::new().await;
    let sink = net
        .sink("target.test", "rcpt first 40: 450 4.2.1 busy")
        .await;
    let mut setup = relay(&net, "alice@example.test alice@target.test\n");
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        let relay = setup.start().await;
        let (send, mut receive) = unbounded_channel();
        let tasks: Vec<_> = (0..SENDERS)
            .map(|sender| format!("{round}-{sender}"))
            .map(|name| tokio::spawn(send_on(relay.address(), name, send.clone())))
            .collect();
        for _ in 0..ACKNOWLEDGED {
            acknowledged.insert(receive.recv().await.expect("senders go on"));
        }
        setup = relay.kill().await;
        for task in tasks {
            task.await.expect("a sender ends with the connection");
        }
        drop(send);
        // What was answered between the last one counted and the kill counts too.
        while let Some(subject) = receive.recv().await {
            acknowledged.insert(subject);
        }
    }
    let relay = setup.start().await;
    let mut missing = acknowledged.clone();
    let mut seen = 0;
    let what = format!("all {} acknowledged messages", acknowledged.len());
    sink.received_until(&what, |received| {
        for got in &received[seen..] {
            let subject = got.subject();
            mail::added_on_top(&got.data, &mail::short(&subject));
            missing.remove(&subject);
        }
        seen = received.len();
        missing.is_empty()
    })
    .await;
    relay.stop().await;
}

/// Sends until the connection breaks; tells each subject that was answered 250.
async fn send_on(address: SocketAddr, name: String, acknowledged: UnboundedSender<String>) {
    let mut plain = Plain::hello(address).await;
    let (from, to) = ("<origin@sender.test>", "<alice@example.test>");
    for number in 0.. {
        let subject = format!("{name}-{number}");
        let mail = mail::short(&subject);
        let end = plain.try_transaction(from, to, &mail).await;
        if !end.is_some_and(|end| end.starts_with("250")) {
            return;
        }
        let _ = acknowledged.send(subject);
    }
}
