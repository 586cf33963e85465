//! A crash in a checkpoint: sled has rows, and not the position beside them.

use std::path::Path;

use envelope::{Message, ReversePath, Timestamp};
use testkit::nouns;

use super::*;
use spool::{Action, Arrival, BodyReader, BodyWriter, Clock, Filter, Spool, Want};

use crate::{LogSpool, Settings};

fn open(dir: &Path, checkpoint_every: Duration) -> LogSpool {
    let settings = Settings {
        segment_bytes: Settings::SEGMENT_BYTES_MIN,
        min_free_bytes: 0,
        checkpoint_every,
        body_cache_bytes: 0,
        clock: Clock::manual(Timestamp::from_unix_millis(0)),
        ..Settings::new(dir)
    };
    LogSpool::open(settings).unwrap()
}

async fn put(spool: &LogSpool, n: u64) -> MessageId {
    let now = Timestamp::from_unix_millis(0);
    let id = MessageId::new(now, u128::from(n));
    let mut writer = spool.begin(id).await.unwrap();
    writer.write(vec![n as u8; 9_000]).await.unwrap();
    let message = Message::new(id, now, ReversePath::Null, 9_000);
    let leg = nouns::leg("a@b.test");
    let committed = spool
        .commit(writer, Arrival::new(message, vec![leg], now))
        .await;
    committed.unwrap();
    id
}

async fn remove(spool: &LogSpool, id: MessageId) {
    let one = Filter::only(id);
    let removed = spool
        .admin(&one, Action::Remove, None, usize::MAX)
        .await
        .unwrap();
    assert_eq!(removed.entries.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_newer_than_the_position_costs_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let spool = open(dir.path(), hour);
    let first = put(&spool, 0).await;
    spool.checkpoint().await.unwrap();
    let kept = put(&spool, 1).await;
    remove(&spool, first).await;
    // Into the next segment, but not so far that a checkpoint is asked for.
    for n in 2..12 {
        let id = put(&spool, n).await;
        remove(&spool, id).await;
    }
    let row_alone = move |keeper: &mut Keeper| {
        let batch = keeper.take_rows(&[kept]);
        keeper.tree.apply(batch, 1).unwrap();
        keeper.tree.sync(&keeper.segments.store).unwrap();
    };
    spool.ask(row_alone).await.unwrap();
    let after = tempfile::tempdir().unwrap();
    for folder in ["", "log", "index"] {
        let to = after.path().join(folder);
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(dir.path().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    drop(spool);
    // Time enough to give back what looks spent.
    let spool = open(after.path(), Duration::from_millis(1));
    for _ in 0..3 {
        spool.checkpoint().await.unwrap();
        put(&spool, 99).await;
        remove(&spool, MessageId::new(Timestamp::from_unix_millis(0), 99)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut body = spool.open_body(kept).await.unwrap();
    let read = body.chunk().await.unwrap().unwrap_or_default();
    assert_eq!(read.len(), 9_000);
}

/// The machine slept, or its clock was set: who works on a leg settles it, unless somebody else has it by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_leg_whose_lease_ran_out_stays_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), Duration::from_secs(3600));
    let id = put(&spool, 1).await;
    let want = Want {
        max: 1,
        per_host: 1,
        lease: Duration::from_secs(60),
    };
    let lease = spool.claim(&want).await.unwrap().remove(0).lease;
    spool.checkpoint().await.unwrap();
    spool.clock().advance(Duration::from_secs(600));
    assert_eq!(spool.overdue(1, want.lease).await.unwrap().len(), 0);
    let evict = move |keeper: &mut Keeper| keeper.state.lock().evict(id);
    spool.ask(evict).await.unwrap();
    assert_eq!(spool.complete(lease, None).await, Ok(()));
}
