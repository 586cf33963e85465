//! `onward status`: what it counts, and what monitoring is told.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn what_happened_is_counted() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    origin_sends(&relay, "alice@example.test", "one").await;
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<>", "250").await;
    plain.expect("RCPT TO:<nobody@example.test>", "550").await;
    relay.wait_for("delivered").await;
    let status = loop {
        let status = relay.run_json(&["status"]).await;
        // The counts may come a moment later.
        if status["events"]["delivered"] == 1 && status["events"]["refused"] == 1 {
            break status;
        }
    };
    assert_eq!(status["refused"][0]["rule"], "hosted-unknown", "{status}");
    assert_eq!(status["results"][0]["site"], "mx.target.test", "{status}");
    assert_eq!(status["connections"]["incoming"], 1, "{status}");
    assert_eq!(status["forwards"]["lines"], 1, "{status}");
    let known = ["p50_ms", "p99_ms"];
    for name in known {
        assert!(status["delays"][name].is_u64() && status["commits"][name].is_u64());
    }
    assert!(status["disk"]["free"].as_u64() > status["disk"]["free_min"].as_u64());
    let digest = &status["forwards"]["digest"];
    let setup = relay.stop().await;
    let relay = setup.start().await;
    let again = relay.run_json(&["status"]).await;
    assert_eq!(&again["forwards"]["digest"], digest);
}

#[tokio::test]
async fn monitoring_is_told_by_exit_codes() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS).start().await;
    let check = async |setup: &testkit::daemon::Setup, arguments: &[&str]| {
        let all = [&["status"], arguments].concat();
        let finished = setup.run(&all).await;
        (finished.code, finished.stdout)
    };
    let fine = ["--check", "queue<5,oldest<1h"];
    let said = "OK - queue 0, oldest 0s | queue=0;;5 oldest=0s;;3600\n".to_owned();
    assert_eq!(check(relay.setup(), &fine).await, (Some(0), said));
    let warned = ["--check", "queue<5", "--warn", "free>900PiB"];
    let (code, said) = check(relay.setup(), &warned).await;
    assert!(said.starts_with("WARNING - queue 0, free "), "{said}");
    assert_eq!(code, Some(1));
    let (code, said) = check(relay.setup(), &["--check", "free>900PiB"]).await;
    assert!(said.starts_with("CRITICAL - free "), "{said}");
    assert_eq!(code, Some(2));
    let setup = relay.stop().await;
    let (code, said) = check(&setup, &fine).await;
    assert!(said.starts_with("UNKNOWN - no onward is running"), "{said}");
    assert_eq!(code, Some(3));
    let (code, said) = check(&setup, &["--json", "--check", "queue<5"]).await;
    assert!(said.contains("\"state\": \"UNKNOWN\""), "{said}");
    assert_eq!(code, Some(3));
}

#[tokio::test]
async fn top_without_a_terminal_looks_once() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS).start().await;
    let said = relay.run(&["top"]).await;
    assert!(
        said.contains("0 waiting") && said.contains("refusals"),
        "{said}"
    );
    let look = relay.run_json(&["top"]).await;
    assert_eq!(look["lists"][0]["title"], "sites", "{look}");
}
