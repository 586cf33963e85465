//! Mistakes in files: each is a message that says where and what to do, and exit code 1.

use testkit::net::Net;
use testkit::program;

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
    let arguments = ["--config", "/nonexistent/onward.toml", "check"];
    let missing = program::run(env!("CARGO_BIN_EXE_onward"), &arguments, b"").await;
    assert_eq!(missing.code, Some(1), "{missing}");
    let said = &missing.stdout;
    assert!(
        said.contains("/nonexistent/onward.toml") && said.contains("hint: "),
        "{missing}"
    );
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
