//! opendkim as our milter: dkimpy verifies what it signs, in both forms, once that is delivered; and it verifies on its own.

use std::fs;
use std::time::Duration;

use authentic::{Key, Kind, Reader};
use tempfile::TempDir;
use testkit::net::Net;
use testkit::program::{self, Running};
use testkit::{mail, sender};
use tokio::net::{TcpStream, UnixStream};

use crate::relay;

/// Debian's Python, which has Debian's dkimpy.
const PYTHON: &str = "/usr/bin/python3";
const VERIFY: &str = r#"
import dkim, sys
print(dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: sys.argv[1].encode()))
"#;

/// A key of the sender, as opendkim and dkimpy are told of it.
struct World {
    folder: TempDir,
    key: Key,
}

impl World {
    fn new() -> Self {
        let name = |text: &str| text.parse().expect("a name");
        let key = Key::generate(name("sender.test"), name("one"), Kind::Rsa2048);
        let (key, pem) = key.expect("a key");
        let folder = tempfile::tempdir().expect("a file");
        fs::write(folder.path().join("key.pem"), pem).expect("a file");
        let record = key.record().expect("a record");
        fs::write(
            folder.path().join("keys"),
            format!("{} {record}\n", key.record_name()),
        )
        .expect("a file");
        Self { folder, key }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Starts opendkim on this socket. Without KeepAuthResults it would want to remove fields, and not work for us.
    fn opendkim(&self, socket: &str, more: &str) -> Running {
        let settings = format!(
            "Domain sender.test\nSelector one\nKeyFile {}\nTestPublicKeys {}\nRequireSafeKeys no\nSyslog no\nBackground no\n\
             KeepAuthResults yes\n{more}\n",
            self.path("key.pem"),
            self.path("keys"),
        );
        fs::write(self.path("conf"), settings).expect("a file");
        let arguments = ["-f", "-x", &self.path("conf"), "-p", socket];
        program::start("/usr/sbin/opendkim", &arguments)
    }
}

/// What arrives of a message that a relay with opendkim takes.
async fn delivered(address: &str, original: &[u8]) -> Vec<u8> {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let table = format!(
        "[{{ name = \"opendkim\", kind = \"milter\", address = \"{address}\", on_failure = \"defer\" }}]"
    );
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .set("filter", &table)
        .set(
            "profile",
            "[{ name = \"default\", filter = [\"opendkim\"] }]",
        )
        .start()
        .await;
    let to = ["alice@example.test"];
    sender::send(relay.address(), "origin@sender.test", &to, original).await;
    target.message().await.data
}

/// Waits until something listens there.
async fn listens<T>(connect: impl AsyncFn() -> std::io::Result<T>) {
    let connected = async {
        while connect().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let connected = tokio::time::timeout(testkit::PATIENCE, connected).await;
    connected.expect("opendkim listens");
}

#[tokio::test]
#[ignore = "needs opendkim and python3-dkim: ./test.sh installs and runs"]
async fn what_opendkim_signs_verifies() {
    for form in ["simple/simple", "relaxed/relaxed"] {
        let world = World::new();
        let socket = world.path("socket");
        let more = format!("Mode s\nInternalHosts 0.0.0.0/0\nCanonicalization {form}");
        let _running = world.opendkim(&format!("local:{socket}"), &more);
        listens(async || UnixStream::connect(&socket).await).await;
        let original = mail::long(200_000);
        let delivered = delivered(&format!("unix:{socket}"), &original).await;
        let fields = mail::added_on_top(&delivered, &original);
        assert!(
            fields.iter().any(|(name, _)| name == "DKIM-Signature"),
            "{fields:?}"
        );
        let record = world.key.record().expect("a record");
        let said = program::run(PYTHON, &["-c", VERIFY, &record], &delivered).await;
        assert_eq!(said.success().stdout, "True\n", "{form}");
    }
}

#[tokio::test]
#[ignore = "needs opendkim: ./test.sh installs and runs"]
async fn opendkim_verifies() {
    let world = World::new();
    let free = program::free();
    let _running = world.opendkim(
        &format!("inet:{}@127.0.0.1", free.port()),
        "Mode v\nInternalHosts 192.0.2.1\nAlwaysAddARHeader yes",
    );
    listens(async || TcpStream::connect(free).await).await;
    let plain = mail::short("verify");
    let mut reader = Reader::signing();
    reader.feed(&plain);
    let now = spool::Clock::real().now().unix_secs();
    let field = authentic::sign(&world.key, &reader.finish(), now).expect("a signature");
    let signed = [field.as_bytes(), &plain].concat();
    for (original, expected) in [(signed, "dkim=pass"), (plain, "dkim=none")] {
        let delivered = delivered(&format!("inet:{free}"), &original).await;
        let fields = mail::added_on_top(&delivered, &original);
        let is_said = |(name, value): &(String, String)| {
            name == "Authentication-Results" && value.contains(expected)
        };
        assert!(fields.iter().any(is_said), "{expected}: {fields:?}");
    }
}
