//! Segment files: the set of them in `spool/log/`, their headers, and the spares that are ready to become the next.
//!
//! A segment is `NNNNNNNNNN.seg` and begins with 64 octets: magic `ONWARDLG`, `u16` format version, two zero octets,
//! `u32` segment number, 16 octets spool id, zeros, and at 60 a crc32 of all before. A spare is `spare-N`: space already
//! written to disk, so that a commit's fdatasync has no metadata to write. What an older life left in it is told from
//! records by their position.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::settings::StartError;
use crate::store::{Store, StoreFile, read_full, write_all};

/// The segments of a spool. Shared: the committer makes them, readers read them, the compactor retires them.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) store: Arc<dyn Store>,
    dir: PathBuf,
    /// Names the spool: an index of another spool is not ours.
    pub(crate) spool_id: u128,
    /// What a new segment takes.
    pub(crate) octets: u32,
    set: Mutex<Set>,
}

#[derive(Debug)]
struct Set {
    open: BTreeMap<u32, Arc<dyn StoreFile>>,
    spares: Vec<PathBuf>,
    /// For the names of spares.
    made: u32,
    next: u32,
}

impl Segments {
    /// Opens what is there. Files whose header is damaged are returned, for the quarantine.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        dir: PathBuf,
        octets: u32,
    ) -> Result<(Self, Vec<PathBuf>), StartError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StartError::Io { what, path, source }
        };
        store.create_dir(&dir).map_err(io("create", &dir))?;
        let (mut open, mut damaged, mut spares) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut spool_id = None;
        for path in store.list(&dir).map_err(io("read", &dir))? {
            if path.extension().is_none_or(|e| e != "seg") {
                spares.push(path);
                continue;
            }
            let file = store.open(&path).map_err(io("open", &path))?;
            let mut header = [0; HEADER_OCTETS];
            let read = read_full(&*file, &mut header, 0).map_err(io("read", &path))?;
            match decode_header(&header[..read]) {
                HeaderRead::Segment { number, id }
                    if path == dir.join(name(number)) && *spool_id.get_or_insert(id) == id =>
                {
                    open.insert(number, file);
                }
                HeaderRead::Newer(found) => {
                    return Err(StartError::NewerVersion {
                        file: path,
                        found,
                        known: VERSION,
                    });
                }
                _ => damaged.push(path),
            }
        }
        spares.retain(|path| is_spare(path));
        // A damaged file keeps its number for itself: a new one must not be mistaken for it.
        let taken = damaged.iter().filter_map(|path| number_of(path));
        let last = taken.chain(open.keys().copied()).max();
        let segments = Self {
            store,
            dir,
            spool_id: spool_id.unwrap_or_else(rand::random),
            octets,
            set: Mutex::new(Set {
                open,
                made: spares.len() as u32,
                spares: Vec::new(),
                next: last.map_or(1, |last| last.saturating_add(1)),
            }),
        };
        segments.sort_spares(spares);
        Ok((segments, damaged))
    }

    /// Spares of the right size are kept; others (cut short by a crash, another setting) go.
    fn sort_spares(&self, found: Vec<PathBuf>) {
        for path in found {
            let whole = self
                .store
                .open(&path)
                .and_then(|file| file.octets())
                .is_ok_and(|octets| octets == u64::from(self.octets));
            let mut set = self.set.lock();
            if whole && set.spares.len() < SPARES_MAX {
                set.spares.push(path);
            } else if let Err(e) = self.store.remove(&path) {
                tracing::warn!(path = %path.display(), error = %e, "cannot remove a spare segment");
            }
        }
    }

    /// The numbers, in order.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.set.lock().open.keys().copied().collect()
    }

    pub(crate) fn file(&self, number: u32) -> Option<Arc<dyn StoreFile>> {
        self.set.lock().open.get(&number).cloned()
    }

    pub(crate) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(name(number))
    }

    /// Octets on disk, spares too.
    pub(crate) fn octets_used(&self) -> u64 {
        let set = self.set.lock();
        (set.open.len() + set.spares.len()) as u64 * u64::from(self.octets)
    }

    /// Octets of segments, without spares.
    pub(crate) fn octets_in_use(&self) -> u64 {
        self.set.lock().open.len() as u64 * u64::from(self.octets)
    }

    /// Makes the next segment: its header and its name are durable when this returns.
    pub(crate) fn begin(&self) -> io::Result<(u32, Arc<dyn StoreFile>)> {
        let (number, spare) = {
            let mut set = self.set.lock();
            let number = set.next;
            // A number that was tried is not used again, whatever came of it.
            set.next = number.checked_add(1).ok_or(io::ErrorKind::StorageFull)?;
            (number, set.spares.pop())
        };
        let path = match spare {
            Some(path) => path,
            None => self.make_file(false)?,
        };
        let file = self.store.open(&path)?;
        let header = encode_header(number, self.spool_id);
        write_all(&*file, &mut [IoSlice::new(&header)], 0)?;
        file.sync()?;
        self.store.rename(&path, &self.path(number))?;
        self.store.sync_dir(&self.dir)?;
        self.set.lock().open.insert(number, Arc::clone(&file));
        Ok((number, file))
    }

    /// Makes a spare if there is none. Slow: not for the committer.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        if self.set.lock().spares.is_empty() {
            let path = self.make_file(true)?;
            self.set.lock().spares.push(path);
        }
        Ok(())
    }

    /// A file of full size: reserved, and written with zeros when there is time for it.
    fn make_file(&self, written: bool) -> io::Result<PathBuf> {
        let made = {
            let mut set = self.set.lock();
            set.made += 1;
            set.made
        };
        let pid = std::process::id();
        let path = self.dir.join(format!("spare-{pid}-{made}"));
        let file = self.store.create(&path)?;
        let filled = file.reserve(u64::from(self.octets)).and_then(|()| {
            if written {
                self.fill(&*file)?;
            }
            file.sync()
        });
        if let Err(e) = filled {
            // Space is short: what was reserved must not lie about.
            let _ = self.store.remove(&path);
            return Err(e);
        }
        Ok(path)
    }

    fn fill(&self, file: &dyn StoreFile) -> io::Result<()> {
        let zeros = vec![0; FILL_OCTETS];
        let mut at = 0;
        while at < self.octets {
            let some = FILL_OCTETS.min((self.octets - at) as usize);
            write_all(file, &mut [IoSlice::new(&zeros[..some])], u64::from(at))?;
            at += some as u32;
        }
        Ok(())
    }

    /// Takes a segment out of the log: it becomes a spare when one is wanted and nobody reads it, else it is removed.
    pub(crate) fn retire(&self, number: u32) -> io::Result<()> {
        let path = self.path(number);
        let (file, wanted) = {
            let mut set = self.set.lock();
            let Some(file) = set.open.remove(&number) else {
                return Ok(());
            };
            (file, set.spares.len() < SPARES_MAX)
        };
        let whole = file.octets().is_ok_and(|n| n == u64::from(self.octets));
        // Readers hold the file; under its new name it would be overwritten beneath them.
        if wanted && whole && Arc::strong_count(&file) == 1 {
            let spare = self.dir.join(format!("spare-{number}"));
            self.store.rename(&path, &spare)?;
            self.store.sync_dir(&self.dir)?;
            self.set.lock().spares.push(spare);
            return Ok(());
        }
        self.store.remove(&path)?;
        self.store.sync_dir(&self.dir)
    }
}

enum HeaderRead {
    Segment { number: u32, id: u128 },
    Newer(u16),
    Damaged,
}

fn encode_header(number: u32, id: u128) -> [u8; HEADER_OCTETS] {
    let mut out = [0; HEADER_OCTETS];
    out[..8].copy_from_slice(MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&number.to_le_bytes());
    out[16..32].copy_from_slice(&id.to_le_bytes());
    let crc = crc32fast::hash(&out[..60]);
    out[60..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode_header(bytes: &[u8]) -> HeaderRead {
    let Ok(header) = <&[u8; HEADER_OCTETS]>::try_from(bytes) else {
        return HeaderRead::Damaged;
    };
    let u32_at = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if &header[..8] != MAGIC || crc32fast::hash(&header[..60]) != u32_at(60) {
        return HeaderRead::Damaged;
    }
    let version = u16::from_le_bytes([header[8], header[9]]);
    if version > VERSION {
        return HeaderRead::Newer(version);
    }
    let id = (0..4)
        .map(|n| u128::from(u32_at(16 + 4 * n)) << (32 * n))
        .sum();
    HeaderRead::Segment {
        number: u32_at(12),
        id,
    }
}

fn name(number: u32) -> String {
    format!("{number:010}.seg")
}

fn number_of(path: &Path) -> Option<u32> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn is_spare(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("spare-"))
}

/// Octets before the first record.
pub(crate) const HEADER_OCTETS: usize = 64;
/// The format this program writes, and the newest it reads.
pub(crate) const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"ONWARDLG";
const FILL_OCTETS: usize = 1 << 20;
const SPARES_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;

    fn open(dir: &Path) -> Result<(Segments, Vec<PathBuf>), StartError> {
        Segments::open(Arc::new(Disk), dir.join("log"), 64 << 10)
    }

    #[test]
    fn a_newer_version_is_refused_and_a_damaged_header_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (segments, _) = open(dir.path()).unwrap();
        let (number, file) = segments.begin().unwrap();
        let mut header = encode_header(number, segments.spool_id);
        header[8] = 9;
        let crc = crc32fast::hash(&header[..60]);
        header[60..].copy_from_slice(&crc.to_le_bytes());
        write_all(&*file, &mut [IoSlice::new(&header)], 0).unwrap();
        let text = open(dir.path()).unwrap_err().to_string();
        assert!(
            text.contains("format 9") && text.contains("hint:"),
            "{text}"
        );
        header[8] = 8;
        write_all(&*file, &mut [IoSlice::new(&header)], 0).unwrap();
        let (again, damaged) = open(dir.path()).unwrap();
        assert_eq!(damaged, [segments.path(number)]);
        assert_eq!(again.begin().unwrap().0, number + 1);
    }

    #[test]
    fn a_retired_segment_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let (segments, _) = open(dir.path()).unwrap();
        let (first, file) = segments.begin().unwrap();
        drop(file);
        segments.retire(first).unwrap();
        assert_eq!(segments.numbers(), []);
        assert_eq!(segments.octets_used(), 64 << 10);
        let (second, _) = segments.begin().unwrap();
        assert_eq!((second, segments.octets_used()), (first + 1, 64 << 10));
    }
}
