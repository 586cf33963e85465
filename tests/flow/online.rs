//! `answer=destination`: the destination's verdict is the answer, and nothing is written to disk for it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use testkit::daemon::{Relay, Signal};
use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;
use testkit::sink::Sink;

use crate::relay;

const FORWARDS: &str = "example.test :domain: answer=destination\n\
    alice@example.test secret.box@private.test\n\
    bob@example.test bob@other.test\n\
    both@example.test one@private.test, two@private.test\n\
    apart@example.test one@private.test, two@other.test\n\
    queued@example.test secret.box@private.test answer=queue\n";

/// One transaction; the reply to its data, or to the first command that was refused.
async fn offer(relay: &Relay, to: &str, subject: &str) -> String {
    let mut client = Plain::hello(relay.address()).await;
    let to = format!("<{to}>");
    let mail = mail::short(subject);
    let (_, reply) = client
        .transaction("<origin@sender.test>", &[&to], &mail)
        .await;
    // Otherwise nobody knows whether the reply was read.
    client.expect("QUIT", "221").await;
    reply
}

/// Waits until the sink is asked whether it takes a message.
async fn sink_asked(sink: &Sink) {
    while !sink
        .transcript()
        .iter()
        .any(|line| line.ends_with("C: DATA"))
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Octets of the segment log that are not zero.
fn log_octets(spool: &Path) -> usize {
    let log = fs::read_dir(spool.join("log")).expect("a folder").flatten();
    let files = log.map(|file| fs::read(file.path()).expect("a file"));
    files
        .map(|file| file.iter().filter(|octet| **octet != 0).count())
        .sum()
}

async fn private(net: &Net, script: &str) -> Sink {
    net.sink("private.test", script).await
}

#[tokio::test]
async fn what_the_destination_takes_is_never_written() {
    let net = Net::new().await;
    let sink = private(&net, "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let spool = relay.setup().path("spool");
    let before = log_octets(&spool);
    for subject in ["one", "two", "three"] {
        let reply = offer(&relay, "alice@example.test", subject).await;
        assert!(
            reply.starts_with("250 2.0.0 accepted by its destination as "),
            "{reply}"
        );
    }
    // Both of its legs are at one site.
    let reply = offer(&relay, "both@example.test", "four").await;
    assert!(
        reply.starts_with("250 2.0.0 accepted by its destination"),
        "{reply}"
    );
    assert_eq!(log_octets(&spool), before);
    let got = sink.messages(4).await;
    mail::added_on_top(&got[0].data, &mail::short("one"));
    relay.wait_for_count(4, "received answer=destination").await;
    relay.wait_for_count(5, "delivered attempt=1").await;
    relay.wait_for_count(4, "answered-delivered").await;
    assert_eq!(
        relay.run_json(&["queue", "list"]).await["legs"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    let reply = offer(&relay, "queued@example.test", "five").await;
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    assert!(log_octets(&spool) > before);
    for (to, expected) in [
        ("alice@example.test", "answer: the destination's"),
        (
            "queued@example.test",
            "answer: the queue's: not all of its targets",
        ),
    ] {
        let explained = relay.run(&["explain", "--to", to]).await;
        assert!(explained.contains(expected), "{explained}");
    }
}

#[tokio::test]
async fn what_it_refuses_is_refused_without_a_bounce() {
    let net = Net::new().await;
    let rcpt = "550 5.1.1 <secret.box@private.test>: nobody here, try real@moved.test";
    let sink = private(&net, &format!("rcpt: {rcpt}")).await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let reply = offer(&relay, "alice@example.test", "one").await;
    assert!(
        reply.starts_with("550 5.1.1 refused by the destination: "),
        "{reply}"
    );
    assert!(
        !reply.contains("secret") && !reply.contains("private.test") && !reply.contains("moved"),
        "{reply}"
    );
    sink.script("dot: 554-5.7.1 not / 554 5.7.1 wanted");
    let reply = offer(&relay, "both@example.test", "two").await;
    assert_eq!(reply, "554 5.7.1 refused by the destination: not wanted");
    relay.wait_for_count(3, "failed").await;
    relay
        .wait_for_count(2, "refused stage=message rule=destination")
        .await;
    relay.wait_for_count(2, "answered-refused").await;
    assert_eq!((relay.count("bounced"), origin.received().len()), (0, 0));
}

#[tokio::test]
async fn what_it_puts_off_is_queued_and_not_tried_twice() {
    let net = Net::new().await;
    let sink = private(&net, "rcpt for two@ first 1: 450 4.2.1 busy").await;
    let relay = relay(&net, FORWARDS)
        .set("queue.retry", "[\"50ms\"]")
        .start()
        .await;
    let reply = offer(&relay, "both@example.test", "one").await;
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    let mut to: Vec<_> = sink
        .messages(2)
        .await
        .iter()
        .flat_map(|mail| mail.to())
        .map(str::to_owned)
        .collect();
    to.sort_unstable();
    assert_eq!(to, ["one@private.test", "two@private.test"]);
    relay
        .wait_for("deferred attempt=1 target=two@private.test")
        .await;
    relay
        .wait_for("delivered attempt=2 target=two@private.test")
        .await;
    relay
        .wait_for("delivered attempt=1 target=one@private.test")
        .await;
    relay.wait_for("answered-queued").await;
}

#[tokio::test]
async fn verdicts_that_differ_end_in_the_queue() {
    let net = Net::new().await;
    let sink = private(&net, "rcpt for two@: 550 5.1.1 nobody").await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let reply = offer(&relay, "both@example.test", "one").await;
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    assert!(origin.message().await.text().contains("Status: 5.1.1"));
    relay.wait_for("delivered target=one@private.test").await;
    relay.wait_for("failed target=two@private.test").await;
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test]
async fn a_slow_destination_is_not_waited_for_and_asked_once() {
    let net = Net::new().await;
    let sink = private(&net, "dot: wait 1500ms").await;
    let relay = relay(&net, FORWARDS)
        .set("delivery.answer_within", "\"200ms\"")
        .start()
        .await;
    let reply = offer(&relay, "alice@example.test", "one").await;
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    // The spool has it, and somebody works on it: the attempt that began before.
    let list = relay.run_json(&["queue", "list"]).await;
    assert_eq!(list["legs"][0]["state"], "active", "{list}");
    relay.wait_for("delivered attempt=1").await;
    assert_eq!(sink.received().len(), 1);
    let setup = relay.stop().await.start().await;
    assert_eq!(setup.wait_for("ready").await.text("queued"), "0");
}

#[tokio::test]
async fn what_waits_when_the_relay_stops_is_queued() {
    let net = Net::new().await;
    let sink = private(&net, "dot: wait 3s").await;
    let relay = relay(&net, FORWARDS).start().await;
    let address = relay.address();
    let waiting = tokio::spawn(async move {
        let mut client = Plain::hello(address).await;
        let to = ["<alice@example.test>"];
        client
            .transaction("<origin@sender.test>", &to, &mail::short("one"))
            .await
            .1
    });
    relay.wait_for("forwarded").await;
    sink_asked(&sink).await;
    relay.signal(Signal::TERM);
    let reply = waiting.await.unwrap();
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    let second = relay.stopped().await.start().await;
    assert_eq!(second.wait_for("ready").await.text("queued"), "0");
    assert_eq!(sink.messages(1).await.len(), 1);
}

#[tokio::test]
async fn what_may_not_or_cannot_be_answered_so_is_queued() {
    let net = Net::new().await;
    let _sink = private(&net, "").await;
    net.publish("other.test", net.address());
    let relay = relay(&net, FORWARDS)
        .set("delivery.answer_memory", "20000")
        .start()
        .await;
    // Two sites; nobody there; more than the memory takes; somebody who wants to be told.
    for to in ["apart@example.test", "bob@example.test"] {
        let reply = offer(&relay, to, to).await;
        assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    }
    let mut client = Plain::hello(relay.address()).await;
    let (from, to) = ("<origin@sender.test>", "<alice@example.test>");
    let large = client.transaction(from, &[to], &mail::long(30_000)).await;
    assert!(large.1.starts_with("250 2.0.0 queued as "), "{large:?}");
    let queued = relay.wait_for_count(2, "answered-queued").await;
    assert_eq!(queued[1].text("reason"), "answer_memory is used up");
    let notify = format!("{to} NOTIFY=SUCCESS");
    let told = client
        .transaction(from, &[&notify], &mail::short("told"))
        .await;
    assert!(told.1.starts_with("250 2.0.0 queued as "), "{told:?}");
    // One answer holds for all recipients.
    client.expect("MAIL FROM:<origin@sender.test>", "250").await;
    client.expect("RCPT TO:<alice@example.test>", "250").await;
    client.expect("RCPT TO:<both@example.test>", "250").await;
    client
        .expect("RCPT TO:<bob@example.test>", "452 4.5.3 the answer for")
        .await;
    client
        .expect("RCPT TO:<queued@example.test>", "452 4.5.3 the answer for")
        .await;
}

/// Offers a message; the client waits.
async fn begin(relay: &Relay, sink: &Sink, subject: &str) -> Plain {
    let mut client = Plain::hello(relay.address()).await;
    client.expect("MAIL FROM:<origin@sender.test>", "250").await;
    client.expect("RCPT TO:<alice@example.test>", "250").await;
    client.expect("DATA", "354").await;
    let mail = String::from_utf8_lossy(&mail::short(subject)).into_owned();
    let stuffed = mail.replace("\r\n.", "\r\n..") + ".\r\n";
    client.raw(stuffed.as_bytes()).await;
    sink_asked(sink).await;
    client
}

#[tokio::test]
async fn a_client_that_left_and_comes_back_makes_no_second_copy() {
    let net = Net::new().await;
    let sink = private(&net, "dot: wait 300ms\nquit: drop").await;
    let relay = relay(&net, FORWARDS).start().await;
    drop(begin(&relay, &sink, "one").await);
    // While it is still asked about, and after that.
    let reply = offer(&relay, "alice@example.test", "one").await;
    assert!(
        reply.starts_with("451 4.4.5 the destination is still being asked"),
        "{reply}"
    );
    relay.wait_for("answer-unread").await;
    let reply = offer(&relay, "alice@example.test", "one").await;
    assert!(
        reply.starts_with("250 2.0.0 accepted before, and not again as "),
        "{reply}"
    );
    // Another message is another, and so is one with another recipient.
    let reply = offer(&relay, "alice@example.test", "two").await;
    assert!(
        reply.starts_with("250 2.0.0 accepted by its destination"),
        "{reply}"
    );
    let second = relay.stop().await.start().await;
    let reply = offer(&second, "alice@example.test", "one").await;
    assert!(reply.starts_with("250 2.0.0 accepted before"), "{reply}");
    let reply = offer(&second, "alice@example.test", "two").await;
    assert!(
        reply.starts_with("250 2.0.0 accepted by its destination"),
        "it was read: {reply}"
    );
    assert_eq!(sink.messages(3).await.len(), 3);
}

/// Each client reads its answer, and leaves without a word: so each message is remembered.
#[tokio::test]
async fn what_differs_in_anything_is_a_message_of_its_own() {
    let net = Net::new().await;
    let sink = private(&net, "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let one = String::from_utf8(mail::short("one")).unwrap();
    let other_text = one.replace("Hello", "Alarm");
    let other_date = one.replace("12:34:56", "12:34:57");
    let no_id = one.replace("Message-ID", "X-Other");
    let no_date = one.replace("Date", "X-Other");
    let no_header = "backup ok\r\n".to_owned();
    let mut alike = vec![one, other_text, other_date, no_id];
    let known = alike.len();
    alike.extend([&no_date, &no_date, &no_header, &no_header].map(Clone::clone));
    for (mail, number) in alike.iter().zip(1..) {
        let reply = offer_and_drop(&relay, mail, number).await;
        assert!(reply.contains("by its destination"), "{reply}: {mail}");
    }
    for (mail, number) in alike[..known].iter().zip(alike.len() + 1..) {
        let reply = offer_and_drop(&relay, mail, number).await;
        assert!(reply.contains("accepted before"), "{reply}: {mail}");
    }
    assert_eq!(sink.messages(alike.len()).await.len(), alike.len());
}

/// Offers a message and leaves without QUIT.
async fn offer_and_drop(relay: &Relay, mail: &str, number: usize) -> String {
    let mut client = Plain::hello(relay.address()).await;
    let (from, to) = ("<origin@sender.test>", ["<alice@example.test>"]);
    let (_, reply) = client.transaction(from, &to, mail.as_bytes()).await;
    drop(client);
    relay.wait_for_count(number, "answer-unread").await;
    reply
}

/// QUIT that was there before our answer does not say that it was read.
#[tokio::test]
async fn a_client_that_gives_up_with_quit_makes_no_second_copy() {
    let net = Net::new().await;
    let sink = private(&net, "dot: wait 300ms").await;
    let relay = relay(&net, FORWARDS).start().await;
    let mut client = begin(&relay, &sink, "one").await;
    client.raw(b"QUIT\r\n").await;
    drop(client);
    relay.wait_for("answer-unread").await;
    let reply = offer(&relay, "alice@example.test", "one").await;
    assert!(reply.starts_with("250 2.0.0 accepted before"), "{reply}");
    assert_eq!(sink.received().len(), 1);
}
