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

/// The lines that lead to the targets, the way back, and the hosts that delivery would try.
#[tokio::test]
async fn the_whole_way_is_told() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    net.dns.add("null.test MX 0 .");
    let forwards = "# who is where\nexample.test :domain: srs_domain=srs.example.test\n\
        team@example.test alice@example.test, carol@null.test, gone@example.test\n\
        alice@example.test alice@target.test\n";
    let relay = relay(&net, forwards)
        .set("delivery.bind", "['127.0.0.1']")
        .start()
        .await;
    let explain = [
        "explain",
        "--to",
        "team@example.test",
        "--from",
        "ann@sender.test",
    ];
    let told = relay.setup().run(&explain).await.success();
    let file = relay.setup().path("forwards");
    let file = file.display();
    let targets = sink.address();
    for expected in [
        format!(
            "  team@example.test\n    {file}:3: team@example.test alice@example.test, carol@null.test, gone@example.test\n    its domain: {file}:2: example.test :domain: srs_domain=srs.example.test\n"
        ),
        format!("    alice@example.test\n      {file}:4: alice@example.test alice@target.test\n"),
        "      alice@target.test\n".to_owned(),
        "    gone@example.test: ".to_owned(),
        "    a bounce comes back to ann@sender.test\n".to_owned(),
        format!(
            "    site mx.target.test, TLS opportunistic\n      mx.target.test {targets} from 127.0.0.1\n"
        ),
        "    cannot be sent now: 5.1.10 null.test takes no mail (null MX)\n".to_owned(),
    ] {
        assert!(told.stdout.contains(&expected), "{expected}\n{told}");
    }
    let json = relay
        .setup()
        .run(&[&explain[..], &["--json"]].concat())
        .await
        .success();
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["listener"], "mx");
    let line = format!("{file}:4: alice@example.test alice@target.test");
    assert_eq!(json["expansion"][1]["line"], line);
    assert_eq!(json["ways"][0]["hops"][0]["from"], "127.0.0.1");
    assert_eq!(sink.connections(), 0);
}

/// A user is asked about as on a submission port: as whom they may send, and under which return path.
#[tokio::test]
async fn a_user_is_explained() {
    let net = Net::new().await;
    let setup = relay(&net, FORWARDS).set("auth.users", "\"users\"");
    setup.write(
        "users",
        "ann@example.test:$2b$05$mdfqMaX6y2ndf3sXziRt3.BxvKoUPbpy0MOW2gm/IkYKX4XqOV2Sa\n",
    );
    let relay = setup.start().await;
    let explain = async |from: &str, user: &str| {
        let explain = [
            "explain",
            "--to",
            "x@far.test",
            "--from",
            from,
            "--user",
            user,
        ];
        relay.setup().run(&explain).await
    };
    let own = explain("ann@example.test", "ann@example.test").await;
    assert!(
        own.stdout
            .contains(" (authenticated) as ann@example.test, "),
        "{own}"
    );
    assert!(
        own.stdout
            .contains("accepted, and queued for\n  x@far.test from <ann@example.test>"),
        "{own}"
    );
    let other = explain("eve@other.test", "ann@example.test").await;
    assert!(other.stdout.contains("refused at mail by rule "), "{other}");
    let unknown = ["explain", "--to", "x@far.test", "--user", "eve"];
    relay
        .setup()
        .run_into_error(&unknown, &["there is no user `eve`"])
        .await;
}
