//! Running out of something real: room on a small filesystem, file descriptors. Mail is put off, nothing is lost, and the
//! relay recovers by itself.

#![expect(clippy::disallowed_methods, reason = "mount and prlimit are programs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::PATIENCE;
use testkit::mail;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

/// A tmpfs, unmounted when it goes.
struct SmallDisk(PathBuf);

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    let fine = status.is_ok_and(|status| status.success());
    assert!(fine, "{program} {arguments:?} failed (this needs root)");
}

impl SmallDisk {
    fn mount(at: PathBuf, size: &str) -> Self {
        fs::create_dir(&at).expect("a folder");
        let path = at.to_str().expect("UTF-8");
        run("mount", &["-t", "tmpfs", "-o", size, "onward-test", path]);
        Self(at)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The answer to one message.
async fn answer(plain: &mut Plain, subject: &str) -> String {
    let to = ["<alice@example.test>"];
    let mail = mail::short(subject);
    let (_, end) = plain.transaction("<origin@sender.test>", &to, &mail).await;
    // A refusal leaves the transaction open.
    plain.command("RSET").await;
    end
}

/// Offers a message until it is answered so: free space is looked at twice a second.
async fn answer_until(plain: &mut Plain, subject: &str, expected: &str) {
    let asking = async {
        while !answer(plain, subject).await.starts_with(expected) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, asking).await;
    assert!(waited.is_ok(), "{subject}: never answered {expected}");
}

#[tokio::test]
#[ignore = "needs root: ./test.sh runs it"]
async fn mail_is_put_off_while_the_disk_is_nearly_full() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let setup = relay(&net, FORWARDS).set("queue.min_free", "\"16 MiB\"");
    let disk = SmallDisk::mount(setup.path("disk"), "size=200m");
    let spool = disk.0.join("spool");
    let setup = setup.set("spool", &format!("{spool:?}"));
    let relay = setup.start().await;
    origin_sends(&relay, "alice@example.test", "before").await;
    relay.wait_for("deferred").await;

    run(
        "fallocate",
        &["-l", "60M", disk.filler().to_str().expect("UTF-8")],
    );
    let mut plain = Plain::hello(relay.address()).await;
    answer_until(&mut plain, "maybe", "452 4.3.1").await;
    sink.script("");
    relay.wait_for("delivered").await;
    fs::remove_file(disk.filler()).expect("room again");
    answer_until(&mut plain, "after", "250").await;
    while !sink
        .received()
        .iter()
        .any(|got| got.text().contains("Subject: after"))
    {
        sink.message().await;
    }
    let setup = relay.stop().await;
    setup.run(&["spool", "verify"]).await.success();
}

/// Sets how many files the process that holds a spool may have open.
fn limit_files(spool: &Path, files: &str) {
    let pid = fs::read_to_string(spool.join("lock")).expect("the lock names its holder");
    run(
        "prlimit",
        &["--pid", pid.trim(), &format!("--nofile={files}:")],
    );
}

#[tokio::test]
#[ignore = "needs root: ./test.sh runs it"]
async fn no_file_descriptors_is_no_end() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let relay = relay(&net, FORWARDS).start().await;
    let mut plain = Plain::hello(relay.address()).await;
    let spool = relay.setup().path("spool");
    let pid = fs::read_to_string(spool.join("lock")).expect("the lock names its holder");
    let open = fs::read_dir(format!("/proc/{}/fd", pid.trim()))
        .expect("procfs")
        .count();
    // Nothing new can be opened: no connection to the destination, no segment, no client.
    limit_files(&spool, &open.to_string());
    for n in 0..5 {
        let end = answer(&mut plain, &format!("{n}")).await;
        assert!(end.starts_with("250") || end.starts_with("45"), "{end}");
    }
    let end = answer(&mut plain, "kept").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    limit_files(&spool, "4096");
    origin_sends(&relay, "alice@example.test", "after").await;
    let wanted = |text: &str| sink.received().iter().any(|got| got.text().contains(text));
    while !wanted("Subject: after") || (end.starts_with("250") && !wanted("Subject: kept")) {
        sink.message().await;
    }
}

#[tokio::test]
#[ignore = "needs root: ./test.sh runs it"]
async fn check_says_that_the_spool_is_read_only() {
    let net = Net::new().await;
    let setup = relay(&net, FORWARDS);
    let _disk = SmallDisk::mount(setup.path("disk"), "size=1m,ro");
    for spool in ["\"disk\"", "\"disk/spool\""] {
        let setup = relay(&net, FORWARDS)
            .set("forwards.postmaster", "\"admin@target.test\"")
            .set(
                "spool",
                &spool.replace("disk", &setup.path("disk").display().to_string()),
            );
        setup
            .run_into_error(&["check"], &["read-only file system"])
            .await;
    }
}
