//! A cracked account: what it floods the world with is stopped, the operator is told once, and a lift ends it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use testkit::daemon::Relay;
use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

/// `ann@example.test`, by `mkpasswd -m bcrypt -R 5 secret`.
const USERS: &str =
    "ann@example.test:$2b$05$mdfqMaX6y2ndf3sXziRt3.BxvKoUPbpy0MOW2gm/IkYKX4XqOV2Sa\n";
const ANN: &str = "AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAc2VjcmV0";
const CRACKED: &str =
    "[{ name = 'cracked', key = 'user', of = 'failures', max = 100, per = '1h', then = 'freeze' }]";

async fn log_in(relay: &Relay, expected: &str) -> Plain {
    let mut ann = Plain::hello(relay.address()).await.start_tls().await;
    ann.expect(ANN, expected).await;
    ann
}

/// Sends to dead addresses until it may not any more; how many messages were accepted.
async fn flood(ann: &mut Plain) -> usize {
    let mail = mail::short("buy");
    for accepted in 0..10_000 {
        let said = ann.command("MAIL FROM:<ann@example.test>").await;
        if said.starts_with("450 4.7.1") {
            return accepted;
        }
        let to = format!("RCPT TO:<gone{accepted}@dead.test>");
        ann.expect(&to, "250").await;
        ann.expect("DATA", "354").await;
        ann.raw(&mail).await;
        ann.raw(b".\r\n").await;
        let said = ann.reply().await;
        assert!(said.starts_with("250"), "{said}");
    }
    panic!("it goes on and on");
}

#[tokio::test]
async fn a_cracked_account_is_frozen() {
    let net = Net::new().await;
    let dead = net.sink("dead.test", "rcpt: 550 5.1.1 gone").await;
    let ops = net.sink("ops.test", "").await;
    let setup = relay(&net, "ann@example.test :discard:\n")
        .with_tls()
        .set("auth.users", "\"users\"")
        .set("limit", CRACKED)
        .set("alerts.mail", "\"ops@ops.test\"")
        .listener("bind = \"127.0.0.1:0\"\nrole = \"submission\"");
    setup.write("users", USERS);
    fs::set_permissions(setup.path("users"), Permissions::from_mode(0o600)).unwrap();
    let relay = setup.start().await;
    let mut ann = log_in(&relay, "235").await;
    let accepted = flood(&mut ann).await;
    relay
        .wait_for("frozen key=user:ann@example.test limit=cracked")
        .await;
    let alert = ops.message().await;
    assert!(alert.subject().contains("user:ann@example.test is frozen"));
    assert!(
        alert
            .text()
            .contains("onward freeze lift user:ann@example.test")
    );

    // What was accepted before the failures came back has failed, or stays here.
    let tried = loop {
        let list = relay.run_json(&["queue", "list", "--limit", "10000"]).await;
        let mut legs = list["legs"].as_array().unwrap().clone();
        legs.retain(|leg| leg["target"].as_str().unwrap().ends_with("@dead.test"));
        if legs.iter().all(|leg| leg["state"] == "held") {
            break accepted - legs.len();
        }
    };
    let said = dead.transcript();
    let rcpts = said.iter().filter(|line| line.contains("RCPT TO")).count();
    eprintln!("accepted {accepted}, tried {tried}, refused by the destination {rcpts}");
    assert!(
        (100..200).contains(&tried) && rcpts <= 200,
        "{tried} {rcpts}"
    );

    // A restart changes nothing, and tells nobody again.
    let relay = relay.kill().await.start().await;
    let frozen = relay.run_json(&["freeze", "list"]).await;
    assert_eq!(frozen[0]["key"], "user:ann@example.test");
    assert_eq!(frozen[0]["told"], true);
    log_in(&relay, "454").await;
    assert_eq!(relay.count("alerted"), 0);
    assert_eq!(ops.received().len(), 1);

    let said = relay.run(&["freeze", "lift", "ann@example.test"]).await;
    assert!(said.contains("1 freeze lifted"), "{said}");
    relay
        .wait_for("freeze-lifted key=user:ann@example.test")
        .await;
    let mut ann = log_in(&relay, "235").await;
    ann.expect("MAIL FROM:<ann@example.test>", "250").await;
    let missing = relay.setup().run(&["freeze", "lift", "bob"]).await;
    assert_eq!(missing.code, Some(3), "{missing}");
    assert!(missing.stderr.contains("`bob` is not frozen"), "{missing}");
}
