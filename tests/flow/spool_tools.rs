//! `onward spool verify | rebuild | export`: what an operator does with a spool while no relay runs.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testkit::daemon::Setup;
use testkit::net::Net;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

/// A relay with two messages that wait for their destination, stopped.
async fn stopped_with_two(net: &Net) -> Setup {
    let setup = relay(net, FORWARDS).set("queue.retry", "[\"1h\"]");
    let setup = setup.set("forwards.postmaster", "\"admin@target.test\"");
    let relay = setup.start().await;
    for subject in ["first", "second"] {
        origin_sends(&relay, "alice@example.test", subject).await;
    }
    relay.wait_for_count(2, "deferred").await;
    // Whoever asks while it runs is told that it does, and what to do.
    let running = relay.setup();
    for command in ["verify", "rebuild"] {
        let wanted = ["in use by process", "systemctl stop onward"];
        running.run_into_error(&["spool", command], &wanted).await;
    }
    running.run(&["check"]).await.success();
    relay.stop().await
}

/// Flips a bit in the body that holds a text.
fn flip(setup: &Setup, text: &str) {
    for entry in fs::read_dir(setup.path("spool/log")).expect("the segment log") {
        let path = entry.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("a segment");
        let place = bytes.windows(text.len()).position(|w| w == text.as_bytes());
        if let Some(at) = place {
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("written back");
        }
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the export");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_whole_spool_is_verified_exported_and_rebuilt() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let setup = stopped_with_two(&net).await;
    let said = setup.run(&["spool", "verify"]).await.success();
    assert!(
        said.stdout.contains("2 messages, 2 legs") && said.stdout.contains("damaged   0"),
        "{said}"
    );
    assert_eq!(said.stderr, "", "no progress but on a terminal");

    let folder = setup.path("mail");
    let export = ["spool", "export", folder.to_str().expect("UTF-8")];
    setup.run(&export).await.success();
    let names = files(&folder);
    assert_eq!(names.len(), 4, "{names:?}");
    let envelope = fs::read_to_string(folder.join(&names[1])).expect("JSON");
    let envelope: Value = serde_json::from_str(&envelope).expect("JSON");
    assert_eq!(envelope["reverse_path"], "<origin@sender.test>");
    assert_eq!(envelope["legs"][0]["target"], "alice@target.test");
    assert_eq!(envelope["legs"][0]["state"], "waiting");
    assert_eq!(envelope["legs"][0]["attempts"], 1);
    let mail = fs::read_to_string(folder.join(&names[0])).expect("mail");
    assert!(
        mail.starts_with("Received: ") && mail.contains("\r\nSubject: first\r\n"),
        "{mail}"
    );
    setup
        .run_into_error(&export, &["cannot write", "overwrites nothing"])
        .await;
    assert_eq!(files(&folder), names);

    fs::remove_dir_all(setup.path("spool/index")).expect("the index can be removed");
    setup
        .run_into_error(&["check"], &["risk spool", "index is missing"])
        .await;
    let said = setup.run(&["spool", "rebuild"]).await.success();
    assert!(said.stdout.contains("2 legs queued"), "{said}");
    setup.run(&["check"]).await.success();

    sink.script("");
    let relay = setup.start().await;
    assert_eq!(relay.wait_for("ready").await.text("queued"), "2");
    relay.run(&["queue", "retry", "--all"]).await;
    relay.wait_for_count(2, "delivered").await;
}

#[tokio::test]
async fn damage_is_named_held_and_can_be_bounced() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let origin = net.sink("sender.test", "").await;
    let setup = stopped_with_two(&net).await;
    flip(&setup, "Subject: first");
    let at = "log/0000000001.seg:";
    setup
        .run_into_error(&["check"], &["risk spool", at, "onward spool verify"])
        .await;
    setup
        .run_into_error(&["spool", "verify"], &["damaged   1", at, "body"])
        .await;
    let json = setup.run(&["--json", "spool", "verify"]).await;
    assert_eq!(json.code, Some(1), "{json}");
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let id = json["damage"][0]["message"]
        .as_str()
        .expect("a message")
        .to_owned();
    assert!(json["damage"][0]["offset"].as_u64() > Some(0), "{json}");

    let folder = setup.path("mail");
    let export = ["spool", "export", folder.to_str().expect("UTF-8")];
    setup
        .run_into_error(&export, &["2 messages", "1 of them damaged"])
        .await;
    let names = files(&folder);
    assert!(names.contains(&format!("{id}.damaged.eml")), "{names:?}");

    sink.script("");
    let relay = setup.set("queue.retry", "[\"1s\"]").start().await;
    relay.run(&["queue", "retry", "--all"]).await;
    relay.wait_for("delivered").await;
    relay.wait_for_count(1, &format!("deferred id={id}")).await;
    // Held with the reason, not tried again.
    let held = relay.run(&["queue", "list", "--state", "held"]).await;
    assert!(
        held.contains(&id) && held.contains("damaged: log segment 1 at "),
        "{held}"
    );
    assert_eq!(files(&relay.setup().path("spool/quarantine")).len(), 1);
    relay.run(&["queue", "bounce", &id]).await;
    let notice = origin.message().await;
    assert!(
        notice
            .text()
            .contains("given up by the postmaster; last attempt: damaged"),
        "{}",
        notice.text()
    );
    assert_eq!(sink.received().len(), 1);
}
