//! swaks → onward A → onward B (SRS1) → destination, which accepts and bounces later: the bounce comes all the way back.

use testkit::net::Net;
use testkit::program;

use crate::relay_called;

#[tokio::test]
#[ignore = "needs swaks: ./test.sh installs and runs"]
async fn bounce_comes_back_over_both_relays() {
    let net = Net::new().await;
    let origin = net.sink("sender.test", "").await;
    let target = net.sink("target.test", "").await;
    let (at_a, at_b) = (net.address(), net.address());
    for (domain, address) in [
        ("fwd-a.test", at_a),
        ("a.test", at_a),
        ("fwd-b.test", at_b),
        ("b.test", at_b),
    ] {
        net.publish(domain, address);
    }
    let listen = |address| format!("bind = \"{address}\"");
    let first = relay_called("fwd-a.test", &net, "user@a.test user@b.test\n")
        .listener(&listen(at_a))
        .start()
        .await;
    let second = relay_called("fwd-b.test", &net, "user@b.test box@target.test\n")
        .listener(&listen(at_b))
        .start()
        .await;

    let (server_a, server_b) = (at_a.to_string(), at_b.to_string());
    let send = [
        "--server",
        &server_a,
        "--from",
        "Origin@sender.test",
        "--to",
        "user@a.test",
    ];
    program::run("swaks", &send, b"").await.success();
    let got = target.message().await;
    assert!(
        got.from.starts_with("SRS1=") && got.from.ends_with("=sender.test=Origin@fwd-b.test"),
        "{}",
        got.from
    );

    // What a destination does that finds out late that the mailbox is gone.
    let bounce = [
        "--server",
        &server_b,
        "--from",
        "<>",
        "--to",
        &got.from,
        "--header",
        "Subject: Undeliverable",
    ];
    program::run("swaks", &bounce, b"").await.success();
    let back = origin.message().await;
    assert_eq!(back.envelope(), ("", vec!["Origin@sender.test"]));
    assert!(back.text().contains("Subject: Undeliverable"));
    second.wait_for("received from=<>").await;
    first.wait_for("delivered target=Origin@sender.test").await;

    // And what happens when it refuses at once: B's own DSN takes the same way, without showing box@target.test.
    target.script("rcpt: 550 5.1.1 no such user");
    program::run("swaks", &send, b"").await.success();
    let dsn = origin.message().await.text();
    assert!(
        dsn.contains("multipart/report") && !dsn.contains("box@target.test"),
        "{dsn}"
    );
}
