//! The notebook of completed legs: the names of legs that have ended of late, written at once and never synced.
//!
//! The end of a delivered leg rides with the log's next commit; until that is written a kill -9 forgets it, and the leg is
//! delivered again. A kill leaves the page cache alone: the leg's name, written here the moment it ends, is enough. What is
//! noted stays true for ever (a leg ends once, no id is used again). So the file needs no order, no sync and no
//! cleaning: it is a ring of places, each with its checksum, and the oldest are written over. A start ends what stands in it
//! and is still open in the log.
//!
//! It promises *nothing*: the log does. A torn, old or missing file costs duplicates, never mail.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use envelope::{LegId, MessageId};
use parking_lot::Mutex;

use crate::fault;
use crate::index::keeper::Keeper;
use crate::index::state::Effect;
use crate::last_resort;
use crate::log::codec::Change;
use crate::log::committer::LogHandle;
use crate::log::record::{Kind, Payload};
use crate::store::{Store, StoreFile, read_full, write_all};

/// Where ends are noted. A thread of its own writes them: even a write to the page cache may wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Completed(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    legs: SyncSender<LegId>,
    thread: JoinHandle<()>,
}

impl Completed {
    /// Opens the notebook of the spool in `dir`: it, and what stands in it. Without a file nothing is noted.
    pub(crate) fn open(store: &dyn Store, dir: &Path) -> (Self, Vec<LegId>) {
        let opened = open_file(store, &dir.join(FILE)).and_then(|file| {
            let noted = read(&*file)?;
            Ok((Running::start(file)?, noted))
        });
        match opened {
            Ok((running, noted)) => (Self(Mutex::new(Some(running))), noted),
            Err(e) => {
                tracing::warn!(error = %e, "ends cannot be noted: a kill may deliver some mail again");
                (Self::default(), Vec::new())
            }
        }
    }

    /// Notes that a leg has ended. Returns at once; when the disk cannot follow, the note is dropped.
    pub(crate) fn note(&self, leg: LegId) {
        if let Some(running) = &*self.0.lock() {
            let _ = running.legs.try_send(leg);
        }
    }

    /// Lets the file go.
    pub(crate) fn close(&self) {
        if let Some(Running { legs, thread }) = self.0.lock().take() {
            drop(legs);
            // It does not end by a panic: the process would have.
            let _ = thread.join();
        }
    }
}

impl Running {
    fn start(file: Arc<dyn StoreFile>) -> io::Result<Self> {
        let (legs, noted) = sync_channel(PLACES);
        let thread = std::thread::Builder::new()
            .name("spool-ends".into())
            .spawn(move || last_resort::guard(|| write_notes(&*file, &noted), || ()))?;
        Ok(Self { legs, thread })
    }
}

/// Writes what comes, all that waits with one call, until the other side is dropped.
fn write_notes(file: &dyn StoreFile, legs: &Receiver<LegId>) {
    let mut place = 0;
    while let Ok(first) = legs.recv() {
        let waiting = legs.try_iter().take(PLACES - place - 1);
        let notes: Vec<u8> = std::iter::once(first)
            .chain(waiting)
            .flat_map(encode)
            .collect();
        let at = (place * NOTE_OCTETS) as u64;
        place = (place + notes.len() / NOTE_OCTETS) % PLACES;
        // A full disk says so elsewhere, and louder.
        let _ = write_all(file, &mut [IoSlice::new(&notes)], at);
        fault::point("end.noted");
    }
}

/// What stands in the notebook of a spool that no process has open.
pub(crate) fn noted(dir: &Path) -> Vec<LegId> {
    let file = std::fs::File::open(dir.join(FILE));
    file.and_then(|file| read(&file)).unwrap_or_default()
}

fn open_file(store: &dyn Store, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
    match store.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => store.create(path),
        opened => opened,
    }
}

fn read(file: &dyn StoreFile) -> io::Result<Vec<LegId>> {
    let mut bytes = vec![0; PLACES * NOTE_OCTETS];
    let read = read_full(file, &mut bytes, 0)?;
    let (notes, _) = bytes[..read].as_chunks::<NOTE_OCTETS>();
    Ok(notes.iter().filter_map(decode).collect())
}

/// 16 octets message id and `u32` leg, both big-endian as in the index's keys; then `u32` crc32 of these.
fn encode(leg: LegId) -> [u8; NOTE_OCTETS] {
    let mut out = [0; NOTE_OCTETS];
    out[..16].copy_from_slice(&leg.message.bits().to_be_bytes());
    out[16..20].copy_from_slice(&leg.number.to_be_bytes());
    let crc = crc32fast::hash(&out[..20]);
    out[20..].copy_from_slice(&crc.to_be_bytes());
    out
}

fn decode(note: &[u8; NOTE_OCTETS]) -> Option<LegId> {
    let (id, rest) = note.split_first_chunk::<16>()?;
    let (number, crc) = rest.split_first_chunk::<4>()?;
    (crc32fast::hash(&note[..20]).to_be_bytes() == *crc).then(|| LegId {
        message: MessageId::from_bits(u128::from_be_bytes(*id)),
        number: u32::from_be_bytes(*number),
    })
}

/// Ends what was noted and is open all the same: its record did not reach the log. Before anybody can claim it.
pub(crate) fn end_noted(keeper: &Keeper, log: &LogHandle<Effect>, noted: Vec<LegId>) {
    let mut legs = 0;
    for leg in noted {
        if !keeper.load(leg.message) {
            continue;
        }
        let mut state = keeper.state.lock();
        let entry = state.messages.get(&leg.message);
        let entry = entry.filter(|entry| entry.leg(leg.number).is_some());
        let Some(since) = entry.map(|entry| entry.since) else {
            continue;
        };
        let change = Change {
            leg,
            since,
            state: None,
        };
        state.apply_change(&change);
        let payload = Payload::new(Kind::Change, vec![change.encode()]);
        log.append_lazily(payload, Effect::Changed(since));
        legs += 1;
    }
    if legs > 0 {
        tracing::info!(legs, "delivered before the crash, and not delivered again");
        // At once, though nobody waits for it: their places are about to be written over.
        drop(log.barrier());
    }
}

pub(crate) const FILE: &str = "ends";
const NOTE_OCTETS: usize = 24;
/// As many ends as a busy second has: what is not in the log by then waits for a disk that fails.
const PLACES: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;

    fn leg(n: u32) -> LegId {
        LegId {
            message: MessageId::from_bits(1 << 127 | u128::from(n)),
            number: n % 3,
        }
    }

    #[test]
    fn notes_are_read_back_and_the_oldest_are_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let all = PLACES as u32 + 100;
        let file = open_file(&Disk, &dir.path().join(FILE)).unwrap();
        let (sender, receiver) = sync_channel(all as usize);
        (0..all).for_each(|n| sender.send(leg(n)).unwrap());
        drop(sender);
        write_notes(&*file, &receiver);
        let (completed, noted) = Completed::open(&Disk, dir.path());
        assert_eq!(noted.len(), PLACES);
        assert!((100..all).all(|n| noted.contains(&leg(n))));
        completed.note(leg(all));
        completed.close();
        let (_, noted) = Completed::open(&Disk, dir.path());
        assert_eq!((noted.len(), noted[0]), (PLACES, leg(all)));
    }

    #[test]
    fn a_damaged_note_is_none() {
        let note = encode(leg(7));
        assert_eq!(decode(&note), Some(leg(7)));
        for bit in 0..note.len() * 8 {
            let mut bad = note;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
        assert_eq!(decode(&[0; NOTE_OCTETS]), None);
    }
}
