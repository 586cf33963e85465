//! The users file: who is in it logs in, a reload takes it over whole or not at all, and a mistake says where it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";
/// `mkpasswd -m bcrypt -R 5 secret`.
const HASH: &str = "$2b$05$mdfqMaX6y2ndf3sXziRt3.BxvKoUPbpy0MOW2gm/IkYKX4XqOV2Sa";
/// Of `ann@example.test` and `bob`, with the password `secret`, and of `ann@example.test` with another.
const ANN: &str = "AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAc2VjcmV0";
const BOB: &str = "AUTH PLAIN AGJvYgBzZWNyZXQ=";
const WRONG: &str = "AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAd3Jvbmc=";

async fn setup(users: &str) -> Setup {
    let net = Net::new().await;
    let setup = relay(&net, FORWARDS)
        .with_tls()
        .set("auth.users", "\"users\"");
    let setup = setup.listener("bind = \"127.0.0.1:0\"\nrole = \"submission\"");
    setup.write("users", users);
    fs::set_permissions(setup.path("users"), Permissions::from_mode(0o640)).expect("chmod");
    setup
}

async fn log_in(relay: &Relay, command: &str, expected: &str) {
    let mut plain = Plain::hello(relay.address()).await.start_tls().await;
    let hello = plain.command("EHLO client.test").await;
    assert!(hello.contains("AUTH PLAIN LOGIN"), "{hello}");
    plain.expect(command, expected).await;
}

#[tokio::test]
async fn who_is_in_the_file_logs_in() {
    let relay = setup(&format!("Ann@Example.test:{HASH}\n"))
        .await
        .start()
        .await;
    log_in(&relay, ANN, "235 2.7.0").await;
    log_in(&relay, WRONG, "535 5.7.8").await;
    log_in(&relay, BOB, "535 5.7.8").await;

    // A mistake anywhere in the file keeps the old users.
    relay
        .setup()
        .write("users", &format!("bob:{HASH}\nann@example.test:secret\n"));
    relay.reload();
    let failed = relay
        .wait_for("reload-failed error=users:2:18")
        .await
        .text("error");
    assert!(
        failed.contains("hint: ") && !failed.contains("secret"),
        "{failed}"
    );
    log_in(&relay, ANN, "235 2.7.0").await;
    log_in(&relay, BOB, "535 5.7.8").await;

    relay.setup().write("users", &format!("bob:{HASH}\n"));
    let said = relay.run(&["reload"]).await;
    assert!(said.contains("users: 1"), "{said}");
    log_in(&relay, BOB, "235 2.7.0").await;
    // Remembered or not: whoever is out of the file is out.
    log_in(&relay, ANN, "535 5.7.8").await;
}

#[tokio::test]
async fn mistakes_stop_serve_and_check() {
    let typo = setup(&format!("ann:{HASH}\nbob:$6$rounds=999999999$x$y\n")).await;
    let gone = setup("").await.set("auth.users", "\"none\"");
    let profile = setup("").await.set("auth.profile", "\"none\"");
    for command in ["serve", "check"] {
        let wanted = ["users:2:5", "999999999, at most 1000000", "hint: "];
        typo.run_into_error(&[command], &wanted).await;
        gone.run_into_error(&[command], &["cannot read the users ", "hint: "])
            .await;
        profile
            .run_into_error(&[command], &["auth.profile", "hint: "])
            .await;
    }
}

#[tokio::test]
async fn check_warns_of_a_file_that_others_can_read() {
    let setup = setup(&format!("ann:{HASH}\n")).await;
    let said = setup.run(&["check"]).await.stdout;
    assert!(
        said.contains("/users: 1\n") && !said.contains("is open to"),
        "{said}"
    );
    fs::set_permissions(setup.path("users"), Permissions::from_mode(0o644)).unwrap();
    setup
        .run_into_error(&["check"], &["/users is open to every user"])
        .await;
}
