//! A message is forwarded: SRS0 as sender, trace fields on top, and not a byte changed below them.

use testkit::mail::added_on_top;
use testkit::net::Net;
use testkit::sender::send_with;

use crate::relay;

const MAILS: [(&str, &[u8]); 6] = [
    ("plain", include_bytes!("../mail/plain.eml")),
    ("dots", include_bytes!("../mail/dots.eml")),
    (
        "first-byte-dot",
        include_bytes!("../mail/first-byte-dot.eml"),
    ),
    ("signed", include_bytes!("../mail/signed.eml")),
    ("eight-bit", include_bytes!("../mail/eight-bit.eml")),
    ("no-body", include_bytes!("../mail/no-body.eml")),
];

#[tokio::test]
async fn bytes_stay_and_sender_is_srs0() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice.private@target.test\n")
        .start()
        .await;
    for (name, mail) in MAILS {
        let from = "<Origin@Sender.test> BODY=8BITMIME";
        send_with(relay.address(), from, &["<alice@example.test>"], mail).await;
        let got = sink.message().await;
        let hash = got
            .from
            .strip_prefix("SRS0=")
            .and_then(|rest| rest.strip_suffix("=sender.test=Origin@fwd.test"));
        assert!(
            hash.is_some_and(|hash| hash.len() == 7),
            "{name}: {}",
            got.from
        );
        assert_eq!(got.to(), ["alice.private@target.test"]);
        assert_eq!(got.hello, "mx.fwd.test");
        let trace = added_on_top(&got.data, mail);
        let (field, value) = trace.last().expect("a Received field");
        assert_eq!(field, "Received", "{trace:?}");
        assert!(
            value.contains("from client.test") && value.contains("by mx.fwd.test"),
            "{value}"
        );
        assert!(value.contains("with ESMTP "), "{value}");
        assert!(
            trace.contains(&("Delivered-To".into(), "alice@example.test".into())),
            "{trace:?}"
        );
    }
}

#[tokio::test]
async fn null_sender_stays_null() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    send_with(
        relay.address(),
        "<>",
        &["<alice@example.test>"],
        b"Subject: a bounce\r\n\r\n",
    )
    .await;
    assert_eq!(sink.message().await.from, "");
}
