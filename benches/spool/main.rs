//! The spool alone: what a commit costs (`commits`), and a large backlog (`backlog`).
//!
//! ```text
//! cargo bench --bench spool -- commits [DIR] [WRITERS] [OCTETS] [SECONDS] [ROUNDS]
//! cargo bench --bench spool -- backlog [DIR] [MESSAGES] [OCTETS] [HOSTS]
//! ```

#![expect(clippy::print_stdout, reason = "a program that prints its result")]
#![expect(
    clippy::disallowed_methods,
    reason = "each phase is measured in a process of its own"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on must stop"
)]

mod backlog;
mod commits;
mod timed;

use std::time::SystemTime;

use bytes::Bytes;
use envelope::{Leg, MessageId, ReversePath, Timestamp};
use queue::LogSpool;
use spool::{Arrival, BodyWriter, IdSource, Spool};
use testkit::nouns;

fn main() {
    // `cargo bench` puts `--bench` behind what it was given.
    let arguments: Vec<String> = std::env::args().filter(|word| word != "--bench").collect();
    let arguments = Arguments(arguments);
    match arguments.text(1, "").as_str() {
        "backlog" => backlog::run(&arguments),
        "commits" => commits::run(&arguments),
        _ => println!("cargo bench --bench spool -- commits|backlog [DIR] …"),
    }
}

/// Words of the command line, by position.
struct Arguments(Vec<String>);

impl Arguments {
    fn text(&self, n: usize, default: &str) -> String {
        self.0.get(n).cloned().unwrap_or_else(|| default.to_owned())
    }

    fn number(&self, n: usize, default: &str) -> usize {
        self.text(n, default).parse().unwrap()
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::from_unix_millis(since.unwrap().as_millis() as u64)
}

/// Commits a message with one leg.
async fn commit(spool: &LogSpool, ids: &IdSource, body: &Bytes, target: &str) {
    let moment = now();
    let id: MessageId = ids.next(moment);
    let sender = ReversePath::Mailbox(nouns::mailbox("SRS0=abcd=ef=a.example=sender@us.example"));
    let leg = Leg {
        trace: "Delivered-To: user@here.example\r\n".into(),
        reverse_path: sender.clone(),
        ..nouns::leg(target)
    };
    let message = envelope::Message {
        reverse_path: sender,
        ..nouns::message(id, body.len())
    };
    let mut writer = spool.begin(id).await.unwrap();
    writer.write(body.clone()).await.unwrap();
    let legs = vec![leg];
    spool
        .commit(writer, Arrival::new(message, legs, moment))
        .await
        .unwrap();
}
