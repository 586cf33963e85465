//! TLS from clients: STARTTLS, implicit, and nothing kept from before the handshake.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn starttls_in_and_out() {
    let net = Net::new().await;
    let sink = net.sink_with_tls("target.test", "").await;
    let relay = relay(&net, FORWARDS).with_tls().start().await;
    let mut plain = Plain::hello(relay.address()).await.start_tls().await;
    let hello = plain.command("EHLO client.test").await;
    assert!(!hello.contains("STARTTLS"), "{hello}");
    let mail = mail::short("one");
    let (_, end) = plain
        .transaction("<origin@sender.test>", &["<alice@example.test>"], &mail)
        .await;
    assert!(end.starts_with("250"), "{end}");
    let got = sink.message().await;
    assert!(got.tls);
    let trace = mail::added_on_top(&got.data, &mail);
    let received = &trace.last().expect("a Received field").1;
    assert!(
        received.contains("with ESMTPS") && received.contains("TLSv1.3"),
        "{received}"
    );
    relay.wait_for("received tls=TLSv1.3 cipher=TLS_AES").await;
    let delivered = "delivered tls=TLSv1.3 cipher=TLS_AES verified=no";
    relay.wait_for(delivered).await;
}

#[tokio::test]
async fn commands_sent_behind_starttls_are_an_attack() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS).with_tls().start().await;
    let mut plain = Plain::hello(relay.address()).await;
    plain
        .raw(b"STARTTLS\r\nMAIL FROM:<injected@bad.test>\r\n")
        .await;
    let answer = plain.reply().await;
    assert!(answer.starts_with("554 5.5.0"), "{answer}");
    assert_eq!(plain.reply().await, "", "and the connection is closed");
}

#[tokio::test]
async fn implicit_tls() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let setup = relay(&net, FORWARDS).with_tls();
    let relay = setup
        .listener("bind = \"127.0.0.1:0\"\ntls = \"implicit\"")
        .start()
        .await;
    let mut plain = Plain::connect_silently(relay.address())
        .await
        .handshake()
        .await;
    assert!(plain.reply().await.starts_with("220 "));
    plain.expect("EHLO client.test", "250").await;
    let (_, end) = plain
        .transaction("<>", &["<alice@example.test>"], b"Subject: x\r\n\r\n")
        .await;
    assert!(end.starts_with("250"), "{end}");
    assert!(sink.message().await.text().contains("with ESMTPS"));
}
