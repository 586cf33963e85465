//! Killed again and again in the middle of much mail: whatever was answered 250 arrives, whole.
//!
//! `cargo bench --bench crash` is the same for a thousand longer runs.

use std::fs;
use std::time::Duration;

use testkit::campaign::{self, Settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let report = campaign::run(settings(20), |_| {}).await;
    assert!(report.is_good(), "{report}");
    // The campaign met what it is for.
    let account = &report.account;
    assert!(report.killed_starting > 0, "{report}");
    assert!(account.acknowledged > 200, "{report}");
    assert!(account.delivered > 0 && account.bounced > 0, "{report}");
    println!("{report}");
}

/// The same where a 250 is the destination's, and nothing of most mail is ever on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_destination_answered_is_lost() {
    let settings = Settings {
        online: true,
        ..settings(20)
    };
    let report = campaign::run(settings, |_| {}).await;
    assert!(report.is_good(), "{report}");
    assert!(report.account.acknowledged > 40, "{report}");
    println!("{report}");
}

/// A proof that finds nothing is only worth something if it finds something when there is something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_disk_is_found_out() {
    let settings = Settings {
        wipe: true,
        ..settings(3)
    };
    let report = campaign::run(settings, |_| {}).await;
    let kept = report.kept.as_ref().expect("a spool to look at");
    assert!(kept.join("spool.before-drain/log").is_dir());
    assert!(kept.join("mail.log").is_file());
    fs::remove_dir_all(kept).expect("it can be removed");
    assert!(report.account.lost > 0, "{report}");
    assert_eq!(report.account.damaged, 0, "{report}");
    assert!(report.to_string().contains("--seed 20261121"), "{report}");
    assert_eq!(report.json()["lost"], report.account.lost);
}

fn settings(runs: u32) -> Settings {
    Settings {
        program: env!("CARGO_BIN_EXE_onward").to_owned(),
        runs,
        seed: 20_261_121,
        connections: 50,
        load: Duration::from_millis(300),
        drain_every: runs,
        wipe: false,
        online: false,
    }
}
