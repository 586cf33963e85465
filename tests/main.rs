//! Integration tests: the binary from outside, over real sockets.
//!
//! * `dialogs`: every `tests/dialogs/*.smtp`, in memory and over TCP.
//! * `flow`: one scenario a file: sender → onward → destination, with a fake DNS.
//! * `foreign`: flows with real mail programs; `./test.sh` installs them and runs these too.
//!
//! How to write one: look at `flow/forward.rs`, then at the heads of the modules in `crates/testkit`.

mod dialogs;
mod flow;
mod foreign;

use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::{mail, sender};

/// A relay `mx.fwd.test` with SRS domain `fwd.test` and these forwards.
fn relay(net: &Net, forwards: &str) -> Setup {
    relay_called("fwd.test", net, forwards)
}

/// As [`relay`], for scenarios with more than one.
fn relay_called(name: &str, net: &Net, forwards: &str) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_onward"), net, name, forwards)
}

/// One short message from `origin@sender.test`, which the relay must take.
async fn origin_sends(relay: &Relay, to: &str, subject: &str) {
    let mail = mail::short(subject);
    sender::send(relay.address(), "origin@sender.test", &[to], &mail).await;
}

/// A relay whose messages to target.test wait, an hour between tries, and their ids. The sink must defer.
async fn waiting(net: &Net, subjects: &[&str]) -> (Relay, Vec<String>) {
    let relay = relay(net, "alice@example.test alice@target.test\n")
        .set("queue.retry", "[\"1h\"]")
        .start()
        .await;
    let mut ids = Vec::new();
    for subject in subjects {
        origin_sends(&relay, "alice@example.test", subject).await;
        ids = relay
            .wait_for_count(ids.len() + 1, "deferred")
            .await
            .iter()
            .map(|event| event.text("id"))
            .collect();
    }
    (relay, ids)
}
