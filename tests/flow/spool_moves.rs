//! `onward spool snapshot | export | import`: a spool is backed up while it is at work, and brought back elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::daemon::{Relay, Setup};
use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;

use crate::{origin_sends, relay};

/// What must not be lost of each leg on its way through an export.
pub(crate) fn kept(page: &Value) -> Vec<Value> {
    let kept = [
        "leg",
        "state",
        "reverse_path",
        "sender",
        "recipient",
        "target",
        "origin",
        "options",
        "size",
        "arrived",
        "expires",
        "next_try",
        "attempts",
        "last",
        "diagnosis",
    ];
    let legs = page["legs"].as_array().expect("legs").iter();
    legs.map(|leg| kept.iter().map(|key| (*key, leg[key].clone())).collect())
        .collect()
}

pub(crate) async fn legs(relay: &Relay) -> Vec<Value> {
    kept(&relay.run_json(&["queue", "list"]).await)
}

fn rename(folder: PathBuf, from: &str, to: &str) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == from) {
            fs::rename(&path, path.with_extension(to)).expect("renamed");
        }
    }
}

/// Three messages, beside what is of no export; then again.
async fn comes_back(setup: &Setup, mails: &Path) {
    let import = ["spool", "import", mails.to_str().expect("UTF-8")];
    fs::write(mails.join("notes.txt"), "of somebody").expect("written");
    fs::write(mails.join("01J0000000000000000000000.json"), "{}").expect("written");
    setup
        .run_into_error(
            &import,
            &[
                "3 messages with 4 legs",
                "notes.txt: is not of an export",
                "is no envelope",
            ],
        )
        .await;
    fs::remove_file(mails.join("notes.txt")).expect("removed");
    fs::remove_file(mails.join("01J0000000000000000000000.json")).expect("removed");
    let said = setup.run(&import).await.success();
    assert!(
        said.stdout.contains("3 were taken by an earlier import"),
        "{said}"
    );
    rename(mails.to_owned(), "imported", "json");
    let said = setup.run(&import).await.success();
    assert!(said.stdout.contains("3 are queued already"), "{said}");
}

#[tokio::test]
async fn an_export_is_brought_back_once() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let origin = net.sink("sender.test", "").await;
    let first = relay(&net, "alice@example.test alice@target.test\nbob@example.test bob@target.test, carol@target.test\n")
        .set("queue.retry", "[\"1h\"]")
        .start()
        .await;
    let long = format!("{}@sender.test", "Long-Name.".repeat(6) + "End");
    send(
        first.address(),
        &long,
        &["alice@example.test"],
        &mail::short("long"),
    )
    .await;
    origin_sends(&first, "alice@example.test", "one").await;
    origin_sends(&first, "bob@example.test", "two").await;
    first.wait_for_count(4, "deferred").await;
    first
        .run(&["queue", "hold", "--to", "bob@target.test"])
        .await;
    let before = legs(&first).await;
    let sender = before[0]["sender"]
        .as_str()
        .expect("a sender")
        .trim_matches(['<', '>'])
        .to_owned();
    let setup = first.stop().await;
    // A spool at rest says the same.
    let said = setup.run(&["--json", "queue", "list"]).await.success();
    let page = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(kept(&page), before);
    let mails = setup.path("mails");
    let folder = mails.to_str().expect("UTF-8").to_owned();
    setup.run(&["spool", "export", &folder]).await.success();

    // The disk is lost.
    fs::rename(setup.path("spool"), setup.path("lost")).expect("renamed");
    comes_back(&setup, &mails).await;
    sink.script("");
    let import = ["spool", "import", &folder];
    let second = setup.start().await;
    assert_eq!(legs(&second).await, before);
    send(second.address(), "", &[&sender], &mail::short("bounce")).await;
    assert_eq!(
        origin.message().await.to(),
        [long.as_str()],
        "the token leads back"
    );
    second
        .setup()
        .run_into_error(&import, &["in use by process"])
        .await;
    second.run(&["queue", "release", "--all"]).await;
    second.run(&["queue", "retry", "--all"]).await;
    second.wait_for_count(5, "delivered").await;
    let setup = second.stop().await;
    rename(mails, "imported", "json");
    let said = setup.run(&import).await.success();
    assert!(said.stdout.contains("3 have ended in this spool"), "{said}");
    let third = setup.start().await;
    assert_eq!(third.wait_for("ready").await.text("queued"), "0");
}

#[tokio::test]
async fn an_import_that_is_cut_off_marks_what_is_queued() {
    let net = Net::new().await;
    net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .set("queue.retry", "[\"1h\"]")
        .start()
        .await;
    origin_sends(&relay, "alice@example.test", "one").await;
    origin_sends(&relay, "alice@example.test", "two").await;
    relay.wait_for_count(2, "deferred").await;
    let ids: Vec<_> = legs(&relay).await;
    let setup = relay.stop().await;
    let mails = setup.path("mails");
    let folder = mails.to_str().expect("UTF-8");
    setup.run(&["spool", "export", folder]).await.success();
    let envelope = |leg: &Value, extension| {
        let id = leg["leg"].as_str().expect("an id").trim_end_matches(".0");
        mails.join(format!("{id}.{extension}"))
    };
    // More than the log takes in one record.
    let first = fs::read_to_string(envelope(&ids[0], "json")).expect("an envelope");
    let mut first: Value = serde_json::from_str(&first).expect("JSON");
    first["legs"][0]["trace"] = format!("X: {}\r\n", "x".repeat(33 << 20)).into();
    fs::write(envelope(&ids[0], "json"), first.to_string()).expect("written");
    fs::rename(setup.path("spool"), setup.path("lost")).expect("renamed");
    setup
        .run_into_error(&["spool", "import", folder], &["could not be queued"])
        .await;
    assert!(envelope(&ids[0], "json").exists());
    assert!(envelope(&ids[1], "imported").exists());
}

/// Those that are in the queue come out of the copy too; those that were delivered before do not.
#[tokio::test]
async fn a_snapshot_of_a_running_relay_is_a_spool() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .set("queue.retry", "[\"1h\"]")
        .start()
        .await;
    origin_sends(&relay, "alice@example.test", "delivered").await;
    relay.wait_for("delivered").await;
    sink.script("rcpt: 450 4.2.1 busy");
    origin_sends(&relay, "alice@example.test", "waits").await;
    relay.wait_for("deferred").await;
    relay.run(&["queue", "hold", "--all"]).await;
    relay.run(&["site", "pause", "target.test"]).await;
    let copy = relay.setup().path("copy");
    let snapshot = ["spool", "snapshot", copy.to_str().expect("UTF-8")];
    let said = relay.run_json(&snapshot).await;
    assert!(
        said["octets"].as_u64() > Some(0) && said["segments"] == 1,
        "{said}"
    );
    relay
        .setup()
        .run_into_error(&snapshot, &["directory not empty"])
        .await;
    let setup: Setup = relay.kill().await;
    fs::rename(setup.path("spool"), setup.path("lost")).expect("renamed");
    fs::rename(copy, setup.path("spool")).expect("renamed");
    sink.script("");
    let relay = setup.start().await;
    assert_eq!(relay.wait_for("ready").await.text("queued"), "1");
    relay.run(&["queue", "release", "--all"]).await;
    // It was paused when the copy was made.
    relay.run(&["site", "resume", "target.test"]).await;
    relay.wait_for("delivered").await;
    assert_eq!(sink.received().len(), 2);
}
