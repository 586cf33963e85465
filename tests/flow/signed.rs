//! What leaves with a signature of ours: notices, once they have a key.

use testkit::daemon::Setup;
use testkit::net::Net;

use crate::{origin_sends, relay};

/// A relay with a key in `NAME.pem` for each of these names.
async fn with_keys(net: &Net, names: &[&str]) -> Setup {
    let setup = relay(net, "alice@example.test alice@target.test\n");
    let mut tables = Vec::new();
    for name in names {
        let file = setup.path(&format!("{name}.pem"));
        let file = file.to_str().expect("UTF-8");
        let key = [
            "dkim",
            "key",
            file,
            "--domain",
            "fwd.test",
            "--selector",
            name,
        ];
        setup.run(&key).await.success();
        tables.push(format!(
            "{{ name = \"{name}\", domain = \"fwd.test\", selector = \"{name}\", key = \"{name}.pem\" }}"
        ));
    }
    setup.set("dkim", &format!("[{}]", tables.join(", ")))
}

#[tokio::test]
async fn notices_are_signed() {
    let net = Net::new().await;
    let _target = net.sink("target.test", "rcpt: 550 5.1.1 unknown").await;
    let origin = net.sink("sender.test", "").await;
    let setup = with_keys(&net, &["one", "two"]).await;
    let relay = setup.set("bounce.sign", "\"two\"").start().await;
    origin_sends(&relay, "alice@example.test", "first").await;
    let signed = origin.message().await.text();
    assert!(signed.starts_with("DKIM-Signature: v=1; "), "{signed}");
    assert!(signed.contains("d=fwd.test;\r\n\ts=two;"), "{signed}");

    // A key that cannot be read keeps the old ones.
    relay.setup().write("one.pem", "nonsense");
    relay.reload();
    relay.wait_for("reload-failed error=one.pem").await;
    origin_sends(&relay, "alice@example.test", "second").await;
    let signed = origin.messages(2).await[1].text();
    assert!(signed.contains("s=two;"), "{signed}");
}

#[tokio::test]
async fn keys_that_cannot_be_used() {
    let net = Net::new().await;
    let key = |name: &str, domain: &str| {
        format!("{{ name = \"{name}\", domain = \"{domain}\", selector = \"s\", key = \"k.pem\" }}")
    };
    let with = |tables: &[&str], sign: &str| {
        let setup = relay(&net, "").set("forwards.postmaster", "\"admin@target.test\"");
        let setup = setup.set("dkim", &format!("[{}]", tables.join(", ")));
        setup.set("bounce.sign", &format!("\"{sign}\""))
    };
    let made = with_keys(&net, &["k"]).await;
    let pem = std::fs::read_to_string(made.path("k.pem")).expect("a key");
    let one = key("one", "fwd.test");
    let rows = [
        (with(&[&*one], ""), "", "k.pem: no private key in PEM"),
        (
            with(&[&*key("one", "a b")], ""),
            &*pem,
            "[[dkim]] `one`: `a b`",
        ),
        (
            with(&[&*one, &*one], ""),
            &pem,
            "[[dkim]]: `one` is there twice",
        ),
        (
            with(&[&*one], "two"),
            &pem,
            "`bounce.sign`: no [[dkim]] is called `two`",
        ),
        (with(&[&*one], ""), &pem, "k.pem is open to every user"),
        (
            with(&[&*key("one", "other.test")], "one"),
            &pem,
            "come from postmaster@mx.fwd.test",
        ),
    ];
    for (setup, pem, expected) in rows {
        setup.write("k.pem", pem);
        setup
            .run_into_error(&["check"], &[expected, "hint: "])
            .await;
    }
    let gone = with(&[&*one], "");
    gone.run_into_error(&["check"], &["cannot read", "k.pem", "hint: "])
        .await;
}
