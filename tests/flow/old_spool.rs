//! Upgrades: a spool that an older version wrote is read and delivered; one of a newer version is refused and left alone.
//!
//! `tests/spools/v1` was written by `crates/queue/examples/old_spool.rs` as it was then; it is never written again.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::daemon::Setup;
use testkit::net::Net;

use crate::relay;

/// A relay on a copy of a kept spool. What is in it came years ago, and is not to expire here.
fn on_kept(net: &Net, version: &str) -> Setup {
    let setup = relay(net, "alice@example.test alice@target.test\n")
        .set("queue.expire", "\"36500d\"")
        .set("queue.warn_after", "\"36500d\"");
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/spools")
        .join(version);
    for folder in ["spool", "spool/log"] {
        fs::create_dir(setup.path(folder)).expect("a folder");
    }
    fs::copy(from.join("id"), setup.path("spool/id")).expect("the id");
    for entry in fs::read_dir(from.join("log")).expect("the kept log") {
        let entry = entry.expect("an entry");
        let to = setup.path("spool/log").join(entry.file_name());
        fs::copy(entry.path(), to).expect("a segment");
    }
    setup
}

/// The segments with what is in them.
fn segments(setup: &Setup) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(setup.path("spool/log")).expect("the log");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut all: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(path).expect("a segment")))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_spool_of_format_1_is_exported_and_delivered() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let setup = on_kept(&net, "v1");
    let before = segments(&setup);
    let folder = setup.path("mail");
    // The index is not kept: that is all that is said to be wrong.
    let export = ["spool", "export", folder.to_str().expect("UTF-8")];
    setup
        .run_into_error(
            &export,
            &["4 messages", " 0 of them damaged", "the index is missing"],
        )
        .await;
    assert!(segments(&setup) == before, "an export changes nothing");

    let relay = setup.start().await;
    assert_eq!(relay.wait_for("ready").await.text("queued"), "5");
    relay.wait_for_count(4, "delivered").await;
    let held = relay.run_json(&["queue", "list"]).await;
    assert_eq!(held["legs"].as_array().map(Vec::len), Some(1), "{held}");
    assert_eq!(held["legs"][0]["state"], "held");
    relay.run(&["queue", "release", "--all"]).await;
    relay.wait_for_count(5, "delivered").await;
    let got: Vec<String> = sink.received().iter().map(|got| got.text()).collect();
    for n in 1..=4 {
        let mails = got
            .iter()
            .filter(|mail| mail.contains(&format!("Subject: message {n}\r\n")));
        assert!(mails.count() >= 1, "message {n} is missing: {got:?}");
    }
    let large = got
        .iter()
        .find(|mail| mail.contains("message 3\r\n"))
        .expect("the large one");
    assert!(
        large.len() >= 20_000 && large.ends_with("line of message 3\r\n"),
        "{}",
        large.len()
    );
}

#[tokio::test]
async fn a_spool_of_a_newer_format_is_refused_and_left_alone() {
    let net = Net::new().await;
    let setup = on_kept(&net, "v1");
    let (path, mut bytes) = segments(&setup).swap_remove(0);
    bytes[8] = 2;
    let crc = crc32(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&crc);
    fs::write(&path, bytes).expect("written");
    let before = segments(&setup);
    let wanted = [
        "spool format 2",
        "knows up to 1",
        "or a newer one; nothing was changed",
    ];
    for command in [
        &["serve"][..],
        &["check"],
        &["spool", "verify"],
        &["spool", "rebuild"],
    ] {
        setup.run_into_error(command, &wanted).await;
    }
    assert!(segments(&setup) == before);
}

/// CRC-32 as in zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}
