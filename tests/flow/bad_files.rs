//! Mistakes in files: each is a message that says where and what to do, and exit code 1.

use testkit::net::Net;
use testkit::program;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn configuration() {
    let net = Net::new().await;
    let typo = relay(&net, FORWARDS).set("queue.retri", "[\"1m\"]");
    typo.run_into_error(&["serve"], &["onward.toml", "line", "retri", "hint: "])
        .await;
    let no_toml = relay(&net, FORWARDS).set("hostname", "mx.fwd.test");
    no_toml
        .run_into_error(&["serve"], &["onward.toml", "line", "column"])
        .await;
    let arguments = ["--config", "/nonexistent/onward.toml", "check"];
    let missing = program::run(env!("CARGO_BIN_EXE_onward"), &arguments, b"").await;
    assert_eq!(missing.code, Some(1), "{missing}");
    let said = &missing.stdout;
    assert!(
        said.contains("/nonexistent/onward.toml") && said.contains("hint: "),
        "{missing}"
    );
}

#[tokio::test]
async fn certificate_forwards_and_secrets() {
    let net = Net::new().await;
    let gone = relay(&net, FORWARDS)
        .with_tls()
        .set("tls.certificate", "\"gone.pem\"");
    let garbage = relay(&net, FORWARDS).with_tls();
    garbage.write("cert.pem", "not a certificate\n");
    let typo = relay(
        &net,
        "alice@example.test alice@target.test\nbob@example.test :rejct:\n",
    );
    let secretless = relay(&net, FORWARDS);
    secretless.write("srs.secrets", "\n");
    for command in ["serve", "check"] {
        gone.run_into_error(&[command], &["gone.pem", "hint: "])
            .await;
        garbage.run_into_error(&[command], &["cert.pem"]).await;
        typo.run_into_error(&[command], &["forwards:2:", ":rejct:", "hint: "])
            .await;
        secretless
            .run_into_error(&[command], &["srs.secrets"])
            .await;
    }
}

/// What `serve` would exit on, `check` says too, in the same words.
#[tokio::test]
async fn values_that_cannot_work() {
    let net = Net::new().await;
    let route = |host: &str| {
        let routes = format!("[{{ domain = \"a.example\", host = \"{host}\" }}]");
        relay(&net, FORWARDS).set("delivery.route", &routes)
    };
    let listeners = relay(&net, FORWARDS)
        .listener("bind = \"127.0.0.1:2599\"")
        .listener("bind = \"127.0.0.1:2599\"");
    let mapped = relay(&net, FORWARDS)
        .listener("bind = \"127.0.0.1:2599\"")
        .listener("bind = \"[::ffff:127.0.0.1]:2599\"");
    let subdomains = "[{ domain = \".a.example\", host = \"b.example\" }]";
    let socket = format!("\"/tmp/{}\"", "s".repeat(110));
    let rows = [
        (route("[mail.example]:587"), "write `mail.example`"),
        (route("mail.example:0"), "`0` is not a port"),
        (
            relay(&net, FORWARDS).set("delivery.route", subdomains),
            "a route is for one domain, `a.example`",
        ),
        (
            relay(&net, FORWARDS).set("limits.message_size", "0"),
            "zero would refuse all mail",
        ),
        (
            relay(&net, FORWARDS).set("control.socket", &socket),
            "over 107 octets",
        ),
        (
            relay(&net, FORWARDS).set("policy.trusted", "[\"all\"]"),
            "`all` is not a network",
        ),
        (listeners, "the same port of the same address"),
        (mapped, "the same port of the same address"),
        (
            relay(&net, FORWARDS).listener("bind = \"192.0.2.55:2599\""),
            "no interface of this host has this address",
        ),
        (
            relay(&net, FORWARDS).set("control.socket", "\"forwards\""),
            "is in the way: it is not a socket",
        ),
        (
            relay(&net, FORWARDS).set("control.socket", "\"nowhere/control.sock\""),
            "cannot make the socket",
        ),
        (
            relay(&net, FORWARDS).set("log.file", "\"nowhere/mail.log\""),
            "cannot write the mail log",
        ),
        (
            relay(&net, FORWARDS).set("limits.session_timeout", "\"500000000000y\""),
            "is over 100 years",
        ),
        (
            relay(&net, "a@b.example c@d.example answer=soon\n"),
            "unknown value `soon`",
        ),
        (
            relay(&net, FORWARDS).set("delivery.dane", "true"),
            "only where DNSSEC proves them",
        ),
    ];
    for (setup, words) in rows {
        for command in ["serve", "check"] {
            setup.run_into_error(&[command], &[words, "hint: "]).await;
        }
    }
}

/// A name must be there, and a value must be one, in a profile and on a line.
#[tokio::test]
async fn measures_that_cannot_be_chosen() {
    let net = Net::new().await;
    let profiles = |profiles: &str| relay(&net, FORWARDS).set("profile", profiles);
    let rows = [
        (
            relay(&net, "\na@b.example c@d.example profile=lax\n"),
            "forwards:2:33: no [[profile]] is called `lax`",
        ),
        (
            relay(&net, "b.example :domain: verify_sender=yes\n"),
            "forwards:1:34: unknown value `yes`",
        ),
        (
            relay(&net, "b.example :domain: dnsbl=spam\n"),
            "forwards:1:26: no [[dnsbl]] is called `spam`",
        ),
        (
            profiles("[{ name = \"strict\", sender_block = [\"spam\"] }]"),
            "[[profile]] `strict`: `sender_block`: no [[list]] is called `spam`",
        ),
        (
            profiles("[{ name = \"strict\", sfp = \"mark\" }]"),
            "[[profile]] `strict`: `sfp`: unknown measure",
        ),
        (
            profiles("[{ name = \"strict\", verify_sender = true }]"),
            "a measure is text",
        ),
        (
            profiles("[{ name = \"a\" }, { name = \"a\" }]"),
            "[[profile]] `a`: `name`: `a` is there twice",
        ),
    ];
    for (setup, words) in rows {
        for command in ["serve", "check"] {
            setup.run_into_error(&[command], &[words, "hint: "]).await;
        }
    }
}

/// All at once, not one after the other.
#[tokio::test]
async fn two_mistakes_are_both_told() {
    let net = Net::new().await;
    let setup = relay(&net, "alice@example.test :rejct:\n").set(
        "delivery.route",
        "[{ domain = \"a.example\", host = \"b:0\" }]",
    );
    for command in ["serve", "check"] {
        setup
            .run_into_error(&[command], &["forwards:1:", "delivery"])
            .await;
    }
}
