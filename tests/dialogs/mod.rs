//! Runs every dialog of this folder: in memory, twice, and against the binary over TCP.

mod memory;

use std::collections::BTreeMap;
use std::path::Path;

use testkit::dialog::{Dialog, Feeding, Setup};
use testkit::net::Net;

use crate::relay;

/// The dialogs, by the forwards and the settings that their relay has.
fn dialogs() -> BTreeMap<Setup, Vec<Dialog>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let mut all: BTreeMap<Setup, Vec<Dialog>> = BTreeMap::new();
    for dialog in Dialog::all_in(&folder) {
        let mut setup = dialog.setup().clone();
        if setup.forwards.is_empty() {
            setup.forwards = FORWARDS.to_owned();
        }
        for (key, value) in SETTINGS {
            let default = || value.to_owned();
            setup.settings.entry(key.to_owned()).or_insert_with(default);
        }
        all.entry(setup).or_default().push(dialog);
    }
    all
}

#[track_caller]
fn report(outcomes: Vec<Result<(), String>>) {
    let failures: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} failed:\n{}",
        failures.join("\n")
    );
}

#[tokio::test]
async fn in_memory() {
    let mut outcomes = Vec::new();
    for (setup, dialogs) in dialogs() {
        for feeding in [Feeding::Whole, Feeding::ByteByByte] {
            let (_filters, tables) = setup.start_filters().await;
            let relay = memory::Relay::new(&setup, &tables);
            for dialog in &dialogs {
                outcomes.push(relay.run(dialog, feeding).await);
            }
        }
    }
    report(outcomes);
}

#[tokio::test]
async fn over_tcp() {
    let mut outcomes = Vec::new();
    for (setup, dialogs) in dialogs() {
        // Of its own: the records of another setup are not to be found.
        let net = Net::new().await;
        net.dns.add(&setup.dns);
        let _sink = net.sink("target.test", "").await;
        let mut relay = relay(&net, &setup.forwards).with_tls();
        for (key, value) in &setup.settings {
            relay = relay.set(key, value);
        }
        let mut lists = Vec::new();
        for (name, content) in &setup.lists {
            relay.write(name, content);
            lists.push(format!("{{ name = \"{name}\", file = \"{name}\" }}"));
        }
        let (_filters, tables) = setup.start_filters().await;
        relay = relay.set("filter", &tables);
        if !setup.users.is_empty() {
            relay.write("users", &setup.users);
            relay = relay
                .set("auth.users", "\"users\"")
                .listener("bind = \"127.0.0.1:0\"\nrole = \"submission\"");
        }
        let relay = relay.set("list", &format!("[{}]", lists.join(",")));
        let relay = relay.start().await;
        for dialog in dialogs {
            outcomes.push(dialog.run_over_tcp(relay.address()).await);
        }
    }
    report(outcomes);
}

const FORWARDS: &str = "alice@example.test alice@target.test\nbob@example.test bob@target.test\n";
const SETTINGS: [(&str, &str); 4] = [
    ("hostname", "\"mx.example.test\""),
    ("limits.recipients", "5"),
    ("limits.message_size", "1000000"),
    ("forwards.postmaster", "\"admin@target.test\""),
];
