//! A damaged record in the spool costs its own message and nothing else.

use std::fs;

use testkit::net::Net;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn damaged_spool_record_loses_nothing_else() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let first = relay(&net, FORWARDS).start().await;
    for subject in ["first", "second"] {
        origin_sends(&first, "alice@example.test", subject).await;
    }
    first.wait_for_count(2, "deferred").await;
    let setup = first.kill().await;
    // One octet in the body of the first message, wherever the log has it.
    for entry in fs::read_dir(setup.path("spool/log")).expect("the segment log") {
        let path = entry.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("a segment");
        if let Some(at) = bytes.windows(14).position(|w| w == b"Subject: first") {
            bytes[at] ^= 0xff;
            fs::write(&path, bytes).expect("written back");
        }
    }
    sink.script("");
    let second = setup.start().await;
    sink.message().await;
    second.wait_for("delivered").await;
    assert!(
        sink.received()
            .iter()
            .any(|got| got.text().contains("Subject: second"))
    );
    assert!(
        sink.received()
            .iter()
            .all(|got| !got.text().contains("first@sender"))
    );
}
