//! Postfix's own load tools on both sides: smtp-source → onward → smtp-sink.

use testkit::net::Net;
use testkit::program;

use crate::relay;

const SOURCE: &str = "/usr/sbin/smtp-source";
const SINK: &str = "/usr/sbin/smtp-sink";
const MESSAGES: usize = 2_000;

#[tokio::test]
#[ignore = "needs postfix: ./test.sh installs and runs"]
async fn two_thousand_messages_over_twenty_sessions() {
    let net = Net::new().await;
    let address = net.address();
    net.publish("target.test", address);
    // As root, smtp-sink wants to be told whom to become.
    let user: &[&str] = if program::are_root() {
        &["-u", "nobody"]
    } else {
        &[]
    };
    let listen = address.to_string();
    let arguments = [user, &["-h", "sink.test", &listen, "200"]].concat();
    let _sink = program::start(SINK, &arguments);
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    let server = format!("inet:{}", relay.address());
    let count = MESSAGES.to_string();
    let arguments = [
        "-s",
        "20",
        "-m",
        &count,
        "-l",
        "10240",
        "-M",
        "source.test",
        "-f",
        "origin@sender.test",
        "-t",
        "alice@example.test",
        &server,
    ];
    let source = program::run(SOURCE, &arguments, b"").await.success();
    assert_eq!(source.stderr, "", "smtp-source complains of each error");
    // smtp-sink answers 250 to all, so each message is one `delivered` line, and none is anything else.
    relay
        .wait_for_count(MESSAGES, "received from=<origin@sender.test>")
        .await;
    relay
        .wait_for_count(MESSAGES, "delivered target=alice@target.test")
        .await;
    let peak = relay.memory_peak_kib();
    assert!(peak < 150 * 1024, "{peak} KiB");
    for event in ["failed", "bounced", "refused", "connection-closed"] {
        assert_eq!(relay.count(event), 0, "{event}");
    }
}
