//! rspamd and clamd, with no rules and no signatures but our own, say of real mail what they say of it anywhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use testkit::daemon::Relay;
use testkit::net::Net;
use testkit::program;
use testkit::sender::Plain;
use tokio::net::TcpStream;

use crate::relay;

const RSPAMD: &str = "/usr/bin/rspamd";
const CLAMD: &str = "/usr/sbin/clamd";
/// rspamd knows them by their first letter: to be refused, marked, or not even that.
const GTUBE: &str = "JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
/// What our only signature finds.
const VIRUS: &str = "ONWARD-TEST-VIRUS";

/// A folder that programs under other users may read, a free port, and whatever is written into it.
fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, u16) {
    let folder = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .expect("a folder");
    let port = program::free().port();
    for (name, text) in files {
        let text = text.replace("PORT", &port.to_string());
        let text = text.replace("FOLDER", folder.path().to_str().expect("UTF-8"));
        fs::write(folder.path().join(name), text).expect("written");
    }
    (folder, port)
}

async fn listens(port: u16) {
    let connected = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let connected = tokio::time::timeout(2 * testkit::PATIENCE, connected).await;
    connected.expect("the filter listens");
}

async fn asking(net: &Net, filters: &str) -> Relay {
    let profile = "[{ name = \"default\", filter = [\"f\"] }]";
    let relay = relay(net, "alice@example.test alice@target.test\n");
    let relay = relay.set("filter", filters).set("profile", profile);
    relay.start().await
}

/// The reply to a mail with this body.
async fn check(relay: &Relay, body: &str, expected: &str) {
    let mut plain = Plain::hello(relay.address()).await;
    let mail = format!("From: x@sender.test\r\nSubject: hello\r\n\r\n{body}\r\n");
    let to = ["<alice@example.test>"];
    let (_, reply) = plain
        .transaction("<x@sender.test>", &to, mail.as_bytes())
        .await;
    assert!(reply.starts_with(expected), "{body:.40}: {reply}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[tokio::test]
#[ignore = "needs rspamd: ./test.sh installs and runs"]
async fn rspamd_judges() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let config = "options {\n pidfile = \"FOLDER/pid\"; control_socket = \"FOLDER/control mode=0600\"; url_tld = \"FOLDER/tld\"\n \
        enable_test_patterns = true; disable_hyperscan = true; dns { nameserver = [\"127.0.0.1:1\"]; }\n}\n\
        logging { type = \"console\"; }\nactions { reject = 15; add_header = 6; }\n\
        worker \"normal\" { bind_socket = \"127.0.0.1:PORT\"; count = 1; }\n";
    let (folder, port) = folder(&[("conf", config), ("tld", "test\n")]);
    let conf = folder.path().join("conf");
    let _rspamd = program::start(RSPAMD, &["-i", "-f", "-c", text(&conf)]);
    listens(port).await;
    let filters = format!(
        "[{{ name = \"f\", kind = \"rspamd\", address = \"http://127.0.0.1:{port}\", on_failure = \"defer\" }}]"
    );
    let relay = asking(&net, &filters).await;
    check(&relay, &format!("X{GTUBE}"), "550 5.7.1 Gtube pattern").await;
    check(&relay, &format!("Y{GTUBE}"), "250").await;
    let marked = sink.messages(1).await.remove(0).text();
    assert!(marked.contains("\nX-Spam: Yes\r\n"), "{marked}");
    check(&relay, "hello", "250").await;
    assert!(!sink.messages(2).await[1].text().contains("X-Spam"));
    let large = "0123456789abcde\r\n".repeat(200_000);
    check(&relay, &large, "250").await;
    relay
        .wait_for("filtered opinion=reject symbols=GTUBE")
        .await;
    assert_eq!(relay.count("filter-down"), 0);
}

#[tokio::test]
#[ignore = "needs clamd: ./test.sh installs and runs"]
async fn clamd_finds() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let hex: String = VIRUS.bytes().map(|b| format!("{b:02x}")).collect();
    let signature = format!("Onward-Test:0:*:{hex}\n");
    let config = "Foreground yes\nDatabaseDirectory FOLDER\nTCPSocket PORT\nTCPAddr 127.0.0.1\nLocalSocket FOLDER/socket\nStreamMaxLength 1M\n";
    let (folder, port) = folder(&[("conf", config), ("own.ndb", &signature)]);
    let conf = folder.path().join("conf");
    let _clamd = program::start(CLAMD, &["-c", text(&conf)]);
    listens(port).await;
    for address in [
        format!("inet:127.0.0.1:{port}"),
        format!("unix:{}/socket", folder.path().display()),
    ] {
        let filters = format!(
            "[{{ name = \"f\", kind = \"clamd\", address = \"{address}\", on_failure = \"defer\" }}]"
        );
        let relay = asking(&net, &filters).await;
        check(&relay, "hello", "250").await;
        let found = "550 5.7.1 message refused: it holds a virus (Onward-Test";
        check(&relay, &format!("so {VIRUS} it is"), found).await;
        // Over its own limit: it says so, and closes while we still write.
        check(&relay, &"0123456789abcde\r\n".repeat(400_000), "250").await;
        let line = relay
            .wait_for("filtered opinion=accept remarks=StreamMaxLength")
            .await;
        assert_eq!(
            line.text("remarks"),
            "not looked at: larger than its StreamMaxLength"
        );
        assert_eq!(relay.count("filter-down"), 0);
    }
}
