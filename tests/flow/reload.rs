//! SIGHUP reads the forwards again, all or nothing: a typo keeps the old table and says where it is.

use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

#[tokio::test]
async fn typo_keeps_the_old_table() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;

    relay.setup().write(
        "forwards",
        "bob@example.test bob@target.test\n\nalice@example.test alice@\n",
    );
    let wanted = ["forwards:3:", "nothing was changed", "hint: "];
    relay.setup().run_into_error(&["reload"], &wanted).await;
    let failed = relay
        .wait_for("reload-failed error=forwards:3:")
        .await
        .text("error");
    assert!(failed.contains("hint: "), "{failed}");
    origin_sends(&relay, "alice@example.test", "one").await;
    assert_eq!(sink.message().await.to(), ["alice@target.test"]);
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain
        .expect("RCPT TO:<bob@example.test>", "550 5.1.1")
        .await;

    relay
        .setup()
        .write("forwards", "bob@example.test bob@target.test\n");
    relay.reload();
    relay.wait_for("reload-failed error=").await;
    let said = relay.run(&["reload", "--force"]).await;
    assert!(said.contains("forwards: 1 lines, +1 −1 ~0"), "{said}");
    relay.wait_for("reloaded").await;
    // The transaction that is open keeps the rules under which it began; the next one has the new.
    plain.expect("RCPT TO:<alice@example.test>", "250").await;
    plain.expect("RSET", "250").await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.expect("RCPT TO:<bob@example.test>", "250").await;
    plain
        .expect("RCPT TO:<alice@example.test>", "550 5.1.1")
        .await;
}

/// A profile that a line names cannot go, and one that it names must be there: the old rules stay, profiles and lines together.
#[tokio::test]
async fn a_profile_that_is_not_there_keeps_the_old_rules() {
    let net = Net::new().await;
    let strict = "[{ name = \"strict\" }]";
    let relay = relay(&net, "example.test :domain: profile=strict\n")
        .set("profile", strict)
        .start()
        .await;
    let lax = "example.test :domain: profile=lax\n";
    let config = relay.setup().path("onward.toml");
    let text = std::fs::read_to_string(&config).expect("a config");
    let renamed = text.replace(strict, "[{ name = \"lax\" }]");
    std::fs::write(&config, &renamed).expect("a config");
    relay.reload();
    let failed = relay
        .wait_for("reload-failed error=forwards:1:31:")
        .await
        .text("error");
    let expected = "no [[profile]] is called `strict`\n\nhint: ";
    assert!(failed.contains(expected), "{failed}");
    relay.setup().write("forwards", lax);
    relay.reload();
    relay.wait_for("reloaded applied=profile").await;
}

#[tokio::test]
async fn broken_certificate_keeps_the_old_one() {
    let net = Net::new().await;
    let relay = relay(&net, "").with_tls().start().await;
    let certificate = relay.setup().path("cert.pem");
    let good = std::fs::read_to_string(&certificate).expect("a certificate");
    relay.setup().write("cert.pem", "nonsense");
    relay.reload();
    relay.wait_for("reload-failed error=cert.pem").await;
    Plain::hello(relay.address()).await.start_tls().await;
    relay.setup().write("cert.pem", &good);
    relay.reload();
    relay.wait_for("reloaded").await;
    Plain::hello(relay.address()).await.start_tls().await;
    // Without any certificate it goes on with those it has, and says so.
    let config = relay.setup().path("onward.toml");
    let text = std::fs::read_to_string(&config).expect("a config");
    let without: Vec<&str> = text.lines().filter(|l| !l.starts_with("tls.")).collect();
    std::fs::write(&config, without.join("\n")).expect("a config");
    relay.reload();
    let restart = "reloaded needs_restart=tls.certificate,tls.key";
    relay.wait_for(restart).await;
    Plain::hello(relay.address()).await.start_tls().await;
}

/// An empty file would make every address a permanent 550: neither a reload nor a restart takes it.
#[tokio::test]
async fn a_file_that_shrank_is_kept_out() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    for cut in ["", "alice@example.test alice@target.te"] {
        relay.setup().write("forwards", cut);
        relay
            .setup()
            .run_into_error(&["reload"], &["--force"])
            .await;
    }
    let setup = relay.stop().await;
    setup
        .run_into_error(&["check"], &["no line feed", "the old table stays"])
        .await;
    let relay = setup.start().await;
    relay.wait_for("forwards-kept-out forwards=1").await;
    origin_sends(&relay, "alice@example.test", "kept").await;
    assert_eq!(sink.message().await.to(), ["alice@target.test"]);
    relay
        .setup()
        .write("forwards", "alice@example.test :rejct:\n");
    let setup = relay.stop().await;
    let relay = setup.start().await;
    relay.wait_for("forwards-kept-out").await;
    relay.setup().write("forwards", "");
    relay.run(&["reload", "--force"]).await;
    let mut plain = Plain::hello(relay.address()).await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.expect("RCPT TO:<alice@example.test>", "550").await;
}

#[tokio::test]
async fn reload_says_what_changed_and_what_needs_a_restart() {
    let net = Net::new().await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    let config = relay.setup().path("onward.toml");
    let text = std::fs::read_to_string(&config).expect("a config");
    let text = text.replace("[\"1s\"]", "[\"2s\"]");
    let text = format!("srs.max_age = \"20d\"\n{text}");
    std::fs::write(&config, text).expect("a config");
    // The second `check` finds nothing new, but the restart is still due.
    let both = ["applied: srs.max_age", "needs a restart: queue.retry"];
    for (command, expected) in [
        ("check", &both[..]),
        ("reload", &both),
        ("check", &both[1..]),
    ] {
        let arguments = ["--config", config.to_str().expect("UTF-8"), command];
        let said = testkit::program::run(env!("CARGO_BIN_EXE_onward"), &arguments, b"").await;
        for words in both {
            let is_said = said.stdout.contains(words);
            assert_eq!(is_said, expected.contains(&words), "{command}: {said}");
        }
    }
    relay.wait_for("operator-asked action=reload uid=").await;
    relay
        .wait_for("reloaded applied=srs.max_age needs_restart=queue.retry")
        .await;
    // The counts may come a moment later.
    while relay.run_json(&["status"]).await["events"]["operator-asked"] != 1 {}
}

#[tokio::test]
async fn whom_a_reload_trusts_may_hold_any_number_of_connections() {
    let net = Net::new().await;
    let relay = relay(&net, "")
        .set("limits.connections_per_address", "1")
        .start()
        .await;
    let _first = Plain::hello(relay.address()).await;
    let (_, greeting) = Plain::connect(relay.address()).await;
    assert!(greeting.starts_with("421 4.7.0"), "{greeting}");
    let config = relay.setup().path("onward.toml");
    let text = std::fs::read_to_string(&config).expect("a config");
    let text = format!("policy.trusted = [\"127.0.0.0/8\"]\n{text}");
    std::fs::write(&config, text).expect("a config");
    relay.reload();
    relay.wait_for("reloaded").await;
    Plain::hello(relay.address()).await;
}

/// A key that can be reloaded, and one that cannot.
#[tokio::test]
async fn what_a_reload_would_change_is_told_before() {
    let net = Net::new().await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    relay.run(&["config", "diff"]).await;
    let defaults = relay.run(&["config", "defaults"]).await;
    assert!(defaults.contains("\n#[verify]\n"), "{defaults}");
    let config = relay.setup().path("onward.toml");
    let text = std::fs::read_to_string(&config).expect("a config");
    let changed = "connect.tarpit_delay = \"9s\"\nverify.timeout = \"19s\"\n";
    std::fs::write(&config, format!("{changed}{text}")).expect("a config");
    let rows = [
        (
            "show",
            0,
            "verify.timeout = \"19s\"  # file, a change needs a restart\n",
        ),
        ("show", 0, "\nverify.kept = \"7d\"  # default, "),
        ("diff", 1, "connect.tarpit_delay = \"9s\"  # at a reload\n"),
        ("diff", 1, "verify.timeout = \"19s\"  # needs a restart\n"),
        ("diff", 1, "\nforwards: 1 lines, +0 −0 ~0\n"),
    ];
    for (command, code, words) in rows {
        let config = config.to_str().expect("UTF-8");
        let arguments = ["--config", config, "config", command];
        let said = testkit::program::run(env!("CARGO_BIN_EXE_onward"), &arguments, b"").await;
        assert!(
            said.code == Some(code) && said.stdout.contains(words),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_new_secret_signs_and_the_old_one_verifies() {
    let net = Net::new().await;
    let relay = relay(&net, "").start().await;
    let before = relay.run(&["srs", "encode", "a@sender.test"]).await;
    let secrets = relay.setup().path("srs.secrets");
    let read = || std::fs::read_to_string(&secrets).expect("secrets");
    let old = read();
    relay.run(&["srs", "rotate", "--dry-run"]).await;
    assert_eq!(read(), old);
    let said = relay.run_json(&["srs", "rotate"]).await;
    let is_told = said["secrets"] == 2 && said["reloaded"] == true;
    assert!(is_told && read().ends_with(&old), "{said}");
    relay.wait_for("reloaded").await;
    let after = relay.run(&["srs", "encode", "a@sender.test"]).await;
    assert_ne!(after, before);
    for address in [&before, &after] {
        let back = relay.run(&["srs", "decode", address.trim()]).await;
        assert_eq!(back, "a@sender.test\n");
    }
    let said = relay.run_json(&["srs", "rotate", "--prune"]).await;
    assert_eq!(said["secrets"], 2, "its time is not over: {said}");
}

/// A customer who enters a provider's domain takes the mail of all others who forward there.
#[tokio::test]
async fn a_domain_that_others_forward_to_is_told_of() {
    let net = Net::new().await;
    let forwards = "a@a.test a@mail.test\nb@b.test b@mail.test, b@other.test\n";
    let relay = relay(&net, forwards).start().await;
    let more = format!("{forwards}@mail.test c@c.test\n");
    relay.setup().write("forwards", &more);
    let path = relay.setup().path("forwards");
    let file = path.display();
    let told = format!("hosted by {file}, and 2 forwards of other domains lead there");
    let check = relay.setup().run(&["check"]).await.stdout;
    assert!(
        check.contains(&format!("note source       mail.test: {told}")),
        "{check}"
    );
    let said = relay.run(&["reload"]).await;
    assert!(
        said.contains(&format!("mail.test was not hosted before: it is {told}")),
        "{said}"
    );
    // It is no news any more, and as it was.
    let said = relay.run(&["reload"]).await;
    assert!(!said.contains("mail.test"), "{said}");
    let doctor = relay.setup().run(&["doctor"]).await.stdout;
    assert!(
        doctor.contains(&format!("source      mail.test: {told}")),
        "{doctor}"
    );
}
