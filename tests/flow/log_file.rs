//! The mail log in a file: rotated by renaming it and a reload; a full disk costs lines, not mail.

use std::fs;
use std::path::Path;
use std::time::Duration;

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::relay;

/// Waits until the file has the text, and reads it whole.
async fn log_with(path: &Path, text: &str) -> String {
    let reading = async {
        loop {
            let log = fs::read_to_string(path).unwrap_or_default();
            if log.contains(text) {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let read = tokio::time::timeout(testkit::PATIENCE, reading).await;
    read.unwrap_or_else(|_| panic!("{} has no {text}", path.display()))
}

#[tokio::test]
async fn a_renamed_log_is_followed_by_a_new_one_after_a_reload() {
    let net = Net::new().await;
    let setup = relay(&net, "").set("log.file", "\"mail.log\"");
    let (log, old) = (setup.path("mail.log"), setup.path("mail.log.1"));
    let relay = setup.spawn();
    log_with(&log, "\"ready\"").await;
    fs::rename(&log, &old).expect("renamed");
    relay.setup().write("forwards", "a line that is bad\n");
    relay.reload();
    let first = log_with(&log, "\"reload-failed\"").await;
    assert_eq!(first.lines().count(), 1, "{first}");
    relay.setup().write("forwards", "");
    relay.run(&["reload"]).await;
    log_with(&log, "\"reloaded\"").await;
    assert!(!fs::read_to_string(&old).expect("a log").contains("reload"));
    let _folder = relay.stop().await;
    log_with(&log, "\"stopping\"").await;
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_not_mail() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let address = net.address();
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .set("log.file", "\"/dev/full\"")
        .listener(&format!("bind = \"{address}\""))
        .spawn();
    let running = async {
        while relay.setup().run(&["status"]).await.code != Some(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let running = tokio::time::timeout(testkit::PATIENCE, running).await;
    running.unwrap_or_else(|_| panic!("no relay: {}", relay.log()));
    let mail = mail::short("one");
    send(
        address,
        "origin@sender.test",
        &["alice@example.test"],
        &mail,
    )
    .await;
    assert!(sink.message().await.text().contains("Subject: one"));
    let check = ["status", "--check", "log-lost<1"];
    while relay.setup().run(&check).await.code != Some(2) {}
    relay.stop().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_keeps_the_relay_from_starting() {
    let net = Net::new().await;
    let setup = relay(&net, "").set("log.file", "\"no/such/folder\"");
    let wanted = ["no/such/folder", "hint: `log.file`"];
    setup.run_into_error(&["serve"], &wanted).await;
}
