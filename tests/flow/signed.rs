//! What leaves with a signature or an ARC set of ours: notices, and mail to domains that want it.

use authentic::{Key, Reader, Results, Spf, Verdict};
use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::{mail, sender};

use crate::{origin_sends, relay};

const ALICE: &str = "alice@example.test alice@target.test\n";

/// A relay with a key in `NAME.pem` for each of these names, which DNS knows.
async fn with_keys(net: &Net, forwards: &str, names: &[&str]) -> Setup {
    let setup = relay(net, forwards);
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
        let key = read(&setup, name);
        let record = key.record().expect("a record");
        net.dns.add(&format!("{} TXT {record}", key.record_name()));
        tables.push(format!(
            "{{ name = \"{name}\", domain = \"fwd.test\", selector = \"{name}\", key = \"{name}.pem\" }}"
        ));
    }
    setup.set("dkim", &format!("[{}]", tables.join(", ")))
}

fn read(setup: &Setup, name: &str) -> Key {
    let pem = std::fs::read(setup.path(&format!("{name}.pem"))).expect("a key");
    let domain = "fwd.test".parse().expect("a domain");
    Key::from_pem(domain, name.parse().expect("a name"), &pem).expect("a key")
}

/// What somebody behind the relay finds.
async fn proved(relay: &Relay, names: &[&str], delivered: &[u8]) -> Results {
    let mut dns = dns::Fixed::new();
    for name in names {
        let key = read(relay.setup(), name);
        dns = dns.with_txt(key.record_name(), key.record().expect("a record"));
    }
    let mut reader = Reader::default();
    reader.feed(delivered);
    let now = spool::Clock::real().now().unix_secs();
    reader.finish().verify(&dns, Spf::Other, now).await
}

#[tokio::test]
async fn mail_is_signed_and_sealed_as_its_recipient_wants() {
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let forwards = "alice@example.test alice@target.test sign=one seal=two\n\
        bob@example.test bob@target.test\ncarol@example.test carol@target.test seal=one\n";
    let setup = with_keys(&net, forwards, &["one", "two"]).await;
    let relay = setup.start().await;
    let original = mail::short("first");
    let to = ["alice@example.test", "bob@example.test"];
    sender::send(relay.address(), "origin@sender.test", &to, &original).await;
    let delivered = target.messages(2).await;
    let copy = |to: &str| {
        delivered
            .iter()
            .find(|copy| copy.to() == [to])
            .expect("a copy")
    };
    let names = |delivered: &[u8], original: &[u8]| {
        let fields = mail::added_on_top(delivered, original).into_iter();
        fields.map(|(name, _)| name).collect::<Vec<_>>()
    };
    let bob = ["Delivered-To", "Authentication-Results", "Received"];
    assert_eq!(names(&copy("bob@target.test").data, &original), bob);
    let set = [
        "ARC-Seal",
        "ARC-Message-Signature",
        "ARC-Authentication-Results",
    ];
    let alice = [&bob[..1], &set[..], &["DKIM-Signature"], &bob[1..]].concat();
    let first = &copy("alice@target.test").data;
    assert_eq!(names(first, &original), alice);
    let results = proved(&relay, &["one", "two"], first).await;
    assert_eq!(results.dkim[0].verdict, Verdict::Pass, "{results:?}");
    assert_eq!(
        (results.arc.verdict, results.arc.instance),
        (Verdict::Pass, 1),
        "{results:?}"
    );

    // It comes round: the chain goes on while it holds, and is left alone when it does not.
    let broken = [b"Subject: another\r\n", &**first].concat();
    for (original, count, instance) in [(first, 3, 2), (&broken, 4, 1)] {
        let to = ["carol@example.test"];
        sender::send(relay.address(), "origin@sender.test", &to, original).await;
        let delivered = target.messages(count).await;
        let last = delivered.last().expect("a copy");
        let results = proved(&relay, &["one", "two"], &last.data).await;
        assert_eq!(results.arc.instance, instance, "{results:?}");
        let holds = results.arc.verdict == Verdict::Pass;
        assert_eq!(holds, instance == 2, "{results:?}");
    }
}

#[tokio::test]
async fn notices_are_signed() {
    let net = Net::new().await;
    let _target = net.sink("target.test", "rcpt: 550 5.1.1 unknown").await;
    let origin = net.sink("sender.test", "").await;
    let setup = with_keys(&net, ALICE, &["one", "two"]).await;
    let relay = setup.set("bounce.sign", "\"two\"").start().await;
    origin_sends(&relay, "alice@example.test", "first").await;
    let signed = origin.message().await.text();
    assert!(signed.starts_with("DKIM-Signature: v=1; "), "{signed}");
    assert!(signed.contains("d=fwd.test;\r\n\ts=two;"), "{signed}");
    let results = proved(&relay, &["two"], signed.as_bytes()).await;
    assert_eq!(results.dkim[0].verdict, Verdict::Pass, "{results:?}");

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
    let made = with_keys(&net, ALICE, &["k"]).await;
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

/// What a user's program leaves out is added above what we say of the way, and covered by the signature.
#[tokio::test]
async fn mail_of_users_is_signed_for_their_own_domains() {
    // `mkpasswd -m bcrypt -R 5 secret`.
    const HASH: &str = "$2b$05$mdfqMaX6y2ndf3sXziRt3.BxvKoUPbpy0MOW2gm/IkYKX4XqOV2Sa";
    let net = Net::new().await;
    let target = net.sink("target.test", "").await;
    let setup = with_keys(&net, ALICE, &["one"]).await.with_tls();
    let users = format!("ann@fwd.test:{HASH}\nbob:{HASH}:senders=bob@x.test\n");
    setup.write("users", &users);
    let relay = setup
        .set(
            "profile",
            "[{ name = \"users\", sign = \"one\", spf = \"reject\", dmarc = \"reject\" }]",
        )
        .set("auth.users", "\"users\"")
        .set("auth.profile", "\"users\"")
        .listener("bind = \"127.0.0.1:0\"\nrole = \"submission\"")
        .start()
        .await;
    // `\0ann@fwd.test\0secret` and `\0bob\0secret`, who writes in the name of another.
    let mail_of = [
        (
            "AGFubkBmd2QudGVzdABzZWNyZXQ=",
            "ann@fwd.test",
            "ann@fwd.test",
            &["DKIM-Signature", "Date", "Message-ID", "Received"][..],
        ),
        (
            "AGJvYgBzZWNyZXQ=",
            "bob@x.test",
            "ceo@fwd.test",
            &["Date", "Message-ID", "Received"][..],
        ),
    ];
    for ((credentials, sender, author, names), count) in mail_of.into_iter().zip(1..) {
        let mut plain = sender::Plain::hello(relay.address())
            .await
            .start_tls()
            .await;
        plain
            .expect(&format!("AUTH PLAIN {credentials}"), "235 2.7.0")
            .await;
        let mail = format!("From: {author}\r\nSubject: x\r\n\r\nhello\r\n").into_bytes();
        let (_, end) = plain
            .transaction(&format!("<{sender}>"), &["<carol@target.test>"], &mail)
            .await;
        assert!(end.starts_with("250"), "{end}");
        let delivered = target.messages(count).await.pop().expect("a copy").data;
        let fields = mail::added_on_top(&delivered, &mail);
        let found: Vec<_> = fields.iter().map(|(name, _)| &**name).collect();
        assert_eq!(found, names);
        let received = &fields[fields.len() - 1].1;
        assert!(
            received.contains("with ESMTPSA") && !received.contains("127.0.0.1"),
            "{received}"
        );
        let results = proved(&relay, &["one"], &delivered).await;
        let passes = results.dkim.iter().any(|one| one.verdict == Verdict::Pass);
        assert_eq!(passes, names.contains(&"DKIM-Signature"));
    }
    relay.wait_for("login user=bob mechanism=PLAIN").await;
    relay.wait_for("received user=bob from=<bob@x.test>").await;
}
