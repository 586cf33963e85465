//! Commands that need no running relay: init, check, srs, demo.

use testkit::net::Net;
use testkit::program;

use crate::relay;

const ONWARD: &str = env!("CARGO_BIN_EXE_onward");

#[tokio::test]
async fn init_writes_what_check_accepts() {
    let net = Net::new().await;
    let setup = relay(&net, "");
    let folder = setup.path("new");
    let folder = folder.to_str().expect("UTF-8");
    setup
        .run(&["init", folder, "--hostname", "mx.new.test"])
        .await
        .success();
    let config = std::fs::read_to_string(setup.path("new/onward.toml")).expect("a config");
    assert!(config.contains("mx.new.test"), "{config}");
    let again = setup.run(&["init", folder]).await.success();
    assert!(again.stdout.contains("kept"), "{again}");
}

#[tokio::test]
async fn check_and_srs() {
    let net = Net::new().await;
    let setup = relay(&net, "alice@example.test alice@target.test\n")
        .set("forwards.postmaster", "\"admin@target.test\"")
        .with_tls();
    setup.run(&["check"]).await.success();
    let encoded = setup
        .run(&["srs", "encode", "Origin@sender.test"])
        .await
        .success();
    let address = encoded.stdout.trim();
    assert!(
        address.starts_with("SRS0=") && address.ends_with("=sender.test=Origin@fwd.test"),
        "{encoded}"
    );
    let decoded = setup.run(&["srs", "decode", address]).await.success();
    assert!(decoded.stdout.contains("Origin@sender.test"), "{decoded}");
    let json = setup
        .run(&["--json", "srs", "decode", address])
        .await
        .success();
    assert!(json.stdout.contains("\"Origin@sender.test\""), "{json}");
    let forged = address.replace("sender.test", "other.test");
    setup.run_into_error(&["srs", "decode", &forged], &[]).await;
}

#[tokio::test]
async fn demo_shows_a_message_and_its_bounce() {
    let demo = program::run(ONWARD, &["demo", "--port", "0", "--once"], b"")
        .await
        .success();
    for wanted in [
        "RCPT TO:<alice@mail.example.com>",
        "MAIL FROM:<SRS0=",
        "not a byte changed",
        "MAIL FROM:<>",
        "RCPT TO:<bob@sender.example>",
    ] {
        assert!(demo.stdout.contains(wanted), "no {wanted:?}: {demo}");
    }
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2() {
    let finished = program::run(ONWARD, &["queue", "frobnicate"], b"").await;
    assert_eq!(finished.code, Some(2), "{finished}");
}
