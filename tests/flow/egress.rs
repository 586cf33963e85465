//! Source addresses: chosen by line, profile and tier; one that is not on this machine is done without.

use testkit::daemon::Relay;
use testkit::net::Net;
use testkit::sender::send;

use crate::{origin_sends, relay};

const FORWARDS: &str = "\
example.test       :domain:            egress=main
alice@example.test alice@target.test
bob@example.test   bob@target.test     egress=absent
carol@other.test   carol@target.test
dave@other.test    dave@target.test    srs_domain=fwd.test
";

const EGRESSES: &str = "[
    { name = 'main', addresses = ['127.0.0.2'], hello = 'one.out.test' },
    { name = 'absent', addresses = ['192.0.2.77', '127.0.0.3'], hello = 'two.out.test' },
    { name = 'bulk', hello = 'out.test', source = [
        { address = '::1', hello = 'six.out.test' },
        { address = '127.0.0.4', weight = 2, connections = 1 } ] },
]";

async fn start(net: &Net) -> Relay {
    let setup = relay(net, FORWARDS)
        .set("egress", EGRESSES)
        .set(
            "tier",
            "[{ name = 'unknown', egress = 'bulk', srs_domain = 's.fwd.test' }]",
        )
        .set("profile", "[{ name = 'default' }]");
    setup.start().await
}

#[tokio::test]
async fn mail_leaves_from_where_its_line_profile_or_tier_says() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = start(&net).await;
    for (to, egress, source, hello) in [
        ("alice@example.test", "main", "127.0.0.2", "one.out.test"),
        ("bob@example.test", "absent", "127.0.0.3", "two.out.test"),
        ("carol@other.test", "bulk", "127.0.0.4", "out.test"),
    ] {
        origin_sends(&relay, to, "one").await;
        let message = sink.message().await;
        assert_eq!(message.peer.ip().to_string(), source, "{to}");
        assert_eq!(message.hello, hello);
        let line = relay.wait_for(&format!("delivered to={to}")).await;
        assert_eq!(
            (line.text("egress"), line.text("source")),
            (egress.into(), source.into())
        );
    }
    let line = relay.wait_for("forwarded to=carol@other.test").await;
    assert_eq!(line.text("tier"), "unknown");
    let sender = line.text("sender");
    assert!(sender.ends_with("=origin@s.fwd.test>"), "{sender}");
    // A bounce to it finds its way, and what a line says of the SRS domain holds.
    let origin = net.sink("sender.test", "").await;
    let back = sender.trim_matches(['<', '>']);
    send(
        relay.address(),
        "",
        &[back],
        b"Subject: bounce\r\n\r\nx\r\n",
    )
    .await;
    assert_eq!(origin.message().await.to(), ["origin@sender.test"]);
    origin_sends(&relay, "dave@other.test", "one").await;
    let kept = sink.message().await.from;
    assert!(kept.ends_with("=origin@fwd.test"), "{kept}");

    let explained = relay
        .setup()
        .run(&["explain", "--to", "alice@example.test"])
        .await;
    for expected in ["egress=main", ", egress main\n", " from 127.0.0.2\n"] {
        assert!(
            explained.stdout.contains(expected),
            "{expected}: {explained}"
        );
    }
    let shown = relay.setup().run(&["site", "show", "target.test"]).await;
    assert!(shown.stdout.contains("egress       bulk"), "{shown}");
    // The history comes a moment later.
    let trace = ["trace", "alice@example.test"];
    while !relay
        .setup()
        .run(&trace)
        .await
        .stdout
        .contains(" from main 127.0.0.2")
    {}
    let checked = relay.setup().run(&["check"]).await;
    assert!(checked.stdout.contains("192.0.2.77"), "{checked}");
}

#[tokio::test]
async fn an_address_that_is_blocked_rests_and_its_mail_goes_from_another() {
    let net = Net::new().await;
    let blocked = "rcpt first 1: 550 5.7.1 your address is on our block list";
    let sink = net.sink("target.test", blocked).await;
    let shut = net
        .sink(
            "shut.test",
            "rcpt: 550 5.7.1 your address is on our block list",
        )
        .await;
    let forwards = "a@example.test a@target.test egress=two\nb@example.test b@shut.test\n";
    let setup = relay(&net, forwards)
        .set("shaping.file", "\"rest.toml\"")
        .set("delivery.egress", "'one'")
        .set(
            "egress",
            "[{ name = 'one', addresses = ['127.0.0.2'], hello = 'out.test' }, { name = 'two', addresses = ['127.0.0.2', '127.0.0.3'], hello = 'out.test' }]",
        );
    setup.write(
        "rest.toml",
        "[[default.reply]]\nmatch = 'your address*block list'\nthen = 'rest 1h'\n",
    );
    let relay = setup.start().await;
    origin_sends(&relay, "a@example.test", "one").await;
    let message = sink.message().await;
    let event = relay.wait_for("source-rests").await;
    assert_ne!(message.peer.ip().to_string(), event.text("source"));
    assert!(
        event.text("error").contains("on our block list"),
        "{event:?}"
    );
    assert_eq!(event.text("probe_in_secs"), "3600");
    let shown = relay.run(&["site", "show", "target.test"]).await;
    assert!(
        shown.contains("rests") && shown.contains("tls          opportunistic"),
        "{shown}"
    );

    // All addresses are blocked: it is kept, with why, and without what was said to another.
    origin_sends(&relay, "b@example.test", "two").await;
    let line = relay.wait_for("deferred to=b@example.test").await;
    assert!(line.text("reason").contains("550 5.7.1 before"), "{line:?}");
    let listed = relay.run(&["queue", "list"]).await;
    assert!(listed.contains("550 5.7.1"), "{listed}");
    assert_eq!(shut.connections(), 1);
}
