//! VERP: mail of a user with a return path goes out under it, and bounces to it find the sender.

use testkit::daemon::Relay;
use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send};

use crate::relay;

/// `mkpasswd -m bcrypt -R 5 secret`.
const HASH: &str = "$2b$05$mdfqMaX6y2ndf3sXziRt3.BxvKoUPbpy0MOW2gm/IkYKX4XqOV2Sa";

/// The user sends, logged in by a proxy; the second listener is for the world.
async fn start(net: &Net) -> Relay {
    let submission =
        "bind = \"127.0.0.1:0\"\nrole = \"submission\"\nxclient_from = [\"127.0.0.0/8\"]";
    let setup = relay(net, "@service.test all@target.test\n")
        .set("auth.users", "\"users\"")
        .set("srs.return_paths", "[\"old-{original}@service.test\"]")
        .listener(submission)
        .listener("bind = \"127.0.0.1:0\"");
    let options = "senders=any return_path=customer+{original}@service.test";
    setup.write("users", &format!("ann:{HASH}:{options}\n"));
    setup.start().await
}

async fn ann_sends(relay: &Relay, from: &str, to: &str) {
    let (mut plain, _) = Plain::connect(relay.address()).await;
    plain.expect("EHLO proxy.test", "250").await;
    plain
        .expect("XCLIENT ADDR=192.0.2.7 LOGIN=ann", "220")
        .await;
    plain.expect("EHLO client.test", "250").await;
    plain.expect(&format!("MAIL FROM:<{from}>"), "250").await;
    plain.expect(&format!("RCPT TO:<{to}>"), "250").await;
    plain.expect("DATA", "354").await;
    plain.expect("Subject: x\r\n\r\nx\r\n.", "250").await;
}

#[tokio::test]
async fn a_bounce_to_a_return_path_finds_the_sender() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let customer = net.sink("customer.test", "").await;
    let relay = start(&net).await;
    let long = format!("{}@customer.test", "long.".repeat(12) + "name");
    for sender in ["Order.Desk@customer.test", &long] {
        ann_sends(&relay, sender, "x@target.test").await;
        let under = target.message().await.from;
        assert!(
            under.starts_with("customer+") && under.ends_with("@service.test"),
            "{under}"
        );
        assert!(under.find('@') <= Some(64), "{under}");
        send(relay.addresses()[1], "", &[&under], &mail::short("bounce")).await;
        let bounce = customer.message().await;
        assert_eq!((&*bounce.from, bounce.to()), ("", vec![sender]));
        // A stranger's guess is refused, though the domain takes all else.
        let (mut plain, _) = Plain::connect(relay.addresses()[1]).await;
        plain.expect("EHLO client.test", "250").await;
        plain.expect("MAIL FROM:<>", "250").await;
        let forged = under.replace("=t@", "=u@").replace("Order", "order1");
        plain.expect(&format!("RCPT TO:<{forged}>"), "550").await;
        plain
            .expect("RCPT TO:<customer+news@service.test>", "250")
            .await;
    }
}

#[tokio::test]
async fn our_own_notice_goes_to_the_sender() {
    let net = Net::new().await;
    let _target = net
        .sink("target.test", "rcpt: 550 5.1.1 no such user")
        .await;
    let customer = net.sink("customer.test", "").await;
    let relay = start(&net).await;
    ann_sends(&relay, "desk@customer.test", "x@target.test").await;
    let notice = customer.message().await;
    assert_eq!(
        (&*notice.from, notice.to()),
        ("", vec!["desk@customer.test"])
    );
}

#[tokio::test]
async fn a_proxy_logs_in_no_stranger() {
    let net = Net::new().await;
    let relay = start(&net).await;
    let (mut plain, _) = Plain::connect(relay.address()).await;
    plain.expect("EHLO proxy.test", "250").await;
    plain
        .expect("XCLIENT ADDR=192.0.2.7 LOGIN=eve", "535 5.7.8")
        .await;
    plain.expect("EHLO client.test", "503").await;
    relay.wait_for("refused client=192.0.2.7:0").await;
}
