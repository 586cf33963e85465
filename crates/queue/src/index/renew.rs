//! A fresh sled beside the old one: sled's files never shrink, so when they have grown far past what lives in them, its
//! rows are copied into another folder, some at a step, and the old folder goes.
//!
//! While that lasts, checkpoints write to both. The fresh one gets the log position last, in the checkpoint that ends the
//! copying, and until then the file `unfinished` lies in its folder: who finds that at a start removes the folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sled::Batch;

use crate::index::keeper::Keeper;
use crate::index::tree::Tree;
use crate::store::Store;

/// A fresh sled that is being filled.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) fresh: Tree,
    /// Where copying goes on; `None`: all is there.
    from: Option<Vec<u8>>,
}

impl Keeper {
    /// Whether rows are being copied: the next step should come soon.
    pub(super) fn is_renewing(&self) -> bool {
        let renewal = self.renewal.as_ref();
        renewal.is_some_and(|renewal| renewal.from.is_some())
    }

    /// Begins a fresh sled when the old one has grown too large.
    pub(super) fn begin_renewal(&mut self) {
        let octets = self.tree.octets_on_disk();
        if self.log.is_none()
            || self.renewal.is_some()
            || octets < self.waste_bytes + self.rows * OCTETS_PER_ROW
        {
            return;
        }
        let path = other(self.tree.path());
        let made = begin(&self.segments.store, &path)
            .and_then(|()| Tree::open(&path, self.tree.cache_bytes()));
        match made {
            Ok(fresh) => {
                tracing::debug!(octets, rows = self.rows, "index is written anew");
                let from = Some(Vec::new());
                self.renewal = Some(Renewal { fresh, from });
            }
            Err(e) => tracing::warn!(error = %e, "index cannot be written anew"),
        }
    }

    /// Copies some rows.
    pub(super) fn renew(&mut self) {
        let Some(renewal) = &mut self.renewal else {
            return;
        };
        let Some(from) = renewal.from.take() else {
            return;
        };
        let copied = self.tree.rows(&from, ROWS_AT_ONCE).and_then(|rows| {
            // Behind the last: the least key that is greater.
            renewal.from = rows
                .last()
                .filter(|_| rows.len() == ROWS_AT_ONCE)
                .map(|(key, _)| [key, &[0][..]].concat());
            let mut batch = Batch::default();
            let n = rows.len();
            rows.into_iter()
                .for_each(|(key, value)| batch.insert(key, value));
            renewal.fresh.apply(batch, n)
        });
        if let Err(e) = copied {
            self.abandon_renewal(&e);
        }
    }

    /// Ends the renewal when all is copied; just after a checkpoint.
    pub(super) fn finish_renewal(&mut self) {
        let Some(renewal) = self.renewal.take_if(|renewal| renewal.from.is_none()) else {
            return;
        };
        let store = &self.segments.store;
        let fresh = renewal.fresh;
        let finished = fresh
            .sync(store)
            .and_then(|()| fresh.apply(self.proof.clone(), 1))
            .and_then(|()| fresh.sync(store))
            .and_then(|()| finish(store, fresh.path()));
        match finished {
            Ok(()) => {
                let old = std::mem::replace(&mut self.tree, fresh);
                let path = old.path().to_owned();
                drop(old);
                if let Err(e) = store.remove_dir(&path) {
                    tracing::warn!(error = %e, "the old index cannot be removed");
                }
            }
            Err(e) => {
                self.renewal = Some(Renewal { fresh, from: None });
                self.abandon_renewal(&e);
            }
        }
    }

    /// Goes on with the old sled.
    pub(super) fn abandon_renewal(&mut self, why: &str) {
        if let Some(renewal) = self.renewal.take() {
            tracing::warn!(error = why, "index cannot be written anew");
            let path = renewal.fresh.path().to_owned();
            drop(renewal);
            // What remains of it is removed by the next.
            let _ = self.segments.store.remove_dir(&path);
        }
    }
}

fn begin(store: &Arc<dyn Store>, path: &Path) -> Result<(), String> {
    let made = store
        .remove_dir(path)
        .and_then(|()| store.create_dir(path))
        .and_then(|()| store.create(&path.join(UNFINISHED)).map(|_| ()))
        .and_then(|()| store.sync_dir(path));
    made.map_err(|e| e.to_string())
}

fn finish(store: &Arc<dyn Store>, path: &Path) -> Result<(), String> {
    let finished = store.remove(&path.join(UNFINISHED));
    finished
        .and_then(|()| store.sync_dir(path))
        .map_err(|e| e.to_string())
}

/// The folder in which a spool's index is, or will be.
pub(crate) fn folder(spool: &Path) -> PathBuf {
    let [first, second] = folders(spool);
    match is_whole(&second) && !is_whole(&first) {
        true => second,
        false => first,
    }
}

/// The folders in which a spool's index may be.
pub(crate) fn folders(spool: &Path) -> [PathBuf; 2] {
    [spool.join(NAMES[0]), spool.join(NAMES[1])]
}

fn is_whole(path: &Path) -> bool {
    path.is_dir() && !path.join(UNFINISHED).exists()
}

fn other(path: &Path) -> PathBuf {
    let name = usize::from(path.file_name().is_some_and(|name| name == NAMES[0]));
    path.with_file_name(NAMES[name])
}

const NAMES: [&str; 2] = ["index", "index-b"];
const UNFINISHED: &str = "unfinished";
/// Whoever waits for the keeper waits for these.
const ROWS_AT_ONCE: usize = if cfg!(test) { 10 } else { 200 };
/// What sled may take for each message (a row is some 300 octets, and sled's files half empty).
const OCTETS_PER_ROW: u64 = 1_500;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use envelope::{Message, MessageId, ReversePath, Timestamp};
    use testkit::nouns;

    use super::*;
    use spool::{Arrival, BodyWriter, Clock, Spool, Want};

    use crate::{LogSpool, Settings};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_000 + millis)
    }

    async fn put(spool: &LogSpool, n: u64) {
        let id = MessageId::new(at(n), 0);
        let mut writer = spool.begin(id).await.unwrap();
        writer.write(vec![b'x'; 10]).await.unwrap();
        let message = Message::new(id, at(0), ReversePath::Null, 10);
        let leg = nouns::forward("alice@example.org", &format!("a@host{}.example", n % 7));
        let committed = spool
            .commit(writer, Arrival::new(message, vec![leg], at(n)))
            .await;
        committed.unwrap();
    }

    fn settings(dir: &Path) -> Settings {
        Settings {
            segment_bytes: Settings::SEGMENT_BYTES_MIN,
            checkpoint_every: Duration::from_millis(5),
            index_waste_bytes: 0,
            clock: Clock::manual(at(1_000_000)),
            ..Settings::new(dir)
        }
    }

    /// Mail comes and goes while rows are copied; what is left is found after each start, and old folders are gone.
    #[tokio::test]
    async fn nothing_is_lost_while_the_index_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (mut next, mut left, mut seen) = (0, Vec::new(), Vec::new());
        for _ in 0..2 {
            let spool = LogSpool::open(settings(dir.path())).unwrap();
            for _ in 0..12 {
                for n in next..next + 50 {
                    put(&spool, n).await;
                    left.push(MessageId::new(at(n), 0));
                }
                next += 50;
                let want = Want {
                    max: 40,
                    per_host: 20,
                    lease: Duration::from_secs(60),
                };
                for claim in spool.claim(&want).await.unwrap() {
                    left.retain(|id| *id != claim.message.id);
                    spool.complete(claim.lease, None).await.unwrap();
                }
                spool.checkpoint().await.unwrap();
                let path = spool.ask(|keeper| keeper.tree.path().to_owned()).await;
                seen.push(path.unwrap());
            }
            drop(spool);
            let spool = LogSpool::open(settings(dir.path())).unwrap();
            let rows = spool.ask(|keeper| keeper.rows).await.unwrap();
            assert_eq!(rows, left.len() as u64);
            let path = spool.ask(|keeper| keeper.tree.path().to_owned()).await;
            assert!(!other(&path.unwrap()).exists());
            let page = spool.list(&Default::default(), None, 9999).await;
            let ids: Vec<_> = page.unwrap().entries.iter().map(|e| e.id.message).collect();
            assert_eq!(ids, left);
        }
        seen.dedup();
        assert!(seen.len() > 2, "{seen:?}");
    }
}
