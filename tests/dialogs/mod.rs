//! Runs every dialog of this folder: against the session in memory, twice, and against the binary over TCP.

use std::path::Path;

use testkit::dialog::{Dialog, Feeding};
use testkit::net::Net;

use crate::relay;

fn dialogs() -> Vec<Dialog> {
    Dialog::all_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs"))
}

#[track_caller]
fn report(outcomes: impl Iterator<Item = Result<(), String>>) {
    let failures: Vec<_> = outcomes.filter_map(Result::err).collect();
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} failed:\n{}",
        failures.join("\n")
    );
}

#[test]
fn in_memory() {
    let feedings = [Feeding::Whole, Feeding::ByteByByte];
    let all = dialogs();
    let each = all
        .iter()
        .flat_map(|dialog| feedings.map(|feeding| dialog.run_in_memory(feeding)));
    report(each);
}

#[tokio::test]
async fn over_tcp() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let forwards = "alice@example.test alice@target.test\nbob@example.test bob@target.test\n";
    let relay = relay(&net, forwards)
        .set("hostname", "\"mx.example.test\"")
        .set("limits.recipients", "5")
        .set("limits.message_size", "1000000")
        .set("forwards.postmaster", "\"admin@target.test\"")
        .with_tls()
        .start()
        .await;
    let mut outcomes = Vec::new();
    for dialog in dialogs() {
        outcomes.push(dialog.run_over_tcp(relay.address()).await);
    }
    report(outcomes.into_iter());
}
