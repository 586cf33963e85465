//! swaks as the sender: plain, STARTTLS, PIPELINING, 8-bit, a 20 MB attachment.

use testkit::net::Net;
use testkit::sink::{Received, Sink};
use testkit::{mail, program};

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

/// One message by swaks with these arguments; what it printed and what came out.
async fn swaks(arguments: &[&str], message: &[u8]) -> (String, Received) {
    let net = Net::new().await;
    let sink: Sink = net.sink("target.test", "").await;
    let table = "bind = \"127.0.0.1:0\"\nxclient_from = [\"127.0.0.0/8\"]";
    let setup = relay(&net, FORWARDS).with_tls().listener(table);
    let relay = setup.start().await;
    let server = relay.address().to_string();
    let mut all = vec![
        "--server",
        &server,
        "--from",
        "origin@sender.test",
        "--to",
        "alice@example.test",
    ];
    all.extend_from_slice(&["--helo", "swaks.test"]);
    all.extend_from_slice(arguments);
    if !message.is_empty() {
        all.extend_from_slice(&["--data", "-"]);
    }
    let finished = program::run("swaks", &all, message).await.success();
    let got = sink.message().await;
    assert!(
        got.from.starts_with("SRS0=") && got.from.ends_with("=sender.test=origin@fwd.test"),
        "{got:?}"
    );
    assert!(got.text().contains("from swaks.test"));
    relay.wait_for("delivered to=alice@example.test").await;
    (finished.stdout, got)
}

#[tokio::test]
#[ignore = "needs swaks: ./test.sh installs and runs"]
async fn plain() {
    let (_, got) = swaks(&["--header", "Subject: from swaks", "--body", "hello"], b"").await;
    assert!(got.text().contains("Subject: from swaks\r\n"));
    assert!(got.text().contains("with ESMTP\r\n"), "{}", got.text());
}

#[tokio::test]
#[ignore = "needs swaks: ./test.sh installs and runs"]
async fn starttls() {
    let (said, got) = swaks(&["--tls"], b"").await;
    assert!(said.contains("TLS started"), "{said}");
    assert!(got.text().contains("with ESMTPS"));
}

#[tokio::test]
#[ignore = "needs swaks: ./test.sh installs and runs"]
async fn xclient() {
    let named = ["--xclient-addr", "192.0.2.7", "--xclient-port", "4711"];
    let (said, got) = swaks(&[&named[..], &["--xclient-name", "x.test"]].concat(), b"").await;
    assert!(said.contains("XCLIENT ADDR=192.0.2.7"), "{said}");
    assert!(got.text().contains("[192.0.2.7]"), "{}", got.text());
}

#[tokio::test]
#[ignore = "needs swaks: ./test.sh installs and runs"]
async fn pipelining() {
    let (said, _) = swaks(&["--pipeline"], b"").await;
    // All commands up to DATA go out before the first answer is shown.
    let mail = said.find(" -> MAIL FROM").expect("MAIL");
    let data = said.find(" -> DATA").expect("DATA");
    assert!(!said[mail..data].contains("<-  250"), "{said}");
}

#[tokio::test]
#[ignore = "needs swaks: ./test.sh installs and runs"]
async fn eight_bit() {
    let sent = include_bytes!("../mail/eight-bit.eml");
    // swaks reads lines that end with LF and turns them into CRLF.
    let lines: Vec<u8> = sent.iter().copied().filter(|byte| *byte != b'\r').collect();
    let (_, got) = swaks(&[], &lines).await;
    let body = sent.strip_suffix(b"\r\n").expect("a last line");
    assert!(
        got.data.windows(body.len()).any(|part| part == body),
        "{}",
        got.data.escape_ascii()
    );
}

#[tokio::test]
#[ignore = "needs swaks: ./test.sh installs and runs"]
async fn attachment_of_20_megabytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("large.bin");
    std::fs::write(&path, mail::long(20_000_000)).expect("written");
    let path = format!("@{}", path.display());
    let (_, got) = swaks(&["--suppress-data", "--attach", &path], b"").await;
    // Base64 makes four octets of three, and a line end every 76.
    assert!(got.data.len() > 27_000_000, "{} octets", got.data.len());
    assert!(got.text().contains("large.bin"));
}
