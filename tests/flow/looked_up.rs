//! Recipients that a web service is asked about: what it says holds, and what it cannot say waits.

use std::fs;

use serde_json::{Value, json};
use testkit::daemon::Relay;
use testkit::lookup::Lookup;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

/// A relay that asks the service, and the service.
async fn asking(net: &Net) -> (Relay, Lookup) {
    let service = Lookup::start().await;
    let source = format!(
        "[{{ kind = 'http', name = 'service', url = '{}', cache = '10m' }}]",
        service.url()
    );
    let relay = relay(net, "bob@example.test bob@target.test\n").set("forwards.source", &source);
    (relay.start().await, service)
}

/// What a recipient is answered, in the end, where that is not 451: a source that was down is tried again after a second.
async fn rcpt(relay: &Relay, to: &str, reply: &str) {
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    let rcpt = format!("RCPT TO:<{to}>");
    let mut said = plain.command(&rcpt).await;
    let began = std::time::Instant::now();
    while !reply.starts_with("451")
        && said.starts_with("451")
        && began.elapsed() < testkit::PATIENCE
    {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        said = plain.command(&rcpt).await;
    }
    assert!(said.starts_with(reply), "{to}: {said}");
}

/// Which sources are down, and why.
async fn down(relay: &Relay) -> Value {
    let status = relay.run_json(&["status"]).await;
    let down = status["forwards"]["sources_down"].as_array();
    let down = down.expect("a list").iter();
    down.map(|down| json!([down["name"], down["error"]]))
        .collect()
}

/// Takes over another configuration, the `count`th time.
async fn reload(relay: &Relay, config: &str, count: usize) {
    relay.setup().write("onward.toml", config);
    relay.reload();
    relay.wait_for_count(count, "reloaded").await;
}

const DOWN: &str = "HTTP status 503 Service Unavailable";

#[tokio::test]
async fn hit_miss_nonsense_and_down() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let (relay, service) = asking(&net).await;
    service.forwards("alice@hosted.test", "alice@target.test");
    service.says("address=odd@hosted.test", "<html>It works!</html>");
    service.says("address=lost@hosted.test", "{\"options\": {}}");
    origin_sends(&relay, "Alice+tag@hosted.test", "one").await;
    assert_eq!(sink.message().await.to(), ["alice@target.test"]);
    rcpt(&relay, "nobody@hosted.test", "550 5.1.1").await;
    rcpt(&relay, "ann@foreign.test", "550 5.7.1").await;
    for odd in ["odd@hosted.test", "lost@hosted.test"] {
        rcpt(&relay, odd, "451 4.3.0").await;
        rcpt(&relay, &format!("not{odd}"), "550 5.1.1").await;
    }
    let error = relay.wait_for("source-down").await.text("error");
    assert!(error.contains("not understood"), "{error}");
    relay.wait_for("source-up source=service").await;
    service.fails(Some("503 Service Unavailable"));
    rcpt(&relay, "new@hosted.test", "451").await;
    rcpt(&relay, "ann@other.test", "451").await;
    // What it has said holds for a while, and the table always.
    rcpt(&relay, "alice@hosted.test", "250").await;
    rcpt(&relay, "bob@example.test", "250").await;
    assert_eq!(down(&relay).await, json!([["service", DOWN]]));
    service.fails(None);
    service.forwards("new@hosted.test", "new@target.test");
    rcpt(&relay, "new@hosted.test", "250").await;
    assert_eq!(down(&relay).await, json!([]));
}

#[tokio::test]
async fn whom_the_table_knows_gets_mail_though_it_never_answered() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let (relay, service) = asking(&net).await;
    service.fails(Some("503 Service Unavailable"));
    origin_sends(&relay, "bob@example.test", "one").await;
    assert_eq!(sink.message().await.to(), ["bob@target.test"]);
    rcpt(&relay, "nobody@example.test", "451").await;
    rcpt(&relay, "ann@target.test", "451").await;
}

/// Nobody knows of it that it is hosted here, but DNS leads its mail to us.
#[tokio::test]
async fn a_target_of_ours_waits_for_the_source() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    net.dns
        .add("hosted.test. MX 10 mx.fwd.test.\nmx.fwd.test. A 127.0.0.1\n");
    let service = Lookup::start().await;
    let source = format!(
        "[{{ kind = 'http', name = 'service', url = '{}' }}]",
        service.url()
    );
    let forwards = "bob@example.test bob@target.test\nann@example.test ann@hosted.test\n";
    let relay = relay(&net, forwards).set("forwards.source", &source);
    let relay = relay.start().await;
    service.fails(Some("503 Service Unavailable"));
    rcpt(&relay, "bob@example.test", "250").await;
    rcpt(&relay, "ann@example.test", "451 4.3.0").await;
    service.fails(None);
    service.forwards("ann@hosted.test", "ann@target.test");
    rcpt(&relay, "ann@example.test", "250").await;
    origin_sends(&relay, "ann@example.test", "one").await;
    assert_eq!(sink.message().await.to(), ["ann@target.test"]);
}

#[tokio::test]
async fn a_reload_forgets_nothing_of_a_source_that_stays() {
    let net = Net::new().await;
    let (relay, service) = asking(&net).await;
    service.forwards("alice@hosted.test", "alice@target.test");
    rcpt(&relay, "alice@hosted.test", "250").await;
    rcpt(&relay, "ann@foreign.test", "550 5.7.1").await;
    service.fails(Some("503 Service Unavailable"));
    rcpt(&relay, "new@hosted.test", "451").await;

    let path = relay.setup().path("onward.toml");
    let config = fs::read_to_string(path).expect("a file");
    let trusting = format!("policy.trusted = ['127.0.0.0/8']\n{config}");
    reload(&relay, &trusting, 1).await;
    assert_eq!(down(&relay).await, json!([["service", DOWN]]));
    rcpt(&relay, "alice@hosted.test", "250").await;
    // It is known to be elsewhere, and goes there now; of the other domain nothing is known.
    rcpt(&relay, "ann@foreign.test", "250").await;
    rcpt(&relay, "ann@other.test", "451").await;

    // One that is asked otherwise begins anew.
    reload(&relay, &trusting.replace("'10m'", "'11m'"), 2).await;
    assert_eq!(down(&relay).await, json!([]));
    rcpt(&relay, "alice@hosted.test", "451").await;
    assert_eq!(down(&relay).await, json!([["service", DOWN]]));
    service.fails(None);
    rcpt(&relay, "alice@hosted.test", "250").await;
    relay.wait_for("source-up source=service").await;
    assert_eq!(down(&relay).await, json!([]));

    // One that is gone is not down.
    service.fails(Some("503 Service Unavailable"));
    rcpt(&relay, "late@hosted.test", "451").await;
    let without: String = trusting
        .lines()
        .filter(|line| !line.contains("service"))
        .flat_map(|line| [line, "\n"])
        .collect();
    reload(&relay, &without, 3).await;
    assert_eq!(down(&relay).await, json!([]));
}

#[tokio::test]
async fn check_and_doctor_ask_whether_it_answers() {
    let net = Net::new().await;
    let (relay, service) = asking(&net).await;
    for (status, check, doctor) in [
        (
            None,
            "ok   source       service: answers",
            "service: answers",
        ),
        (
            Some("503 Service Unavailable"),
            "risk source       service: HTTP status 503",
            "service: HTTP status 503",
        ),
    ] {
        service.fails(status);
        let said = relay.setup().run(&["check"]).await.stdout;
        assert!(said.contains(check), "{said}");
        let said = relay.setup().run(&["doctor"]).await.stdout;
        let mut found = said.lines().filter(|line| line.contains(" source "));
        assert!(
            found.next().is_some_and(|line| line.contains(doctor)),
            "{said}"
        );
    }
    // The doctor's question says what any other would.
    assert_eq!(down(&relay).await, json!([["service", DOWN]]));
}
