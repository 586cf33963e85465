//! `onward spool move`: a queue goes from a folder into PostgreSQL and back, and is what it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::{Leg, Mailbox, Message, MessageId, ReversePath};
use queue::{LogSpool, Settings};
use serde_json::Value;
use spool::{Arrival, BodyWriter, Clock, Spool};
use testkit::PATIENCE;
use testkit::daemon::{Relay, Setup};
use testkit::mail;
use testkit::net::Net;
use testkit::postgres::Postgres;
use testkit::program;
use testkit::sender::{Plain, send};

use crate::flow::spool_moves::{kept, legs};
use crate::relay;

/// The mails of an export, by name; and their envelopes, of which `next_try` and all else must be the same.
async fn exported(setup: &Setup, name: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = setup.path(name);
    let export = ["spool", "export", folder.to_str().expect("UTF-8")];
    setup.run(&export).await.success();
    let files = fs::read_dir(&folder).expect("a folder");
    let files = files.map(|file| file.expect("a file").path());
    let files = files.filter(|path| path.is_file());
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        (name.into_owned(), fs::read(&path).expect("a file"))
    };
    files.map(read).collect()
}

fn emls(files: &BTreeMap<String, Vec<u8>>) -> Vec<(&String, &Vec<u8>)> {
    let emls = files.iter();
    emls.filter(|(name, _)| name.ends_with(".eml")).collect()
}

/// What the folder's spool exported comes into another shared one.
async fn comes_into_another(
    setup: Setup,
    postgres: &Postgres,
    mails: &BTreeMap<String, Vec<u8>>,
) -> Setup {
    let other = postgres.database("imported").await;
    let setup = setup.set("queue.store", &quoted(&other));
    let folder = setup.path("mails");
    let import = ["spool", "import", folder.to_str().expect("UTF-8")];
    let brought = setup.run(&import).await.success();
    let said = "2 messages with 4 legs brought back";
    assert!(brought.stdout.contains(said), "{brought}");
    let verified = setup.run(&["spool", "verify"]).await.success();
    assert!(verified.stdout.contains("2 messages, 4 legs"), "{verified}");
    let again = exported(&setup, "mails4").await;
    assert_eq!(emls(&again), emls(mails));
    let names = "SELECT count(*) FROM onward.tokens";
    assert_eq!(postgres.say("imported", names).await.stdout.trim(), "1");
    setup
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_queue_goes_into_postgresql_and_back() {
    let postgres = Postgres::shared().await;
    let url = postgres.database("between").await;
    let net = Net::new().await;
    net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let origin = net.sink("sender.test", "").await;
    let first = relay(&net, "alice@example.test alice@target.test\nbob@example.test bob@target.test, carol@target.test\n")
        .set("queue.retry", "[\"1h\"]")
        .start()
        .await;
    let long = format!("{}@sender.test", "Long-Name.".repeat(6) + "End");
    let alice = ["alice@example.test"];
    send(first.address(), &long, &alice, &mail::short("long")).await;
    let both = ["alice@example.test", "bob@example.test"];
    let large = mail::long(3 << 20);
    send(first.address(), "origin@sender.test", &both, &large).await;
    first.wait_for_count(4, "deferred").await;
    let hold = ["queue", "hold", "--to", "bob@target.test"];
    first.run(&hold).await;
    let before = legs(&first).await;
    let sender = before[0]["sender"].as_str().expect("a sender");
    let sender = sender.trim_matches(['<', '>']).to_owned();
    let to_url = ["spool", "move", "--to", &url];
    let running = first.setup();
    running
        .run_into_error(&to_url, &["in use by process"])
        .await;
    let setup = first.stop().await;
    let mails = exported(&setup, "mails").await;
    let moved = setup.run(&to_url).await.success();
    assert!(
        moved.stdout.contains("2 messages with 4 legs moved"),
        "{moved}"
    );
    assert!(moved.stdout.contains("1 names of long senders"), "{moved}");
    let again = setup.run(&to_url).await.success();
    assert!(again.stdout.contains("0 messages with 0 legs"), "{again}");

    let setup = setup.set("queue.store", &quoted(&url));
    let verified = setup.run(&["spool", "verify"]).await.success();
    assert!(verified.stdout.contains("2 messages, 4 legs"), "{verified}");
    assert_eq!(exported(&setup, "mails2").await, mails);
    let setup = comes_into_another(setup, &postgres, &mails).await;
    let setup = setup.set("queue.store", &quoted(&url));
    setup
        .run_into_error(&["spool", "snapshot", "/tmp/x"], &["pg_basebackup"])
        .await;
    let back = setup.path("back");
    let to_folder = ["spool", "move", "--to", back.to_str().expect("UTF-8")];
    let second = setup.start().await;
    assert_eq!(legs(&second).await, before);
    let running = second.setup();
    running.run_into_error(&to_folder, &["is at work"]).await;
    let setup = second.stop().await;
    let moved = setup.run(&to_folder).await.success();
    assert!(
        moved.stdout.contains("2 messages with 4 legs moved"),
        "{moved}"
    );
    let nodes = setup.run(&["node", "list"]).await.success();
    assert!(!nodes.stdout.contains("(spool)"), "{nodes}");

    let setup = setup.set("queue.store", "\"\"").set("spool", "\"back\"");
    let said = setup.run(&["--json", "queue", "list"]).await.success();
    let page: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(kept(&page), before);
    assert_eq!(exported(&setup, "mails3").await, mails);
    let third = setup.start().await;
    send(third.address(), "", &[&sender], &mail::short("bounce")).await;
    assert_eq!(origin.message().await.to(), [long.as_str()], "by its token");
}

/// What is whole of a damaged message is written, and an export comes to its end.
#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn what_is_damaged_is_exported_as_far_as_it_goes() {
    let postgres = Postgres::shared().await;
    let url = postgres.database("damaged").await;
    let net = Net::new().await;
    net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let node = relay(&net, "alice@example.test alice@target.test\n")
        .set("queue.retry", "[\"1h\"]")
        .set("queue.store", &quoted(&url))
        .start()
        .await;
    let alice = ["alice@example.test"];
    let large = mail::long(1 << 20);
    send(node.address(), "origin@sender.test", &alice, &large).await;
    node.wait_for("deferred").await;
    let setup = node.stop().await;
    let damage = "DELETE FROM onward.bodies WHERE piece = 1";
    postgres.say("damaged", damage).await.success();
    let folder = setup.path("mails");
    let export = ["spool", "export", folder.to_str().expect("UTF-8")];
    let said = setup.run(&export).await;
    assert!(said.stdout.contains("1 of them damaged"), "{said}");
    assert!(said.stdout.contains("piece 1 is missing"), "{said}");
    let files = fs::read_dir(&folder).expect("a folder");
    let mut sizes = files
        .map(|file| file.expect("a file").path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".damaged.eml")
        });
    let octets = fs::metadata(sizes.next().expect("a mail"))
        .expect("a file")
        .len();
    assert!(octets > 600 << 10 && octets < 900 << 10, "{octets}");
}

/// What holds beside the mail: for each order its kind and reason, and who is frozen.
async fn stands(relay: &Relay) -> (Vec<String>, Vec<String>) {
    let sites = relay.run_json(&["site", "list"]).await;
    let orders = sites["orders"].as_array().expect("orders").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let order = |order: &Value| format!("{} {}", text(&order["order"]), text(&order["reason"]));
    let frozen = relay.run_json(&["freeze", "list"]).await;
    let frozen = frozen.as_array().expect("freezes").iter();
    let frozen = frozen.map(|freeze| text(&freeze["key"]));
    (orders.map(order).collect(), frozen.collect())
}

/// More than the limit lets through.
async fn is_frozen(relay: &Relay, sender: &str) {
    send(relay.address(), sender, &["a@example.test"], b"\r\n").await;
    let mut plain = Plain::hello(relay.address()).await;
    plain
        .expect(&format!("MAIL FROM:<{sender}>"), "450 4.7.1")
        .await;
    relay.wait_for(&format!("frozen key=sender:{sender}")).await;
}

fn frozen(names: &[&str]) -> Vec<String> {
    let names = names.iter();
    names
        .map(|name| format!("sender:{name}@sender.test"))
        .collect()
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn orders_and_freezes_go_along() {
    let postgres = Postgres::shared().await;
    let url = postgres.database("beside").await;
    let net = Net::new().await;
    net.sink("target.test", "").await;
    let limit = "[{ name = 'flood', key = 'sender', of = 'messages', max = 1, per = '1h', then = 'freeze' }]";
    let first = relay(&net, "a@example.test a@target.test\n")
        .set("limit", limit)
        .start()
        .await;
    let pause = ["site", "pause", "other.test", "--reason", "they asked"];
    first.run(&pause).await;
    let few = ["--connections", "2", "--reason", "few"];
    first
        .run(&[&["site", "limit", "third.test"], &few[..]].concat())
        .await;
    is_frozen(&first, "ann@sender.test").await;
    is_frozen(&first, "bob@sender.test").await;
    let before = stands(&first).await;
    let both = ["pause they asked".to_owned(), "limit few".to_owned()];
    assert_eq!(before, (both.to_vec(), frozen(&["ann", "bob"])));
    let setup = first.stop().await;
    let there = ["spool", "move", "--to", &url];
    let moved = setup.run(&there).await.success();
    let said = "2 orders of sites and 2 freezes went along";
    assert!(moved.stdout.contains(said), "{moved}");
    let setup = setup.set("queue.store", &quoted(&url));
    let second = setup.start().await;
    assert_eq!(stands(&second).await, before);
    second
        .run(&["freeze", "lift", "sender:ann@sender.test"])
        .await;
    second.run(&["site", "limit", "third.test", "--off"]).await;
    is_frozen(&second, "cyd@sender.test").await;

    // Moved once more: what was said there since counts.
    let setup = second.stop().await.set("queue.store", "\"\"");
    setup.run(&there).await.success();
    let setup = setup.set("queue.store", &quoted(&url));
    let third = setup.start().await;
    let now = (both[..1].to_vec(), frozen(&["bob", "cyd"]));
    assert_eq!(stands(&third).await, now);

    // Back into the same folder, of which nothing comes again; twice, and started only then.
    let setup = third.stop().await;
    let spool = setup.path("spool");
    let back = ["--json", "spool", "move", "--to"];
    let back = [&back[..], &[spool.to_str().expect("UTF-8")]].concat();
    for _ in 0..2 {
        let moved = setup.run(&back).await.success();
        let moved: Value = serde_json::from_str(&moved.stdout).expect("JSON");
        assert_eq!(
            (&moved["orders"], &moved["freezes"]),
            (&1.into(), &2.into())
        );
    }
    let setup = setup.set("queue.store", "\"\"");
    let fourth = setup.start().await;
    assert_eq!(stands(&fourth).await, now);

    // And there again: what was ended here does not come back.
    fourth.run(&["site", "resume", "other.test"]).await;
    fourth
        .run(&["freeze", "lift", "sender:bob@sender.test"])
        .await;
    let setup = fourth.stop().await;
    let moved = setup.run(&there).await.success();
    assert!(
        moved
            .stdout
            .contains("0 orders of sites and 1 freeze went along"),
        "{moved}"
    );
    let fifth = setup.set("queue.store", &quoted(&url)).start().await;
    assert_eq!(stands(&fifth).await, (vec![], frozen(&["cyd"])));
}

/// Small messages for one target.
async fn fill(dir: &Path, messages: usize) {
    let settings = Settings {
        min_free_bytes: 0,
        ..Settings::new(dir)
    };
    let spool = tokio::task::spawn_blocking(|| LogSpool::open(settings)).await;
    let spool = Arc::new(spool.expect("opened").expect("a spool"));
    let now = Clock::real().now();
    let to: Mailbox = "alice@target.test".parse().expect("an address");
    let begun = (0..messages).map(|n| {
        let (spool, to) = (Arc::clone(&spool), to.clone());
        tokio::spawn(async move {
            let id = MessageId::new(now, n as u128);
            let mut writer = spool.begin(id).await.expect("a writer");
            writer
                .write(format!("Subject: {n}\r\n\r\n"))
                .await
                .expect("written");
            let message = Message::new(id, now, ReversePath::Null, writer.len());
            let legs = vec![Leg::new(ReversePath::Null, to.clone(), to)];
            spool.commit(writer, Arrival::new(message, legs, now)).await
        })
    });
    for task in begun.collect::<Vec<_>>() {
        task.await.expect("it ends").expect("committed");
    }
    spool.close();
}

/// Begins to move the queue to or from the database `killed`, until so much is in that.
async fn cut_off(setup: &Setup, postgres: &Postgres, to: &str, is_enough: impl Fn(u64) -> bool) {
    let config = setup.path("onward.toml");
    let config = config.to_str().expect("UTF-8");
    let command = ["--config", config, "spool", "move", "--to", to];
    let began = Instant::now();
    let moving = program::start(env!("CARGO_BIN_EXE_onward"), &command);
    loop {
        let there = "SELECT count(*) FROM onward.messages";
        let there = postgres.say("killed", there).await.stdout;
        if there.trim().parse().is_ok_and(&is_enough) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "it moves nothing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(moving);
}

/// On a spool of which half is elsewhere.
async fn starts_nowhere(setup: &Setup) {
    let wanted = ["was cut off", "hint: run `onward spool move` again"];
    setup.run_into_error(&["serve"], &wanted).await;
    setup.run_into_error(&["check"], &wanted).await;
}

#[tokio::test]
#[ignore = "foreign: PostgreSQL"]
async fn a_move_that_is_killed_is_gone_on_with() {
    let postgres = Postgres::shared().await;
    let url = postgres.database("killed").await;
    let net = Net::new().await;
    let setup = relay(&net, "");
    fill(&setup.path("spool"), 2000).await;
    let count = async |setup: &Setup| {
        let verified = setup.run(&["--json", "spool", "verify"]).await.success();
        let verified: Value = serde_json::from_str(&verified.stdout).expect("JSON");
        verified["messages"].as_u64().expect("a number")
    };
    assert_eq!(count(&setup).await, 2000);
    let mut left = 0;
    for wanted in [100, 700] {
        cut_off(&setup, &postgres, &url, |there| there >= wanted).await;
        starts_nowhere(&setup).await;
        left = loop {
            // The system may take a moment to let its lock go.
            let verified = setup.run(&["--json", "spool", "verify"]).await;
            if verified.code == Some(0) {
                let verified: Value = serde_json::from_str(&verified.stdout).expect("JSON");
                break verified["messages"].as_u64().expect("a number");
            }
        };
    }
    assert!((1..2000).contains(&left), "{left} were left");
    let moved = setup.run(&["--json", "spool", "move", "--to", &url]).await;
    let moved: Value = serde_json::from_str(&moved.success().stdout).expect("JSON");
    assert_eq!(moved["messages"].as_u64(), Some(left), "{moved}");
    assert_eq!(count(&setup).await, 0);
    let setup = setup.set("queue.store", &quoted(&url));
    assert_eq!(count(&setup).await, 2000);

    // Back, which is cut off too: neither side starts, until it is run again.
    let half = setup.path("half");
    let half = half.to_str().expect("UTF-8");
    cut_off(&setup, &postgres, half, |there| there < 1500).await;
    starts_nowhere(&setup).await;
    let setup = setup.set("queue.store", "\"\"");
    let mut setup = setup.set("spool", "\"half\"");
    starts_nowhere(&setup).await;
    // Or what has come goes back there.
    let moved = setup.run(&["spool", "move", "--to", &url]).await;
    moved.success();
    for setting in ["\"\"", &quoted(&url)] {
        setup = setup.set("queue.store", setting);
        let said = setup.run(&["check"]).await.stdout;
        assert!(!said.contains("cut off"), "{said}");
    }
    let setup = setup.set("spool", "\"spool\"");
    assert_eq!(count(&setup).await, 2000);

    // And now some of it is damaged.
    let damage = "UPDATE onward.messages SET crc = crc + 1 WHERE id = (SELECT id FROM onward.messages ORDER BY id LIMIT 1);
        DELETE FROM onward.messages WHERE id = (SELECT id FROM onward.messages ORDER BY id DESC LIMIT 1);
        INSERT INTO onward.bodies VALUES ('00000000-0000-0000-0000-000000000001', 0, 1, 'x');";
    postgres.say("killed", damage).await.success();
    let wanted = [
        "1999 messages, 2000 legs",
        "damaged   3",
        "fail their checksum",
        "has no message",
        "1 pieces of no message",
    ];
    setup.run_into_error(&["spool", "verify"], &wanted).await;
    let back = setup.path("back");
    let to_folder = ["spool", "move", "--to", back.to_str().expect("UTF-8")];
    let wanted = [
        "1998 messages",
        "1 messages stay where they were",
        "2 legs are left",
    ];
    setup.run_into_error(&to_folder, &wanted).await;
}
