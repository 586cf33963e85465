//! Lists and DNS blocklists: a reload takes new lists whole or not at all; clients are asked about by their addresses, and a
//! blocklist that fails is said once.

use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::sender::Plain;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";
const LIST: &str = "[{ name = \"bad\", file = \"bad\" }]";
const BLOCK: &str = "[{ name = \"default\", sender_block = [\"bad\"] }]";

fn blocking(net: &Net, list: &str) -> Setup {
    let setup = relay(net, FORWARDS).set("list", LIST).set("profile", BLOCK);
    setup.write("bad", list);
    setup
}

async fn check(plain: &mut Plain, sender: &str, expected: &str) {
    plain.expect(&format!("MAIL FROM:<{sender}>"), "250").await;
    plain.expect("RCPT TO:<alice@example.test>", expected).await;
    plain.expect("RSET", "250").await;
}

#[tokio::test]
async fn a_broken_line_keeps_the_old_list() {
    let net = Net::new().await;
    let relay = blocking(&net, "spam.test\n").start().await;
    let mut plain = Plain::hello(relay.address()).await;
    check(&mut plain, "a@spam.test", "550 5.7.1").await;

    relay
        .setup()
        .write("bad", "other.test\n\nspam.test REJECT\n");
    relay.reload();
    let failed = relay.wait_for("reload-failed error=bad:3:").await;
    assert!(failed.text("error").contains("hint: "), "{failed}");
    check(&mut plain, "a@spam.test", "550 5.7.1").await;
    check(&mut plain, "a@other.test", "250").await;

    relay.setup().write("bad", "other.test\n");
    let said = relay.run(&["reload"]).await;
    assert!(said.contains("list bad: 1 entries"), "{said}");
    check(&mut plain, "a@spam.test", "250").await;
    check(&mut plain, "a@other.test", "550 5.7.1").await;
}

#[tokio::test]
async fn a_broken_list_or_name_is_told_before_the_start() {
    let net = Net::new().await;
    let broken = blocking(&net, "spam.test\n192.0.2.0/33\n");
    broken
        .run_into_error(&["check"], &["bad:2:1: ", "hint: "])
        .await;
    broken.run_into_error(&["serve"], &["bad:2:1: "]).await;
    let said = blocking(&net, "spam.test\n").run(&["check"]).await;
    assert!(said.stdout.contains("bad: 1 entries"), "{said}");
    let unknown = relay(&net, FORWARDS).set("profile", BLOCK);
    let wanted = ["no [[list]] is called `bad`", "hint: "];
    unknown.run_into_error(&["check"], &wanted).await;
    let gone = relay(&net, FORWARDS).set("list", LIST);
    gone.run_into_error(&["check"], &["cannot read the list", "hint: "])
        .await;
    let dnsbl = "[{ name = \"bl\", zone = \"bl.test\", reply = \"554 %{ip}\" }]";
    let odd = relay(&net, FORWARDS).set("dnsbl", dnsbl);
    let wanted = ["[[dnsbl]] `bl`: `reply`: ", "unknown placeholder", "hint: "];
    odd.run_into_error(&["check"], &wanted).await;
}

/// A relay that asks `bl.test`, and is told by PROXY who its clients are.
async fn asking(net: &Net, dnsbl: &str) -> Relay {
    let table = "bind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.0/8\"]";
    let setup = relay(net, FORWARDS).listener(table);
    let dnsbl = format!("[{{ name = \"bl\", zone = \"bl.test\", {dnsbl} }}]");
    let profile = "[{ name = \"default\", dnsbl = [\"bl\"] }]";
    let setup = setup.set("dnsbl", &dnsbl).set("profile", profile);
    setup.start().await
}

async fn visit(relay: &Relay, client: &str) -> Plain {
    let mut plain = Plain::connect_silently(relay.address()).await;
    let family = if client.contains(':') { 6 } else { 4 };
    let header = format!("PROXY TCP{family} {client} {client} 4711 25\r\n");
    plain.raw(header.as_bytes()).await;
    assert!(plain.reply().await.starts_with("220 "));
    plain.expect("EHLO client.test", "250").await;
    plain
}

#[tokio::test]
async fn clients_are_asked_about_and_first_told_to_come_again() {
    let net = Net::new().await;
    let nibbles = "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test";
    net.dns.add(&format!(
        "7.2.0.192.bl.test A 127.0.0.4\n7.2.0.192.bl.test TXT a bot\n\
         7.{nibbles} A 127.0.0.2\n8.{nibbles} A 127.0.0.2\n\
         1.0.0.127.bl.test A 127.0.0.2\n3.2.1.10.bl.test A 127.0.0.2"
    ));
    let relay = asking(&net, "first_reply = \"451 4.7.1 again\"").await;
    for (client, expected) in [
        ("192.0.2.7", "451 4.7.1 again"),
        (
            "192.0.2.7",
            "554 5.7.1 192.0.2.7 is on the blocklist bl: a bot",
        ),
        ("2001:db8::7", "451 4.7.1 again"),
        // Of the same /64, so no stranger any more.
        (
            "2001:db8::8",
            "554 5.7.1 2001:db8::8 is on the blocklist bl: no reason given",
        ),
        ("192.0.2.8", "250"),
        ("127.0.0.1", "250"),
        ("10.1.2.3", "250"),
    ] {
        let mut plain = visit(&relay, client).await;
        check(&mut plain, "a@sender.test", expected).await;
    }
    relay
        .wait_for("refused rule=dnsbl client=192.0.2.7:4711")
        .await;
    for private in ["1.0.0.127.bl.test", "3.2.1.10.bl.test"] {
        assert_eq!(net.dns.asked(private, "A"), 0, "{private}");
    }
    let status = relay.run(&["status"]).await;
    assert!(
        status.contains("bl: 5 asked, 4 listed, 0 failed"),
        "{status}"
    );
}

#[tokio::test]
async fn a_list_that_fails_or_is_silent_refuses_nobody_and_is_said_once() {
    let net = Net::new().await;
    net.dns.add("bl.test SERVFAIL\nmute.test.bl.test DROP");
    let relay = asking(&net, "kind = \"domain\"").await;
    let mut plain = visit(&relay, "192.0.2.7").await;
    for sender in ["a@mute.test", "a@one.test", "a@two.test", "a@three.test"] {
        check(&mut plain, sender, "250").await;
    }
    relay.wait_for("dnsbl-down dnsbl=bl").await;
    net.dns.remove("bl.test");
    net.dns.remove("mute.test.bl.test");
    // The name in EHLO is one of those that failed a moment ago, which the resolver remembers.
    plain.expect("EHLO [192.0.2.7]", "250").await;
    check(&mut plain, "a@four.test", "250").await;
    relay.wait_for("dnsbl-up dnsbl=bl failed=4").await;
    assert_eq!(relay.count("dnsbl-down"), 1);
    let status = relay.run(&["status"]).await;
    assert!(
        status.contains("bl: 5 asked, 0 listed, 4 failed"),
        "{status}"
    );
}
