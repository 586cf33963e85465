//! Commands that need no running relay: check, srs, demo.

use testkit::net::Net;
use testkit::program;

use crate::relay;

const ONWARD: &str = env!("CARGO_BIN_EXE_onward");

#[tokio::test]
async fn check_and_srs() {
    let net = Net::new().await;
    let setup = relay(&net, "alice@example.test alice@target.test\n")
        .set("forwards.postmaster", "\"admin@target.test\"")
        .with_tls();
    setup.run(&["check"]).await.success();
    let encoded = setup
        .run(&["srs", "encode", "Origin@sender.test"])
        .await
        .success();
    let address = encoded.stdout.trim();
    assert!(
        address.starts_with("SRS0=") && address.ends_with("=sender.test=Origin@fwd.test"),
        "{encoded}"
    );
    let decoded = setup.run(&["srs", "decode", address]).await.success();
    assert!(decoded.stdout.contains("Origin@sender.test"), "{decoded}");
    let json = setup
        .run(&["--json", "srs", "decode", address])
        .await
        .success();
    assert!(json.stdout.contains("\"Origin@sender.test\""), "{json}");
    let forged = address.replace("sender.test", "other.test");
    setup.run_into_error(&["srs", "decode", &forged], &[]).await;
}

#[tokio::test]
async fn dkim_key_writes_a_key_once() {
    let net = Net::new().await;
    let setup = relay(&net, "");
    let file = setup.path("keys/new.pem");
    let named = file.to_str().expect("UTF-8");
    let key = ["dkim", "key", named, "--selector", "s1"];
    setup.run_into_error(&key, &["cannot write"]).await;
    std::fs::create_dir(setup.path("keys")).expect("a folder");
    let made = setup.run(&key).await.success();
    let record = "s1._domainkey.mx.fwd.test. IN TXT ( \"v=DKIM1; k=rsa; p=";
    assert!(made.stdout.contains(record), "{made}");
    let table = "[[dkim]]\nname = \"new\"\ndomain = \"mx.fwd.test\"\nselector = \"s1\"\nkey = ";
    assert!(made.stdout.contains(table), "{made}");
    let mode = std::fs::metadata(&file).expect("a file").permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
    setup.run_into_error(&key, &["exists, and is left"]).await;
    let other = setup.path("other.pem");
    let other = other.to_str().expect("UTF-8");
    let key = [
        "--json",
        "dkim",
        "key",
        other,
        "--ed25519",
        "--domain",
        "example.test",
    ];
    let made = setup.run(&key).await.success();
    let made: serde_json::Value = serde_json::from_str(&made.stdout).expect("JSON");
    let record = made["record"].as_str().expect("a record");
    assert!(record.starts_with("v=DKIM1; k=ed25519; p="), "{made}");
    assert_eq!(made["dkim"][0]["domain"], "example.test");
}

/// `serve` runs with these, so that `check` must name each and what it leads to.
#[tokio::test]
async fn check_names_what_is_risky() {
    let net = Net::new().await;
    let fine =
        |forwards: &str| relay(&net, forwards).set("forwards.postmaster", "\"admin@target.test\"");
    let alice = "alice@example.test alice@target.test\n";
    fine(alice).run(&["check"]).await.success();
    let postmaster = |address: &str| fine(alice).set("forwards.postmaster", address);
    let short = fine(alice);
    short.write(
        "srs.secrets",
        "tooshort\n a long secret that begins with a blank\n",
    );
    let open = fine(alice).with_tls();
    for name in ["srs.secrets", "key.pem"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(open.path(name), mode).expect("chmod");
    }
    let proxy = "bind = \"127.0.0.1:0\"\nproxy_protocol_from = [\"::/0\"]";
    let rows: [(testkit::daemon::Setup, &[&str]); 11] = [
        (
            fine(alice).set("policy.trusted", "[\"0.0.0.0/0\"]"),
            &["0.0.0.0/0", "any address"],
        ),
        (
            fine(alice).listener(proxy),
            &["::/0", "claim to be any client"],
        ),
        (
            fine("alice@fwd.test alice@target.test\n"),
            &["fwd.test is a domain of rewritten senders"],
        ),
        (
            short,
            &["secret 1 is under 16 octets", "secret 2 has blanks"],
        ),
        (
            open,
            &[
                "srs.secrets is open to every user",
                "key.pem is open to every user",
                "0644",
            ],
        ),
        (relay(&net, alice), &["postmaster may be refused"]),
        (
            postmaster("\"nobody@example.test\""),
            &["leads nowhere", "no line for it"],
        ),
        (
            postmaster("\"postmaster@example.test\""),
            &["leads nowhere"],
        ),
        (
            postmaster("\"postmaster@mx.fwd.test\""),
            &["leads nowhere", "this relay itself"],
        ),
        (
            fine(alice).set("alerts.mail", "\"nobody@example.test\""),
            &["`alerts.mail` leads nowhere", "no line for it"],
        ),
        (
            fine("info@example.test info@example.test, copy@target.test\n"),
            &["forwards:1:1", "leads back here"],
        ),
    ];
    for (setup, words) in rows {
        setup.run_into_error(&["check"], words).await;
    }
}

#[tokio::test]
async fn check_counts_open_files() {
    let net = Net::new().await;
    let setup = relay(&net, "").set("forwards.postmaster", "\"admin@target.test\"");
    setup.run(&["check"]).await.success();
    let config = setup.path("onward.toml");
    let config = config.to_str().expect("UTF-8");
    let arguments = ["--nofile=600:600", ONWARD, "--config", config, "check"];
    let finished = program::run("prlimit", &arguments, b"").await;
    assert_eq!(finished.code, Some(1), "{finished}");
    assert!(
        finished.stdout.contains("need 11256 open files"),
        "{finished}"
    );
}

#[tokio::test]
async fn demo_shows_a_message_and_its_bounce() {
    let demo = program::run(ONWARD, &["demo", "--port", "0", "--once"], b"")
        .await
        .success();
    for wanted in [
        "RCPT TO:<alice@mail.example.com>",
        "MAIL FROM:<SRS0=",
        "not a byte changed",
        "MAIL FROM:<>",
        "RCPT TO:<bob@sender.example>",
    ] {
        assert!(demo.stdout.contains(wanted), "no {wanted:?}: {demo}");
    }
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2() {
    let finished = program::run(ONWARD, &["queue", "frobnicate"], b"").await;
    assert_eq!(finished.code, Some(2), "{finished}");
}

#[tokio::test]
async fn spf_check_says_the_result_first() {
    let net = Net::new().await;
    net.dns.add(
        "spf.test TXT v=spf1 include:_spf.test -all exp=why.spf.test
         _spf.test TXT v=spf1 ip4:192.0.2.0/28 ~all
         why.spf.test TXT %{i} is not ours
         ill.test SERVFAIL",
    );
    let server = net.dns.address().to_string();
    let check = async |ip: &str, from: &str, more: &[&str]| {
        let claim = [
            "spf", "check", "--ip", ip, "--helo", "spf.test", "--from", from,
        ];
        let arguments = [&claim[..], &["--server", &server], more].concat();
        program::run(ONWARD, &arguments, b"").await
    };
    let pass = check("192.0.2.7", "a@spf.test", &[]).await.success();
    let expected = "pass\n`ip4:192.0.2.0/28` in the record of _spf.test matches 192.0.2.7, by `include:_spf.test` of spf.test\n\
                    record of _spf.test: v=spf1 ip4:192.0.2.0/28 ~all\n";
    assert_eq!(pass.stdout, expected);
    let fail = check("2001:db8::1", "<>", &["--json"]).await;
    assert_eq!(fail.code, Some(1), "{fail}");
    let report: serde_json::Value = serde_json::from_str(&fail.stdout).expect("JSON");
    assert_eq!(report["result"], "fail");
    let digits = "2.0.0.1.0.D.B.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1";
    assert_eq!(report["explanation"], format!("{digits} is not ours"));
    let none = check("192.0.2.7", "a@none.test", &[]).await.success();
    assert_eq!(none.stdout, "none\nnone.test: it publishes no SPF record\n");
    let ill = check("192.0.2.7", "a@ill.test", &[]).await;
    assert_eq!(ill.code, Some(1), "{ill}");
    assert!(ill.stdout.starts_with("temperror\n"), "{ill}");
}

#[tokio::test]
async fn auth_prints_the_results_of_a_message() {
    let net = Net::new().await;
    let name = |text: &str| text.parse().expect("a name");
    let (key, _) =
        authentic::Key::generate(name("author.test"), name("s1"), authentic::Kind::Ed25519)
            .expect("a key");
    net.dns.add(&format!(
        "author.test TXT v=spf1 ip4:192.0.2.7 -all
         _dmarc.author.test TXT v=DMARC1; p=reject
         {} TXT {}",
        key.record_name(),
        key.record().expect("a record")
    ));
    let message = "From: Ann <ann@author.test>\r\nSubject: x\r\n\r\nhello\r\n";
    let signed = signed(&key, message);
    let server = net.dns.address().to_string();
    let auth = async |from: &str, message: &str, more: &[&str]| {
        let claim = [
            "auth",
            "-",
            "--ip",
            "192.0.2.7",
            "--helo",
            "mx.author.test",
            "--from",
            from,
        ];
        let arguments = [&claim[..], &["--server", &server], more].concat();
        program::run(ONWARD, &arguments, message.as_bytes())
            .await
            .success()
            .stdout
    };
    let pass = auth("a@author.test", &signed, &[]).await;
    for part in [
        "Authentication-Results: ",
        "spf=pass",
        "smtp.mailfrom=a@author.test",
        "dkim=pass",
        "header.d=author.test",
        "dmarc=pass",
        "header.from=author.test",
        "arc=none",
    ] {
        assert!(pass.contains(part), "{part}: {pass}");
    }
    // As files often are: LF alone.
    let same = auth("a@author.test", &signed.replace("\r\n", "\n"), &[]).await;
    assert_eq!(same, pass);
    let forged = auth("<>", message, &["--json"]).await;
    let forged: serde_json::Value = serde_json::from_str(&forged).expect("JSON");
    let results: Vec<_> = forged
        .as_array()
        .expect("a list")
        .iter()
        .map(|said| {
            (
                said["method"].as_str().unwrap_or_default(),
                said["result"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    let expected = [
        ("spf", "none"),
        ("dkim", "none"),
        ("dmarc", "fail"),
        ("arc", "none"),
    ];
    assert_eq!(results, expected);
    assert_eq!(forged[2]["properties"]["policy.dmarc"], "reject");
}

fn signed(key: &authentic::Key, message: &str) -> String {
    let mut reader = authentic::Reader::signing();
    reader.feed(message.as_bytes());
    let now = spool::Clock::real().now().unix_secs();
    authentic::sign(key, &reader.finish(), now).expect("a signature") + message
}
