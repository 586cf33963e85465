//! A real Dovecot says who may log in; until it runs, logins are put off. And it takes mail into its mailboxes, by LMTP.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::TempDir;
use testkit::daemon::Relay;
use testkit::net::Net;
use testkit::program::{self, Running};
use testkit::sender::Plain;

use crate::{origin_sends, relay};

const DOVECOT: &str = "/usr/sbin/dovecot";
/// Both with the password `secret`.
const PASSWD: &str = "ann@example.test:{BLF-CRYPT}HASH\nbob@example.test:{BLF-CRYPT}HASH\n";
/// Of `ANN@example.test`, `bob@example.test` and nobody with the password `secret`; of `ann@example.test` with another.
const ANN: &str = "AUTH PLAIN AEFOTkBleGFtcGxlLnRlc3QAc2VjcmV0";
const BOB: &str = "AUTH PLAIN AGJvYkBleGFtcGxlLnRlc3QAc2VjcmV0";
const NOBODY: &str = "AUTH PLAIN AG5vYm9keQBzZWNyZXQ=";
const WRONG: &str = "AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAd3Jvbmc=";

/// A Dovecot without any protocol but LMTP and that of its auth socket, in a folder of its own.
struct Dovecot {
    folder: TempDir,
    running: Option<Running>,
}

impl Dovecot {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .expect("a folder");
        let path = folder.path().display();
        // As root its processes become users of Debian's package; as anybody else they stay what they are.
        let users = match program::are_root() {
            true => String::new(),
            false => {
                let name = std::env::var("USER").unwrap_or_default();
                format!(
                    "default_internal_user = {name}\ndefault_login_user = {name}\nservice anvil {{\n  chroot =\n}}\n"
                )
            }
        };
        let config = format!(
            "base_dir = {path}/run\nstate_dir = {path}/state\nlog_path = {path}/log\nprotocols = lmtp\nssl = no\n\
             mail_location = maildir:{path}/mail/%n\nprotocol lmtp {{\n  postmaster_address = postmaster@example.test\n}}\n\
             auth_mechanisms = plain\npassdb {{\n  driver = passwd-file\n  args = {path}/passwd\n}}\n\
             userdb {{\n  driver = static\n  args = uid=65534 gid=65534 home={path}/mail/%n\n}}\n\
             service lmtp {{\n  unix_listener {path}/lmtp {{\n    mode = 0666\n  }}\n}}\n\
             service auth {{\n  unix_listener {path}/auth {{\n    mode = 0666\n  }}\n}}\n{users}"
        );
        let mail = folder.path().join("mail");
        fs::create_dir(&mail).expect("a folder");
        fs::set_permissions(&mail, Permissions::from_mode(0o777)).expect("a folder");
        fs::write(folder.path().join("dovecot.conf"), config).expect("a file");
        fs::write(folder.path().join("passwd"), PASSWD.replace("HASH", HASH)).expect("a file");
        Self {
            folder,
            running: None,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The mail in the box of a user.
    fn mail(&self, user: &str) -> Vec<String> {
        let new = self.folder.path().join(format!("mail/{user}/new"));
        let files = fs::read_dir(new).into_iter().flatten();
        files
            .map(|file| fs::read_to_string(file.expect("a file").path()).expect("text"))
            .collect()
    }

    async fn start(&mut self) {
        let config = self.path("dovecot.conf");
        self.running = Some(program::start(DOVECOT, &["-F", "-c", &config]));
        while std::os::unix::net::UnixStream::connect(self.path("auth")).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn log_in(relay: &Relay, command: &str) -> String {
    let mut plain = Plain::hello(relay.address()).await.start_tls().await;
    plain.expect("EHLO client.test", "250").await;
    plain.command(command).await
}

#[track_caller]
fn is(reply: &str, expected: &str) {
    assert!(reply.starts_with(expected), "{reply}");
}

#[tokio::test]
#[ignore = "needs dovecot-core: ./test.sh installs and runs"]
async fn users_of_a_real_dovecot() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let mut dovecot = Dovecot::new();
    let setup = relay(&net, "alice@example.test alice@target.test\n").with_tls();
    // Bob's line is of a user whom Dovecot knows, and says what he may do here.
    setup.write("users", "bob@example.test::senders=bob@other.test\n");
    let relay = setup
        .set("auth.dovecot", &format!("\"{}\"", dovecot.path("auth")))
        .set("auth.users", "\"users\"")
        .listener("bind = \"127.0.0.1:0\"\nrole = \"submission\"")
        .start()
        .await;
    // Not there yet: nobody is told that the password is wrong.
    is(&log_in(&relay, ANN).await, "454 4.7.0");
    relay.wait_for("dovecot-down").await;

    dovecot.start().await;
    is(&log_in(&relay, ANN).await, "235 2.7.0");
    relay.wait_for("dovecot-up failed=1").await;
    // Dovecot holds its refusals back; others do not wait behind them.
    let (wrong, nobody, right) = tokio::join!(
        log_in(&relay, WRONG),
        log_in(&relay, NOBODY),
        log_in(&relay, BOB)
    );
    is(&wrong, "535 5.7.8");
    is(&nobody, "535 5.7.8");
    is(&right, "235 2.7.0");

    let mut plain = Plain::hello(relay.address()).await.start_tls().await;
    plain.expect("EHLO client.test", "250").await;
    plain.expect(BOB, "235").await;
    plain
        .expect("MAIL FROM:<bob@example.test>", "553 5.7.1")
        .await;
    let mail = b"Subject: x\r\n\r\n";
    let (_, end) = plain
        .transaction("<bob@other.test>", &["<x@target.test>"], mail)
        .await;
    is(&end, "250");
    assert_eq!(sink.message().await.to(), ["x@target.test"]);
}

/// One message to three, of whom Dovecot knows two: one verdict each, and the mail is in their boxes.
#[tokio::test]
#[ignore = "needs dovecot-lmtpd: ./test.sh installs and runs"]
async fn mail_into_the_boxes_of_a_real_dovecot() {
    let net = Net::new().await;
    let mut dovecot = Dovecot::new();
    let route = format!(
        "[{{ domain = \"example.test\", host = \"lmtp:unix:{}\" }}]",
        dovecot.path("lmtp")
    );
    let forwards = "all@hosted.test ann@example.test, nobody@example.test, bob@example.test\n";
    let relay = relay(&net, forwards)
        .set("delivery.route", &route)
        .set("delivery.probe_first", "\"1s\"")
        .start()
        .await;
    // Not there yet: the mail waits.
    origin_sends(&relay, "all@hosted.test", "one").await;
    relay.wait_for("site-down").await;
    dovecot.start().await;
    relay.run(&["queue", "retry", "--all"]).await;
    relay.wait_for_count(2, "delivered").await;
    let failed = relay.wait_for("failed target=nobody@example.test").await;
    assert!(failed.text("reply").starts_with("550 5.1.1"), "{failed:?}");
    for user in ["ann", "bob"] {
        let mail = dovecot.mail(user);
        assert_eq!(mail.len(), 1, "{user}");
        assert!(mail[0].contains("\nSubject: one\n"), "{}", mail[0]);
    }
}

/// `mkpasswd -m bcrypt -R 5 secret`.
const HASH: &str = "$2b$05$mdfqMaX6y2ndf3sXziRt3.BxvKoUPbpy0MOW2gm/IkYKX4XqOV2Sa";
