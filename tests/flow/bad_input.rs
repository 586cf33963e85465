//! Mistakes of the operator: each is a message that says where and what to do, and exit code 1.

use std::fs;

use testkit::net::Net;
use testkit::{mail, sender};
use tokio::net::TcpListener;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn configuration() {
    let net = Net::new().await;
    let typo = relay(&net, FORWARDS).set("queue.retri", "[\"1m\"]");
    typo.run_into_error(&["serve"], &["onward.toml", "line", "retri", "hint: "])
        .await;
    let no_toml = relay(&net, FORWARDS).set("hostname", "mx.fwd.test");
    no_toml
        .run_into_error(&["serve"], &["onward.toml", "line", "column"])
        .await;
    let missing = relay(&net, FORWARDS);
    missing
        .run_into_error(
            &["--config", "/nonexistent/onward.toml", "check"],
            &["/nonexistent/onward.toml", "hint: "],
        )
        .await;
}

#[tokio::test]
async fn certificate_forwards_and_secrets() {
    let net = Net::new().await;
    let gone = relay(&net, FORWARDS)
        .with_tls()
        .set("tls.certificate", "\"gone.pem\"");
    let garbage = relay(&net, FORWARDS).with_tls();
    garbage.write("cert.pem", "not a certificate\n");
    let typo = relay(
        &net,
        "alice@example.test alice@target.test\nbob@example.test :rejct:\n",
    );
    let secretless = relay(&net, FORWARDS);
    secretless.write("srs.secrets", "\n");
    for command in ["serve", "check"] {
        gone.run_into_error(&[command], &["gone.pem", "hint: "])
            .await;
        garbage.run_into_error(&[command], &["cert.pem"]).await;
        typo.run_into_error(&[command], &["forwards:2:", ":rejct:", "hint: "])
            .await;
        secretless
            .run_into_error(&[command], &["srs.secrets"])
            .await;
    }
}

#[tokio::test]
async fn port_in_use_and_spool_in_use() {
    let net = Net::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let setup = relay(&net, FORWARDS).listener(&format!("bind = \"{address}\""));
    setup
        .run_into_error(&["serve"], &[&address, "in use", "hint: "])
        .await;

    let running = relay(&net, FORWARDS).start().await;
    running
        .setup()
        .run_into_error(&["serve"], &["spool", "hint: "])
        .await;
    running.stop().await;
}

#[tokio::test]
async fn damaged_spool_record_loses_nothing_else() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let first = relay(&net, FORWARDS).start().await;
    for subject in ["first", "second"] {
        sender::send(
            first.address(),
            "origin@sender.test",
            &["alice@example.test"],
            &mail::short(subject),
        )
        .await;
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
