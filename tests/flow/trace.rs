//! `onward trace`, `stats` and `forwards failing`: a message is found in every way, with the daemon and without; what strangers
//! said moves no terminal.

use testkit::daemon::Setup;
use testkit::net::Net;
use testkit::sender::{Plain, send};

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\nbob@example.test bob@target.test\n";

/// What changes from run to run, by the words that stand for it.
fn masked(text: &str, names: &[(&str, &str)]) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || ".:-".contains(c);
    let mut masked = String::new();
    for piece in text.split_inclusive(|c| !is_of_word(c)) {
        let word = piece.trim_end_matches(|c| !is_of_word(c));
        let is_time = word.len() == 24 && word.ends_with('Z');
        masked += if is_time { "TIME" } else { word };
        masked += &piece[word.len()..];
    }
    for (value, name) in names {
        masked = masked.replace(value, name);
    }
    // Spans are whatever they are.
    let cut = |line: &str| match line.split_once(" (waited") {
        Some((before, rest)) => before.to_owned() + rest.split_once(')').map_or("", |(_, end)| end),
        None => line.to_owned(),
    };
    masked.lines().map(cut).collect::<Vec<_>>().join("\n")
}

async fn found(setup: &Setup, what: &str, input: &str) -> String {
    let arguments = ["trace", what];
    let finished = setup.run_with(&arguments, input.as_bytes()).await;
    finished.success().stdout
}

#[track_caller]
fn check_way(shown: &str, size: &str) {
    let lines: Vec<_> = shown.lines().collect();
    assert!(
        lines[0].starts_with("delivered to alice@target.test by HOST "),
        "{shown}"
    );
    // The machine's own table may name its loopback address.
    let named = lines[2].strip_prefix("  received   TIME from client.test (");
    assert!(
        named.is_some_and(|rest| rest.contains("CLIENT) at LISTENER, in ")),
        "{shown}"
    );
    let rest = "  from       <origin@sender.test>
  Message-ID <plain@sender.test>
  size       SIZE octets
  leg 0      alice@example.test → alice@target.test from <SRS>, delivered
    try 1    TIME deferred by HOST, in clear: while waiting for the reply to the end of the message: 451 4.3.0 try later, next try TIME
    try 2    TIME delivered by HOST, in clear: 250 2.0.0 taken";
    let rest = rest.replace("SIZE", size);
    assert_eq!(lines[3..].join("\n"), rest);
}

#[tokio::test]
async fn every_way_to_a_message() {
    let net = Net::new().await;
    let script = "dot first 1: 451 4.3.0 try later";
    let target = net.sink("target.test", script).await;
    let relay = relay(&net, FORWARDS).start().await;
    let mail = include_bytes!("../mail/plain.eml");
    let to = ["alice@example.test"];
    send(relay.address(), "origin@sender.test", &to, mail).await;
    let delivered = relay.wait_for("delivered target=alice@ attempt=2").await;
    let (id, host) = (delivered.text("id"), delivered.text("host"));
    let header = target.message().await.text();

    // By the daemon, which writes it down a moment later.
    let mut running = String::new();
    while !running.starts_with("delivered") {
        let finished = relay.setup().run(&["trace", &id]).await;
        running = finished.stdout;
    }

    let received = relay.wait_for("received").await;
    let address = relay.address().to_string();
    let setup = relay.stop().await;

    let stopped = found(&setup, &id, "").await;
    assert_eq!(stopped, running);
    let others = [&id[..22], "plain@sender.test", "<plain@sender.test>"];
    for what in others
        .into_iter()
        .chain(["alice@example.test", "alice@target.test"])
    {
        assert_eq!(found(&setup, what, "").await, running, "{what}");
    }
    let above = "Received: from mx.fwd.test by mx.target.test with ESMTP id 4711; Sat, 21 Nov 2026 12:34:56 +0000\r\n";
    assert_eq!(
        found(&setup, "-", &(above.to_owned() + &header)).await,
        running
    );
    assert_eq!(
        found(&setup, "-", "Message-ID: <plain@sender.test>\n").await,
        running
    );

    let (client, sender) = (
        received.text("client"),
        format!("<{}>", target.received()[0].from),
    );
    let names = [
        (&*id, "ID"),
        (&host, "HOST"),
        (&client, "CLIENT"),
        (&address, "LISTENER"),
        (&sender, "<SRS>"),
    ];
    let size = received.text("size");
    check_way(&masked(&running, &names), &size);
}

/// A command, and what it must say.
const SAID: &[(&str, &[&str])] = &[
    (
        "trace bob@example.test",
        &[
            "failed for bob@target.test ",
            ": 550 5.1.1 gone",
            "bounced ",
        ],
    ),
    (
        "trace nobody@example.test",
        &[
            "refused at rcpt by rule hosted-unknown: 550 5.1.1",
            "<late@sender.test>",
            "client.test",
        ],
    ),
    (
        "trace --status refused --client 127.0.0.1",
        &["refused at rcpt"],
    ),
    (
        "trace --from origin@sender.test --since 1d",
        &[
            "message ",
            "\n\ndelivered to alice@target.test",
            "\n\nfailed for bob@target.test",
        ],
    ),
    (
        "stats --by forward",
        &["alice@example.test → alice@target.test"],
    ),
    ("stats --by reply --reply 5.1", &["gone"]),
    (
        "forwards failing",
        &[
            "bob@example.test → bob@target.test",
            "never",
            "550 5.1.1 gone",
        ],
    ),
];

async fn check_said(setup: &Setup, arguments: &[&str], wanted: &[&str]) {
    let finished = setup.run(arguments).await.success();
    for text in wanted {
        let said = finished.stdout.contains(text);
        assert!(said, "{arguments:?} says no {text:?}: {finished}");
    }
}

#[tokio::test]
async fn bounced_refused_and_summed_up() {
    let net = Net::new().await;
    let _target = net
        .sink("target.test", "rcpt for bob@: 550 5.1.1 gone")
        .await;
    let origin = net.sink("sender.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    origin_sends(&relay, "alice@example.test", "one").await;
    relay.wait_for("delivered target=alice@").await;
    origin_sends(&relay, "bob@example.test", "two").await;
    origin.message().await;
    let notice = relay.wait_for("delivered target=origin@sender.test").await;
    let bounced = relay.wait_for("bounced").await;
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<late@sender.test>", "250").await;
    plain.expect("RCPT TO:<nobody@example.test>", "550").await;
    plain.quit().await;
    relay.wait_for("refused").await;
    let setup = relay.stop().await;
    for (id, wanted) in [
        (notice.text("id"), "delivered to origin@sender.test by mx."),
        (bounced.text("bounce"), "a notice of ours"),
    ] {
        check_said(&setup, &["trace", &id], &[wanted]).await;
    }
    for (command, wanted) in SAID {
        let arguments: Vec<_> = command.split(' ').collect();
        check_said(&setup, &arguments, wanted).await;
    }
    let nothing = setup
        .run(&["trace", "eve@example.test", "--since", "2d"])
        .await;
    assert_eq!(nothing.code, Some(3), "{nothing}");
    assert!(
        nothing
            .stdout
            .contains("nothing in the history matches\nthe history begins at 20"),
        "{nothing}"
    );
    let nothing = setup
        .run(&["forwards", "failing", "--since", "2999-01-01"])
        .await;
    assert_eq!(nothing.code, Some(3), "{nothing}");
}

#[tokio::test]
async fn what_strangers_say_moves_no_terminal() {
    let net = Net::new().await;
    let _sink = net
        .sink("target.test", "rcpt: 550 5.1.1 \u{202e}gone\u{9b}2J")
        .await;
    let relay = relay(&net, FORWARDS).start().await;
    let mut plain = Plain::hello(relay.address()).await;
    plain.command("EHLO \u{1b}[2J.test").await;
    plain.expect("EHLO client.test", "250").await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain
        .command("RCPT TO:<\u{1b}[2J\u{202e}@example.test>")
        .await;
    plain.expect("RSET", "250").await;
    let mail = "Message-ID: <\u{1b}[2J\u{202e}@sender.test>\r\nSubject: \u{1b}[2J\r\n\r\n\r\n";
    let to = ["<alice@example.test>"];
    plain.transaction("<>", &to, mail.as_bytes()).await;
    relay.wait_for("failed to=alice@example.test").await;
    let setup = relay.stop().await;
    let commands = [
        &["trace"][..],
        &["trace", "alice@example.test"],
        &["trace", "--status", "refused"],
        &["stats", "--by", "reply"],
        &["stats", "--by", "rule"],
        &["forwards", "failing"],
    ];
    for arguments in commands {
        let json = [arguments, &["--json"]].concat();
        for arguments in [arguments, &json] {
            let finished = setup.run(arguments).await.success();
            let is_seen = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
            assert!(
                finished.stdout.chars().all(is_seen),
                "{arguments:?}: {finished}"
            );
        }
    }
}
