//! `onward explain`: what would be decided, by the running daemon, with nothing sent and nothing counted.

use serde_json::Value;
use testkit::net::Net;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\njunk@example.test :discard:\n\
    bob@example.test bob@target.test dmarc=hold\n";

#[tokio::test]
async fn a_mail_is_explained_and_not_sent() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let accepted = relay.setup().run(&[
        "explain",
        "--to",
        "alice@example.test",
        "--from",
        "ann@sender.test",
    ]);
    let accepted = accepted.await;
    assert_eq!(accepted.code, Some(0), "{accepted}");
    for expected in [
        "<ann@sender.test> from 192.0.2.1 (stranger), EHLO client.example, to alice@example.test",
        "  where the mail goes → a hosted address, 1 target",
        "  said nothing: lookup-failed, srs-invalid,",
        "  hosted                 grant",
        "accepted, and queued for\n  alice@target.test from <SRS0=",
        "without a message (--file), the rules at its end were not asked",
    ] {
        assert!(accepted.stdout.contains(expected), "{expected}: {accepted}");
    }

    let refused = relay
        .setup()
        .run(&["explain", "--to", "eve@example.test", "--json"])
        .await;
    assert_eq!(refused.code, Some(1), "{refused}");
    let json: Value = serde_json::from_str(&refused.stdout).expect("JSON");
    let expected = serde_json::json!({
        "stage": "rcpt",
        "rule": "hosted-unknown",
        "reply": "550 5.1.1 no such address here",
    });
    assert_eq!(json["refusal"], expected);

    let junk = relay
        .setup()
        .run(&["explain", "--to", "junk@example.test"])
        .await;
    assert!(junk.stdout.contains("accepted and discarded"), "{junk}");
    assert_eq!(sink.connections(), 0);
    assert_eq!(relay.count("received") + relay.count("refused"), 0);
}

/// The rules at the end of the message see a file as they would see the mail, whatever its line ends.
#[tokio::test]
async fn a_message_is_looked_at() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS).start().await;
    let text = "Delivered-To: alice@example.test\nSubject: x\n\nx\n";
    relay.setup().write("loop.eml", text);
    let file = relay.setup().path("loop.eml");
    let file = file.to_str().expect("UTF-8");
    let looped = relay
        .setup()
        .run(&["explain", "--to", "alice@example.test", "--file", file])
        .await;
    assert_eq!(looped.code, Some(1), "{looped}");
    let expected = "refused at message by rule loop: 554 5.4.6 mail loop: this message has passed alice@example.test before";
    assert!(looped.stdout.contains(expected), "{looped}");
    for file in ["nowhere.eml", "/"] {
        let explain = ["explain", "--to", "alice@example.test", "--file", file];
        let words = [&*format!("cannot read {file}: "), "hint: "];
        relay.setup().run_into_error(&explain, &words).await;
    }
}

/// A bounce that is only explained takes nothing from the sender's budget.
#[tokio::test]
async fn an_srs_address_is_explained() {
    let net = Net::new().await;
    let relay = relay(&net, FORWARDS)
        .set("srs.bounces_per_day", "1")
        .start()
        .await;
    let srs = relay
        .setup()
        .run(&["srs", "encode", "ann@sender.test"])
        .await;
    let srs = srs.stdout.trim();
    for _ in 0..3 {
        let explained = relay.setup().run(&["explain", "--to", srs]).await;
        assert_eq!(explained.code, Some(0), "{explained}");
        let expected = "an SRS address of ours, back to ann@sender.test";
        assert!(explained.stdout.contains(expected), "{explained}");
    }
}

/// What a domain chooses is asked as for real mail, and its answers are told.
#[tokio::test]
async fn measures_are_explained() {
    let net = Net::new().await;
    net.dns
        .add("bank.test TXT v=spf1 -all\n_dmarc.bank.test TXT v=DMARC1; p=reject");
    let relay = relay(&net, FORWARDS)
        .set("profile", "[{ name = \"default\", spf = \"reject\" }]")
        .start()
        .await;
    let from = ["--from", "ann@bank.test", "--ip", "192.0.2.7"];
    let explain = [&["explain", "--to", "alice@example.test"], &from[..]].concat();
    let refused = relay.setup().run(&explain).await;
    assert_eq!(refused.code, Some(1), "{refused}");
    for expected in [
        "; measures: spf=reject dmarc=mark\n",
        "  SPF → fail for bank.test, the reverse path",
        "  spf                    object: 550 5.7.23 SPF: the record of bank.test does not allow 192.0.2.7",
        "\nrefused at rcpt by rule spf: 550 5.7.23 SPF: the record of bank.test",
    ] {
        assert!(refused.stdout.contains(expected), "{expected}: {refused}");
    }

    relay
        .setup()
        .write("forged.eml", "From: ann@bank.test\n\nx\n");
    let file = relay.setup().path("forged.eml");
    let file = ["--file", file.to_str().expect("UTF-8")];
    let explain = [&["explain", "--to", "bob@example.test"], &file[..]].concat();
    let held = relay.setup().run(&explain).await.success();
    for expected in [
        "  DMARC → fail, and bank.test asks for p=reject",
        "  dmarc                  note: hold",
        "\naccepted, and queued, on hold until an operator releases it, for\n  bob@target.test",
    ] {
        assert!(held.stdout.contains(expected), "{expected}: {held}");
    }

    relay.setup().write("forged.eml", "Subject: x\n\nx\n");
    let nobody = relay.setup().run(&explain).await.success();
    let expected = "  DMARC → permerror: no From field";
    assert!(nobody.stdout.contains(expected), "{nobody}");
    let foreign = ["explain", "--to", "eve@foreign.test"];
    let foreign = relay.setup().run(&foreign).await;
    let expected = "→ not a domain of ours\n";
    assert!(foreign.stdout.contains(expected), "{foreign}");
}
