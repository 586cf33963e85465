//! Opening a spool on a state, and seeing all that it shows.

use std::path::Path;
use std::time::Duration;

use envelope::{LegId, Timestamp};
use queue::{LogSpool, Settings};
use spool::{BodyReader, Clock, Filter, Lifetime, Spool, State as Standing, Want, Why};

use super::crash::State;
use super::ledger::{Ledger, Leg, Seen};
use super::workload::at;
use crate::luck::Luck;
use crate::memory::{Event, FOLDERS, History, Image};
use crate::support::turned;

/// Which history it is, for the text of a failure.
#[derive(Debug)]
pub(crate) struct Spot {
    pub(crate) seed: u64,
    pub(crate) life: u64,
}

/// A folder in memory where there is one: sled's files are real.
pub(crate) fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    match shm.is_dir() {
        true => tempfile::tempdir_in(shm).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn is_index(name: &Path) -> bool {
    FOLDERS.iter().any(|folder| name.starts_with(folder))
}

pub(crate) mod open {
    use std::sync::Arc;

    use super::*;
    use crate::memory::Memory;

    /// A store on this state: the log in memory, the index in `dir`.
    pub(crate) fn store(state: &State, dir: &Path, recorded: bool, sync_takes: Duration) -> Memory {
        // Of names in the index's folders the engine asks the disk.
        let marks = state.image.iter().filter(|(name, _)| is_index(name));
        let marks = marks.map(|(name, bytes)| (name, &**bytes));
        for (name, bytes) in state.index.iter().map(|(n, b)| (n, b)).chain(marks) {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Memory::new(dir, &state.image, recorded, sync_takes)
    }

    pub(crate) fn spool(dir: &Path, memory: &Memory) -> LogSpool {
        let days = |n: u64| Duration::from_secs(n * 24 * 3600);
        let settings = Settings {
            segment_bytes: Settings::SEGMENT_BYTES_MIN,
            min_free_bytes: 0,
            min_free_inodes: 0,
            index_cache_bytes: 1 << 20,
            // A fresh index every now and then.
            index_waste_bytes: INDEX_WASTE,
            checkpoint_every: Duration::from_millis(20),
            lifetime: Lifetime {
                warn_after: days(10_000),
                expire: days(10_000),
            },
            clock: Clock::manual(NOW),
            ..Settings::new(dir)
        };
        LogSpool::open_on(settings, Arc::new(memory.clone())).expect("a spool opens")
    }
}

/// All that a spool shows; of bodies and tokens some, which the seed chooses. Bodies are compared with the ledger's.
pub(crate) fn look(spool: &LogSpool, ledger: &Ledger, seed: u64) -> Result<Seen, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut luck = Luck::new(seed);
    let share = if luck.chance(20) { 100 } else { 20 };
    runtime.block_on(async {
        let seen = list(spool).await?;
        let mut last = None;
        for leg in seen.legs.keys() {
            if last.replace(leg.message) != Some(leg.message) && luck.chance(share) {
                check_body(spool, leg, ledger).await?;
            }
        }
        check_claims(spool, &seen).await?;
        let tokens = ledger.token_names();
        let mut seen = seen;
        for token in tokens {
            if !luck.chance(share) {
                continue;
            }
            let value = turned(spool, at(0))
                .recall(token)
                .await
                .map_err(|e| e.to_string())?;
            seen.tokens.insert(token.clone(), value);
        }
        Ok(seen)
    })
}

async fn list(spool: &LogSpool) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let (mut cursor, filter) = (None, Filter::default());
    loop {
        let page = turned(spool, NOW).list(&filter, cursor, 1000).await;
        let page = page.map_err(|e| e.to_string())?;
        for entry in page.entries {
            let leg = Leg {
                attempts: entry.attempts,
                held: entry.state == Standing::Held,
                bounced: false,
            };
            seen.legs.insert(entry.id, leg);
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let lease = Duration::from_secs(1);
    let overdue = turned(spool, at(0)).overdue(usize::MAX, lease).await;
    for overdue in overdue.map_err(|e| e.to_string())? {
        let leg = seen.legs.get_mut(&overdue.claim.lease.leg);
        let leg = leg.ok_or("an overdue leg is not listed")?;
        leg.bounced = overdue.why == Why::Bounced;
    }
    Ok(seen)
}

async fn check_body(spool: &LogSpool, leg: &LegId, ledger: &Ledger) -> Result<(), String> {
    let Some(expected) = ledger.bodies.get(&leg.message) else {
        return Err(format!("message {} was never begun", leg.message));
    };
    let failed = |e| format!("body of {}: {e}", leg.message);
    let mut reader = spool.open_body(leg.message).await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = reader.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
    }
    match body == **expected {
        true => Ok(()),
        false => Err(format!("body of {} is another", leg.message)),
    }
}

/// What is listed can be claimed, unless it is held or to be bounced; and is counted.
async fn check_claims(spool: &LogSpool, seen: &Seen) -> Result<(), String> {
    let counts = turned(spool, NOW)
        .counts()
        .await
        .map_err(|e| e.to_string())?;
    let counted = counts.ready + counts.deferred + counts.active + counts.held;
    if counted != seen.legs.len() as u64 {
        return Err(format!(
            "{counts:?}, but {} legs are listed",
            seen.legs.len()
        ));
    }
    let want = Want {
        max: 100_000,
        per_host: 100_000,
        lease: Duration::from_secs(1),
    };
    let claims = turned(spool, NOW)
        .claim(&want)
        .await
        .map_err(|e| e.to_string())?;
    let mut claimed: Vec<LegId> = claims.iter().map(|claim| claim.lease.leg).collect();
    claimed.sort_unstable();
    let free = seen
        .legs
        .iter()
        .filter(|(_, leg)| !leg.held && !leg.bounced);
    let expected: Vec<LegId> = free.map(|(id, _)| *id).collect();
    match claimed == expected {
        true => Ok(()),
        false => Err(format!("claimed {claimed:?}, listed {expected:?}")),
    }
}

impl State {
    pub(crate) fn empty() -> Self {
        Self {
            image: Image::new(),
            index: Vec::new(),
            how: String::new(),
        }
    }

    /// Makes the index that was there first a part of a history.
    pub(crate) fn put_first(&self, history: &mut History) {
        for (folder, name) in FOLDERS.iter().enumerate() {
            let files = self.index.iter();
            let files = files.filter(|(found, _)| found.starts_with(name));
            let files: Vec<_> = files.cloned().collect();
            if files.is_empty() {
                continue;
            }
            history.indexes.push(std::sync::Arc::new(files));
            let copy = history.indexes.len() - 1;
            let first = [
                Event::IndexWritten(folder, copy),
                Event::IndexSynced(folder, copy),
            ];
            history.events.splice(0..0, first);
        }
    }

    pub(crate) fn write_to(&self, dir: &Path) {
        let log = self
            .image
            .iter()
            .map(|(name, bytes)| (name.clone(), &**bytes));
        let index = self.index.iter();
        let index = index.map(|(name, bytes)| (name.clone(), bytes));
        for (name, bytes) in log.chain(index) {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

impl History {
    /// How often a fresh index took the place of the old one.
    pub(crate) fn renewals(&self) -> usize {
        let ended = |event: &&Event| matches!(event, Event::Remove(name) if is_index(name));
        self.events.iter().filter(ended).count()
    }
}

/// At each checkpoint with few messages: sled's files are never below 512 KiB.
const INDEX_WASTE: u64 = 0;
/// Later than all due times of the workload.
const NOW: Timestamp = Timestamp::from_unix_millis(super::workload::START + 2_000_000_000);
