//! The operator counts and chooses: summaries, parts of ids, patterns, trial runs, and what a change leaves behind.

use std::time::Duration;

use serde_json::Value;
use testkit::daemon::Relay;
use testkit::net::Net;
use testkit::{mail, sender};

use crate::{origin_sends, relay, waiting};

async fn matched(relay: &Relay, selectors: &[&str]) -> (Value, Option<i32>) {
    let arguments = [&["--json", "queue", "retry", "--dry-run"], selectors].concat();
    let finished = relay.setup().run(&arguments).await;
    let said: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    (said["matched"].clone(), finished.code)
}

#[tokio::test]
async fn choosing() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 450 4.2.1 box 17 busy").await;
    let (relay, ids) = waiting(&net, &["one", "two"]).await;
    let shared = ids[0].chars().zip(ids[1].chars());
    let shared = shared.take_while(|(a, b)| a == b).count();
    let (part, both) = (&ids[0][..=shared], &ids[0][..shared]);
    for (selectors, legs) in [
        (&[part][..], 1),
        (&[&format!("{part}.0")], 1),
        (&[&format!("{part}.7")], 0),
        (&["--to", "al*@target.test"], 2),
        (&["--to", "*.test", "--from", "*@sender.test"], 2),
        (&["--to", "*@other.test"], 0),
        (&["--error", "Box 17"], 2),
        (&["--error", "4.2.1 while * 450 * box * busy"], 2),
        (&["--error", "5.*"], 0),
        (&["--site", "target.test"], 2),
        (&["--site", "elsewhere.test"], 0),
        (&["--younger-than", "1h"], 2),
        (&["--older-than", "1h"], 0),
        (&["7ZZZZZ"], 0),
    ] {
        let code = if legs == 0 { 3 } else { 0 };
        let found = matched(&relay, selectors).await;
        assert_eq!(found, (legs.into(), Some(code)), "{selectors:?}");
    }
    let show = relay.run(&["queue", "show", part]).await;
    assert!(show.contains(&ids[0]) && show.contains("expires"), "{show}");
    let cat = relay.run(&["queue", "cat", part]).await;
    assert!(cat.contains("Subject: one"), "{cat}");
    if shared >= 6 {
        let several = ["several ids", ids[0].as_str(), ids[1].as_str()];
        relay
            .setup()
            .run_into_error(&["queue", "remove", both], &several)
            .await;
    }
    let first = relay.run_json(&["queue", "list", "--limit", "1"]).await;
    let next = first["next"].as_str().expect("a cursor");
    let second = relay.run_json(&["queue", "list", "--after", next]).await;
    let leg = second["legs"][0]["leg"].as_str().expect("a leg");
    assert!(leg.starts_with(&ids[1]) && second["next"].is_null());
    let empty = relay
        .setup()
        .run(&["queue", "list", "--to", "nobody.test"])
        .await;
    assert_eq!(empty.code, Some(3), "{empty}");
}

/// A customer of a provider is not all that provider's customers.
#[tokio::test]
async fn choosing_the_mail_of_one_domain_at_a_site() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    net.dns.add("other.test MX 10 mx.target.test");
    let forwards = "alice@example.test a@target.test, b@other.test\n";
    let relay = relay(&net, forwards).start().await;
    origin_sends(&relay, "alice@example.test", "one").await;
    relay.wait_for("deferred target=a@target.test").await;
    relay.wait_for("deferred target=b@other.test").await;
    for (site, legs) in [("mx.target.test", 2), ("target", 2), ("other.test", 1)] {
        assert_eq!(matched(&relay, &["--site", site]).await.0, legs, "{site}");
    }
    let said = relay.run_json(&["queue", "summary", "--by", "site"]).await;
    assert_eq!(
        (&said["rows"][0]["name"], &said["rows"][0]["legs"]),
        (&"mx.target.test".into(), &2.into())
    );
}

/// What the queue does not know is asked of the history, which is written a moment later.
#[tokio::test]
async fn choosing_by_what_the_history_knows() {
    let net = Net::new().await;
    let sink = net
        .sink("target.test", "rcpt for busy@: 450 4.2.1 busy")
        .await;
    let forwards = "alice@example.test alice@target.test, busy@target.test\n";
    let relay = relay(&net, forwards).start().await;
    origin_sends(&relay, "alice@example.test", "one").await;
    sink.message().await;
    let id = relay.wait_for("deferred").await.text("id");
    relay.wait_for("delivered").await;
    let mut show = String::new();
    for _ in 0..TRIES {
        show = relay.run(&["queue", "show", &id]).await;
        if show.contains(" delivered by") && show.contains(" deferred by") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(show.contains(" delivered by"), "{show}");
    assert!(
        show.contains("alice@target.test") && show.contains("450 4.2.1 busy"),
        "{show}"
    );
    for (selectors, legs) in [
        (["--message-id", "<one@sender.test>"], 1),
        (["--message-id", "one@sender.test"], 1),
        (["--message-id", "other@sender.test"], 0),
        (["--client", "127.0.0.1"], 1),
        (["--client", "192.0.2.7"], 0),
    ] {
        assert_eq!(matched(&relay, &selectors).await.0, legs, "{selectors:?}");
    }
}

#[tokio::test]
async fn counting() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let (relay, _) = waiting(&net, &["one", "two"]).await;
    for (by, name) in [
        ("site", "target.test"),
        ("domain", "target.test"),
        ("sender", "sender.test"),
        ("error", "4.2.1 while sending RCPT TO: 450 * busy"),
    ] {
        let said = relay.run_json(&["queue", "summary", "--by", by]).await;
        assert_eq!(
            (
                &said["total"]["legs"],
                said["rows"].as_array().map(Vec::len)
            ),
            (&2.into(), Some(1))
        );
        let row = &said["rows"][0];
        assert_eq!(
            (row["legs"].as_u64(), row["ages"][0].as_u64()),
            (Some(2), Some(2)),
            "{said}"
        );
        if by != "site" {
            assert_eq!(row["name"], name);
        }
        let said = relay.run(&["queue", "summary", "--by", by]).await;
        assert!(said.contains("1280m+") && said.contains("total"), "{said}");
    }
    let none = ["queue", "summary", "--to", "other.test"];
    assert_eq!(relay.setup().run(&none).await.code, Some(3));
}

/// A trial changes nothing; what is for good is asked for; who asked and why is on record.
#[tokio::test]
async fn removing() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let (relay, ids) = waiting(&net, &["one", "two", "three"]).await;
    let trial = relay.run(&["queue", "remove", "--all", "--dry-run"]).await;
    assert!(
        trial.contains("3 legs would be removed") && trial.contains(&ids[2]),
        "{trial}"
    );
    let setup = relay.setup();
    setup
        .run_into_error(&["queue", "remove", "--all"], &["--yes", "--dry-run"])
        .await;
    assert_eq!(relay.run_json(&["status"]).await["queue"]["waiting"], 3);
    let why = ["--reason", "GDPR: asked for by ann\u{1b}"];
    let receipt = relay
        .run_json(&[&["queue", "remove", &ids[0]][..], &why].concat())
        .await;
    assert_eq!(
        (&receipt["done"], &receipt["legs"][0]["target"]),
        (&1.into(), &"alice@target.test".into())
    );
    let line = format!("operator id={} action=remove outcome=done", ids[0]);
    let event = relay.wait_for(&line).await;
    assert!(event.text("reason").starts_with("GDPR: asked for by ann"));
    assert!(
        relay
            .wait_for("operator-asked")
            .await
            .text("reason")
            .starts_with("GDPR")
    );
    let gone = relay.run(&["queue", "bounce", "--all", "--yes"]).await;
    assert!(gone.contains("2 legs bounced"), "{gone}");
}

/// A subject, an address and a reply that would write the terminal anew: each is shown as what it is.
#[tokio::test]
async fn strangers_do_not_write_on_the_terminal() {
    let net = Net::new().await;
    let _sink = net
        .sink("target.test", "rcpt: 450 4.2.1 busy \u{202e}\u{9b}J")
        .await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    let mail = mail::short("a\u{1b}[2J\u{202e}b");
    let to = ["<alice@example.test>"];
    let from = "<o\u{202e}rigin@sender.test> SMTPUTF8";
    sender::send_with(relay.address(), from, &to, &mail).await;
    let id = relay.wait_for("deferred").await.text("id");
    for look in [
        &["queue", "list"][..],
        &["queue", "show", &id],
        &["queue", "summary", "--by", "error"],
        &["queue", "hold", &id, "--dry-run"],
        &["--json", "queue", "list"],
        &["--json", "queue", "show", &id],
    ] {
        let said = relay.run(look).await;
        let hidden = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!said.contains(hidden), "{said:?}");
        assert!(said.contains("202e"), "{said}");
    }
}

/// Within a minute the history has it, on any machine.
const TRIES: usize = 600;
