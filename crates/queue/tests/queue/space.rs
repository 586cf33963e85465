//! What the log takes on disk while a few messages wait for days and much mail goes by.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::time::Duration;

use envelope::{MessageId, Timestamp};
use queue::{LogSpool, Settings};
use spool::{Arrival, BodyReader, BodyWriter, Clock, Spool, Want};
use testkit::nouns;

use crate::support;

const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
const BODY: usize = 10_000;
const UNIT: u64 = Settings::SEGMENT_BYTES_MIN as u64;
/// What the log may take beyond 1.3 times what lives in it: the segment that is written, its spares, what is on its way.
const BESIDE: u64 = 6 * UNIT;

fn open(dir: &Path) -> LogSpool {
    let settings = Settings {
        clock: Clock::manual(NOW),
        ..support::settings(dir)
    };
    LogSpool::open(settings).unwrap()
}

async fn put(spool: &LogSpool, n: u64, target: &str) {
    let message = nouns::message(MessageId::new(NOW, u128::from(n)), BODY);
    let leg = nouns::forward("alice@example.org", target);
    let mut writer = spool.begin(message.id).await.unwrap();
    writer.write(body(n)).await.unwrap();
    spool
        .commit(writer, Arrival::new(message, vec![leg], NOW))
        .await
        .unwrap();
}

fn body(n: u64) -> Vec<u8> {
    (0..BODY as u64)
        .map(|i| (i * 31 + n * 7 + (i >> 8)) as u8)
        .collect()
}

/// Delivers all mail for a host; says which.
async fn deliver(spool: &LogSpool, host: &str) -> Vec<MessageId> {
    let want = Want {
        max: 10_000,
        per_host: 10_000,
        lease: Duration::from_secs(600),
    };
    let hosts = ["near.example", "far.example"];
    let parked = hosts.map(|other| (other.parse().unwrap(), other != host));
    spool.park(&parked).await;
    let mut delivered = Vec::new();
    for claim in spool.claim(&want).await.unwrap() {
        delivered.push(claim.message.id);
        let mut reader = spool.open_body(claim.message.id).await.unwrap();
        let mut octets = 0;
        while let Some(chunk) = reader.chunk().await.unwrap() {
            octets += chunk.len();
        }
        assert_eq!(octets, BODY);
        spool.complete(claim.lease, None).await.unwrap();
    }
    delivered
}

/// The log comes down to what lives in it, the spool open all the while.
async fn shrinks(spool: &LogSpool, waiting: usize) {
    let allowed = waiting as u64 * BODY as u64 * 13 / 10 + BESIDE;
    for _ in 0..400 {
        if spool.log_octets() <= allowed {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let segments = spool.log_octets() / UNIT;
    panic!("{segments} segments for {waiting} messages that wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_do_not_pin_what_goes_by() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let mut waiting = Vec::new();
    // Ten times as much goes by as waits: one waits in every second segment, and each would keep it.
    for n in 1..=880 {
        if n % 11 == 0 {
            put(&spool, n, "slow@far.example").await;
            waiting.push(n);
        } else {
            put(&spool, n, "fast@near.example").await;
        }
        if n % 55 == 0 {
            assert_eq!(deliver(&spool, "near.example").await.len(), 50);
            shrinks(&spool, waiting.len()).await;
        }
    }
    for n in &waiting {
        let id = MessageId::new(NOW, u128::from(*n));
        let mut reader = spool.open_body(id).await.unwrap();
        assert_eq!(reader.chunk().await.unwrap().unwrap(), body(*n));
    }
    assert_eq!(deliver(&spool, "far.example").await.len(), waiting.len());
    shrinks(&spool, 0).await;
    assert_eq!(spool.damaged(), 0);
}
