//! Killed again and again in the middle of much mail: whatever was answered 250 arrives, whole.
//!
//! `cargo bench --bench crash` is the same for a thousand longer runs.

use std::time::Duration;

use testkit::campaign::{self, Settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let settings = Settings {
        program: env!("CARGO_BIN_EXE_onward").to_owned(),
        runs: 20,
        seed: 20_261_121,
        connections: 50,
        load: Duration::from_millis(300),
        drain_every: 20,
    };
    let report = campaign::run(settings, |_| {}).await;
    assert!(report.is_good(), "{report}");
    // The campaign met what it is for.
    let account = &report.account;
    assert!(report.killed_starting > 0, "{report}");
    assert!(account.acknowledged > 200, "{report}");
    assert!(account.delivered > 0 && account.bounced > 0, "{report}");
    println!("{report}");
}
