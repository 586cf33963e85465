//! `docs/delivery.md`: its examples are one configuration that works, and every command in it answers beside such a relay.

use std::collections::BTreeMap;

use testkit::daemon::Setup;
use testkit::net::Net;
use testkit::sender::send;
use toml::{Table, Value};

use super::questions::words;
use crate::relay;

const MAIL: &[u8] = b"From: news@sender.example\r\nSubject: hello\r\n\r\nhello\r\n";

/// What the examples of a page say.
#[derive(Default)]
struct Page {
    config: Table,
    /// Other files, by name.
    files: BTreeMap<String, String>,
    commands: Vec<String>,
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
    let asked = page.commands.len();
    assert_eq!(asked, 10);
    for command in &page.commands {
        let arguments: Vec<_> = words(command).into_iter().skip(1).collect();
        // The history comes a moment later.
        let mut tries = 0..200;
        loop {
            assert!(tries.next().is_some(), "{command}: nothing matches");
            let finished = relay.setup().run(&arguments).await;
            if finished.code == Some(3) || finished.stderr.contains("no history was written yet") {
                continue;
            }
            assert_eq!(finished.code, Some(0), "{command}: {finished}");
            assert!(!finished.stdout.is_empty(), "{command}");
            break;
        }
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

impl Page {
    /// `toml` blocks are onward.toml, unless their first line names another file; blocks without a language are such files;
    /// lines of `sh` blocks are commands.
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
                ("sh", _) => {
                    let commands = code
                        .lines()
                        .map(|line| line.split(" #").next().unwrap_or(line));
                    page.commands
                        .extend(commands.map(|line| line.trim().to_owned()));
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
        for (section, value) in &self.config {
            match value {
                Value::Table(keys) => {
                    for (key, value) in keys {
                        setup = setup.set(&format!("{section}.{key}"), &local(value));
                    }
                }
                value => setup = setup.set(section, &local(value)),
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
