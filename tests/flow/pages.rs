//! The pages of `docs/`: the examples of each are one configuration that works, and every command in it answers beside such a relay.

use std::collections::BTreeMap;
use std::path::Path;

use testkit::acme::Acme;
use testkit::daemon::Setup;
use testkit::net::Net;
use testkit::sender::send;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use toml::{Table, Value};

use super::http;
use super::questions::{when_there, words};
use crate::relay;
use testkit::program::free;

const MAIL: &[u8] = b"From: news@sender.example\r\nSubject: hello\r\n\r\nhello\r\n";

/// What the examples of a page say.
#[derive(Default)]
struct Page {
    config: Table,
    /// Other files, by name.
    files: BTreeMap<String, String>,
    commands: Vec<String>,
    /// Those for a relay that does not run.
    stopped: Vec<String>,
}

#[tokio::test]
async fn every_example_about_delivery_works() {
    let net = Net::new().await;
    let script = "rcpt first 1: 450 4.7.28 unusual rate of mail";
    let sink = net.sink("mailbox.example", script).await;
    let vault = net.sink("vault.example", "").await;
    let page = Page::read(include_str!("../../docs/delivery.md"));
    let forwards = page.files["forwards"].clone();
    let setup = page.configure(relay(&net, &forwards));
    // Nothing signs the names of this net; a flow of its own has DANE.
    let setup = setup
        .set("resolver.dnssec", "false")
        .set("forwards.postmaster", "\"you@example.com\"");
    setup.write("shaping.toml", &page.files["shaping.toml"]);
    setup.write_private("smarthost.credentials", "us:secret\n");
    let relay = setup.start().await;
    let (from, to) = ("news@sender.example", ["shop@customer.example"]);
    send(relay.address(), from, &to, MAIL).await;
    let paused = relay.wait_for("site-throttled").await;
    assert_eq!(paused.text("probe_in_secs"), "1800");
    relay.run(&["queue", "retry", "--all"]).await;
    relay.wait_for("delivered to=shop@customer.example").await;
    let source = sink.message().await.peer.ip().to_string();
    assert!(["127.0.0.11", "127.0.0.12"].contains(&&*source), "{source}");
    assert_eq!(page.commands.len(), 10);
    for command in &page.commands {
        answers(relay.setup(), command).await;
    }
    // The sink has no TLS, which this one asks for.
    send(relay.address(), from, &["post@bank.example"], MAIL).await;
    relay.wait_for("deferred to=post@bank.example").await;
    assert_eq!(vault.received(), []);
    // Its verdict is the answer, and the log says so.
    send(relay.address(), from, &["info@firm.example"], MAIL).await;
    relay.wait_for("received answer=destination").await;
    let checked = relay.setup().run(&["check"]).await;
    assert_eq!(checked.code, Some(0), "{checked}");
}

#[tokio::test]
async fn every_command_of_the_other_pages_answers() {
    let pages = [
        (include_str!("../../docs/first-mx.md"), 8),
        (include_str!("../../docs/backup.md"), 5),
        (include_str!("../../docs/upgrade.md"), 7),
        (include_str!("../../docs/log.md"), 4),
        (include_str!("../../docs/from-postfix.md"), 8),
        (include_str!("../../docs/from-exim.md"), 7),
        (include_str!("../../docs/blocked.md"), 9),
        (include_str!("../../docs/dashboard.md"), 2),
    ];
    for (text, commands) in pages {
        let net = Net::new().await;
        let blocks = "rcpt first 1: 550 5.7.1 our address is on a list";
        let sink = net.sink("mailbox.example", blocks).await;
        let page = Page::read(text);
        let usual = "alice@example.org alice@mailbox.example\n".to_owned();
        let forwards = page.files.get("forwards").unwrap_or(&usual);
        let setup = page.configure(relay(&net, forwards).with_tls());
        let setup = setup.set("forwards.postmaster", "\"you@example.com\"");
        old_servers(&setup);
        let relay = setup.start().await;
        for end in ["failed", "delivered"] {
            let (from, to) = ("news@sender.example", ["alice@example.org"]);
            send(relay.address(), from, &to, MAIL).await;
            relay.wait_for(end).await;
        }
        sink.message().await;
        for command in &page.commands {
            answers(relay.setup(), command).await;
        }
        let setup = relay.stop().await;
        for command in &page.stopped {
            answers(&setup, command).await;
        }
        assert_eq!(page.commands.len() + page.stopped.len(), commands);
    }
}

#[cfg(feature = "sql")]
#[tokio::test]
async fn a_panel_is_read_as_the_page_says() {
    let net = Net::new().await;
    let text = include_str!("../../docs/panel-sql.md");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mail.sqlite");
    let clean = "DELETE FROM alias WHERE goto LIKE '|%'; DELETE FROM domain WHERE domain = 'ALL';";
    let panel = rusqlite::Connection::open(&path).expect("a database");
    let statements =
        include_str!("../panels/postfixadmin.sql").replace("x.example", "customer.example");
    panel
        .execute_batch(&statements.replace("ann@", "alice@"))
        .expect("a panel");
    panel.execute_batch(clean).expect("a clean panel");
    let text = text.replace("/var/lib/panel/mail.sqlite", path.to_str().expect("UTF-8"));
    let page = Page::read(&text);
    let setup = page.configure(relay(&net, "").with_tls());
    let setup = setup.set("forwards.postmaster", "\"you@example.com\"");
    let relay = setup.start().await;
    assert_eq!(page.commands.len(), 4);
    for command in &page.commands {
        answers(relay.setup(), command).await;
    }
    let said = relay
        .run(&["explain", "--to", "alice@customer.example"])
        .await;
    assert!(said.contains("a@t.example"), "{said}");
}

#[tokio::test]
async fn a_certificate_is_issued_as_the_page_says() {
    let (net, at) = (Net::new().await, free());
    let server = Acme::start(at).await;
    let page = Page::read(include_str!("../../docs/certificates.md"));
    let setup = page.configure(relay(&net, "").with_tls());
    setup.write("root.pem", server.root_pem());
    let relay = setup
        .set("delivery.ca", "\"root.pem\"")
        .set("tls.acme.directory", &format!("\"{}\"", server.directory()))
        .set("tls.acme.http", &format!("\"{at}\""))
        .set("forwards.postmaster", "\"you@example.com\"")
        .start()
        .await;
    relay
        .wait_for("certificate-issued domains=mx1.example.net")
        .await;
    assert_eq!(page.commands.len(), 4);
    for command in &page.commands {
        answers(relay.setup(), command).await;
    }
}

#[tokio::test]
async fn every_request_of_the_page_about_the_api_is_answered() {
    let net = Net::new().await;
    let _sink = net.sink("mailbox.example", "").await;
    let page = Page::read(include_str!("../../docs/api.md"));
    let address = net.address();
    let setup = page.configure(relay(&net, "alice@example.org alice@mailbox.example\n"));
    let setup = setup.set("http.bind", &format!("\"{address}\""));
    let (first, rest) = page.commands.split_first().expect("commands");
    let made = setup.run(&words(first)[1..]).await.success();
    let token = made.stdout.trim();
    let relay = setup.start().await;
    assert_eq!(rest.len(), 15);
    for command in rest {
        if command.starts_with("onward ") {
            answers(relay.setup(), command).await;
            continue;
        }
        let asked = sent(command, token);
        if command.contains("/events") {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(&asked).await.expect("sent");
            let mut begin = [0; 15];
            stream.read_exact(&mut begin).await.expect("an answer");
            assert_eq!(&begin, b"HTTP/1.1 200 OK");
            continue;
        }
        // The history may not be there yet.
        let mut tries = 0..200;
        loop {
            let answer = http::raw(address, &asked).await;
            if answer.status == 200 {
                break;
            }
            assert!(tries.next().is_some(), "{command}: {}", answer.body);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// What curl would send.
fn sent(command: &str, token: &str) -> Vec<u8> {
    let (mut method, mut path, mut body) = ("GET", "", "");
    let mut words = words(command).into_iter().skip(1);
    while let Some(word) = words.next() {
        match word {
            "-N" => {}
            "--oauth2-bearer" => assert_eq!(words.next(), Some("$TOKEN")),
            "-X" => method = words.next().expect("a method"),
            "-d" => {
                body = words.next().expect("a body");
                method = if method == "GET" { "POST" } else { method };
            }
            url => path = url.strip_prefix("http://127.0.0.1:8025").expect("our URL"),
        }
    }
    http::request(method, path, token, body)
}

/// `init` prints the DNS records that the README and the page for beginners name, and its starter is well.
#[tokio::test]
async fn init_writes_what_check_accepts_and_names_the_records() {
    let net = Net::new().await;
    let setup = relay(&net, "");
    let folder = setup.path("new");
    let folder = folder.to_str().expect("UTF-8");
    for none in ["localhost", "mx1", "192.0.2.1", "2001:db8::1", ""] {
        let init = ["init", folder, "--hostname", none];
        setup
            .run_into_error(&init, &["not a full host name", "hint: "])
            .await;
    }
    let init = ["init", folder, "--hostname", "mx1.example.net"];
    let said = setup.run(&init).await.success();
    for page in [
        include_str!("../../README.md"),
        include_str!("../../docs/first-mx.md"),
    ] {
        let rows = page
            .lines()
            .filter(|line| line.starts_with("| `") && line.contains(".example.net"));
        let records: Vec<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        assert_eq!(records.len(), 4);
        for record in records {
            assert!(said.stdout.contains(record), "{record}: {said}");
        }
    }
    let config = setup.path("new/onward.toml");
    let text = std::fs::read_to_string(&config).expect("a config");
    let spool = setup.path("new/spool");
    let text = text.replace("/var/spool/onward", spool.to_str().expect("UTF-8"));
    std::fs::write(&config, text).expect("a config");
    let arguments = ["--config", config.to_str().expect("UTF-8"), "check"];
    testkit::program::run(env!("CARGO_BIN_EXE_onward"), &arguments, b"")
        .await
        .success();
    let again = setup.run(&init).await.success();
    assert_eq!(again.stdout.matches("kept").count(), 3, "{again}");
}

/// What the pages about moving take over.
fn old_servers(setup: &Setup) {
    for folder in ["postfix", "exim"] {
        std::fs::create_dir(setup.path(folder)).expect("a folder");
    }
    let main_cf = "myhostname = mx1.example.net\nmydestination = localhost\nalias_maps =\n\
                   virtual_alias_maps = texthash:/etc/postfix/virtual\n";
    setup.write("postfix/main.cf", main_cf);
    let virtually = "example.org x\nalice@example.org alice@mailbox.example\n";
    setup.write("postfix/virtual", virtually);
    setup.write("exim/example.org", "alice: alice@mailbox.example\n");
}

/// Runs a command of a page. What `doctor` thinks of a net that is made up is not the page's.
async fn answers(setup: &Setup, command: &str) {
    let at_home = |word: &str| {
        let path = |name: &str| setup.path(name).to_string_lossy().into_owned();
        word.replace("/etc/onward", &path("etc"))
            .replace("/etc/postfix", &path("postfix"))
            .replace("/etc/exim4/virtual", &path("exim"))
            .replace("/var/backups/", &path("backup-"))
    };
    let words = words(command).into_iter().skip(1);
    // Who is to be asked is not on every machine.
    let has_postmap = Path::new("/usr/sbin/postmap").exists();
    let words = words.filter(|word| *word != "--compare" || has_postmap);
    let words: Vec<_> = words.map(at_home).collect();
    let arguments: Vec<_> = words.iter().map(String::as_str).collect();
    let may_find = command.contains("doctor") || command.contains("--dns");
    let finished = when_there(setup, &arguments, b"").await;
    let is_fine = finished.code == Some(0) || (may_find && finished.code == Some(1));
    assert!(is_fine, "{command}: {finished}");
    assert!(!finished.stdout.is_empty(), "{command}");
}

impl Page {
    /// `toml` blocks are onward.toml, unless their first line names another file; blocks without a language are such files;
    /// lines of `sh` blocks are commands, and their first line may say that the relay does not run.
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut blocks = text.split("\n```");
        blocks.next();
        for block in blocks.step_by(2) {
            let (language, code) = block.split_once('\n').expect("a block has lines");
            let file = code
                .lines()
                .next()
                .and_then(|first| first.strip_prefix("# "));
            match (language, file) {
                ("sh", when) => {
                    let lines = code.lines().filter(|line| !line.starts_with('#'));
                    let commands = lines.map(|line| line.split(" #").next().unwrap_or(line));
                    let commands = commands.map(|line| line.trim().to_owned());
                    match when {
                        Some("with onward stopped") => page.stopped.extend(commands),
                        _ => page.commands.extend(commands),
                    }
                }
                (_, Some(file)) => page
                    .files
                    .entry(file.to_owned())
                    .or_default()
                    .push_str(&format!("{code}\n")),
                ("toml", None) => merge(&mut page.config, code.parse().expect("TOML")),
                (language, None) => panic!("a block of {language:?} that no file has"),
            }
        }
        page
    }

    /// On this machine: addresses are of loopback.
    fn configure(&self, mut setup: Setup) -> Setup {
        let local = |value: &Value| {
            let text = value.to_string();
            text.replace("192.0.2.", "127.0.0.")
                .replace("2001:db8::10", "::1")
        };
        let mut settings: Vec<_> = self.config.clone().into_iter().collect();
        while let Some((key, value)) = settings.pop() {
            match value {
                Value::Table(below) => {
                    let below = below.into_iter();
                    settings.extend(below.map(|(name, value)| (format!("{key}.{name}"), value)));
                }
                value => setup = setup.set(&key, &local(&value)),
            }
        }
        setup
    }
}

/// Puts tables together as one file has them.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (Some(Value::Array(into)), Value::Array(from)) => into.extend(from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
