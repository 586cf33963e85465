//! A summary of a million legs, timed: `ONWARD_MEASURE=1 cargo test -p queue --test queue --release -- --ignored summary --nocapture`; without the
//! variable ten thousand, as a test.

use std::time::{Duration, Instant};

use envelope::{Diagnosis, EnhancedStatus, Message, MessageId, Timestamp};
use queue::{LogSpool, Settings};
use spool::{Arrival, BodyWriter, By, Clock, Filter, Spool};
use testkit::nouns;

/// In messages of a hundred legs each, to 10,000 hosts and one large one, from 5,000 senders.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes a million legs, and prints what they cost"]
async fn a_million_legs() {
    let messages = match std::env::var_os("ONWARD_MEASURE") {
        Some(_) => 10_000,
        None => 100u64,
    };
    let dir = tempfile::tempdir().unwrap();
    let settings = || Settings {
        min_free_bytes: 0,
        ..Settings::new(dir.path())
    };
    let timed = async |spool: &LogSpool| {
        for by in [By::Host, By::Sender, By::Error] {
            let start = Instant::now();
            let summary = spool.summary(&Filter::default(), by, 50).await.unwrap();
            println!(
                "by {by:?}: {:?}, {} names besides",
                start.elapsed(),
                summary.others.0
            );
            assert_eq!(summary.total.legs(), messages * 100);
        }
        let memory = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = memory.lines().find(|line| line.starts_with("VmRSS"));
        println!("{}", resident.unwrap_or_default());
    };
    let spool = LogSpool::open(settings()).unwrap();
    let now = Clock::real().now();
    for n in 0..messages {
        let age = Duration::from_millis(n * 40_000);
        let at = Timestamp::from_unix_millis(now.unix_millis() - age.as_millis() as u64);
        let id = MessageId::new(at, u128::from(n));
        let sender = format!("a@sender{}.example", n % 5_000).parse().unwrap();
        let message = Message {
            reverse_path: envelope::ReversePath::Mailbox(sender),
            ..nouns::message(id, 2)
        };
        let leg = |k: u64| match k < 50 {
            true => nouns::leg(&format!("u{k}@large.example")),
            false => nouns::leg(&format!("u{k}@host{}.example", (n * 50 + k) % 10_000)),
        };
        let mut arrival = Arrival::new(message, (0..100).map(leg).collect(), at);
        let refused = Diagnosis::local(EnhancedStatus::transient(2, 2), "mailbox full");
        arrival.held = (0..100)
            .step_by(3)
            .map(|leg| (leg, refused.clone()))
            .collect();
        let mut writer = spool.begin(id).await.unwrap();
        writer.write(&b"x\n"[..]).await.unwrap();
        spool.commit(writer, arrival).await.unwrap();
    }
    timed(&spool).await;
    spool.close();
    let start = Instant::now();
    let spool = LogSpool::open(settings()).unwrap();
    println!("opened again in {:?}", start.elapsed());
    timed(&spool).await;
}
