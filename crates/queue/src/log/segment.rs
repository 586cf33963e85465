//! Segment files: the set of them in `spool/log/`, and the spares that are ready to become the next.
//!
//! A segment is `NNNNNNNNNN.seg`; `header` is what it says of itself. A spare is `spare-N`: space already written to disk, so
//! that a commit's fdatasync has no metadata to write. What an older life left in it is told from records by their position.
//!
//! What does not fit (a damaged header, another spool's segment, a file that was cut) is told as [`Trouble`]; a header is
//! repaired when the records behind it prove which segment it is.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fault;
use crate::log::header::{
    Found, HEADER_OCTETS, HeaderRead, ID_FILE, Misfit, SegmentHeader, VERSION, file_name,
    is_segment, owner, read_id, write_id,
};
use crate::log::record::write_end;
use crate::log::recovery::SegmentBytes;
use crate::log::spare::{self, is_spare};
use crate::log::vouch::{vouch, vouched};
use crate::settings::StartError;
use crate::store::{Store, StoreFile, write_all};

/// The segments of a spool. Shared: the committer makes them, readers read them, the compactor retires them.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) store: Arc<dyn Store>,
    dir: PathBuf,
    /// Names the spool: an index of another spool is not ours.
    pub(crate) spool_id: u128,
    /// What a new segment takes.
    pub(crate) octets: u32,
    /// Held while a segment is begun: numbers come in order.
    beginning: Mutex<()>,
    set: Mutex<Set>,
}

#[derive(Debug)]
struct Set {
    open: BTreeMap<u32, Arc<dyn StoreFile>>,
    spares: Vec<PathBuf>,
    /// The next segment, begun and empty; not one of the log yet.
    ready: Option<(u32, Arc<dyn StoreFile>)>,
    /// For the names of spares.
    made: u32,
    next: u32,
    /// An index that is current up to less than this segment is older than what was given back.
    vouched: u32,
}

/// What is not as it was written, about a segment's file.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Not ours to read: for the quarantine, whole.
    Misfit(PathBuf, Misfit),
    /// The header was damaged and is written anew; this is what stood there.
    Repaired(u32, Vec<u8>),
    /// The file was cut: behind this place nothing is left. An end stands there now.
    Short(u32, u32),
}

impl Segments {
    /// Opens what is there, and says what of it is not as it was written.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        dir: PathBuf,
        octets: u32,
    ) -> Result<(Self, Vec<Trouble>), StartError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StartError::Io { what, path, source }
        };
        store.create_dir(&dir).map_err(io("create", &dir))?;
        let (mut found, mut spares) = (Vec::new(), Vec::new());
        let listed = store.list(&dir).map_err(io("read", &dir))?;
        let vouched = vouched(&listed);
        for path in listed {
            if is_segment(&path) {
                let file = store.open(&path).map_err(io("open", &path))?;
                found.push(Found::read(path.clone(), &*file).map_err(io("read", &path))?);
            } else if is_spare(&path) {
                spares.push(path);
            }
        }
        newest_format(&found)?;
        let spool_id = name_spool(&*store, &dir, &found)?;
        let (mut open, mut troubles) = (BTreeMap::new(), Vec::new());
        // A file that cannot be used keeps its number for itself: a new one must not be mistaken for it.
        let last = found.iter().filter_map(|found| found.number).max();
        for found in found {
            let path = found.path.clone();
            let file = store.open(&path).map_err(io("open", &path))?;
            let (number, trouble) = fit(found, &file, spool_id).map_err(io("repair", &path))?;
            troubles.extend(trouble);
            if let Some(number) = number {
                open.insert(number, file);
            }
        }
        let segments = Self {
            store,
            dir,
            spool_id,
            octets,
            beginning: Mutex::default(),
            set: Mutex::new(Set {
                open,
                made: spares.len() as u32,
                spares: Vec::new(),
                ready: None,
                next: last.map_or(1, |last| last.saturating_add(1)),
                vouched,
            }),
        };
        segments.sort_spares(spares);
        Ok((segments, troubles))
    }

    /// Leaves all numbers up to `number` alone: segments of these names were there once.
    pub(crate) fn skip(&self, number: u32) {
        let mut set = self.set.lock();
        set.next = set.next.max(number.saturating_add(1));
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
        self.dir.join(file_name(number))
    }

    /// Octets on disk, spares too.
    pub(crate) fn octets_used(&self) -> u64 {
        let set = self.set.lock();
        let ready = usize::from(set.ready.is_some());
        (set.open.len() + set.spares.len() + ready) as u64 * u64::from(self.octets)
    }

    /// Octets of segments, without spares.
    pub(crate) fn octets_in_use(&self) -> u64 {
        self.set.lock().open.len() as u64 * u64::from(self.octets)
    }

    /// The next segment, a part of the log from now on: its header and its name are durable when this returns. At once when
    /// it is ready.
    pub(crate) fn begin(&self) -> io::Result<(u32, Arc<dyn StoreFile>)> {
        let _one = self.beginning.lock();
        let ready = self.set.lock().ready.take();
        let (number, file) = match ready {
            Some(ready) => ready,
            None => self.make()?,
        };
        self.set.lock().open.insert(number, Arc::clone(&file));
        Ok((number, file))
    }

    fn make(&self) -> io::Result<(u32, Arc<dyn StoreFile>)> {
        let (number, spare) = {
            let mut set = self.set.lock();
            let number = set.next;
            // A number that was tried is not used again, whatever came of it.
            set.next = number.checked_add(1).ok_or(io::ErrorKind::StorageFull)?;
            (number, set.spares.pop())
        };
        let path = match spare {
            Some(path) => path,
            None => self.make_spare(false)?,
        };
        let file = self.store.open(&path)?;
        file.uncache();
        let header = SegmentHeader {
            number,
            spool_id: self.spool_id,
            octets: self.octets,
        };
        // A whole page: a part of one would have to be read first.
        let mut page = [0; 4096];
        page[..HEADER_OCTETS].copy_from_slice(&header.encode());
        write_all(&*file, &mut [IoSlice::new(&page)], 0)?;
        file.sync()?;
        fault::point("segment.before_rename");
        self.store.rename(&path, &self.path(number))?;
        self.store.sync_dir(&self.dir)?;
        fault::point("segment.begun");
        Ok((number, file))
    }

    /// Makes a spare if there is none. Slow: not for the committer.
    pub(crate) fn prepare_spare(&self) -> io::Result<()> {
        if self.set.lock().spares.is_empty() {
            let path = self.make_spare(true)?;
            self.set.lock().spares.push(path);
        }
        Ok(())
    }

    /// Makes the next segment ready. Slow when there is no spare: not for the committer.
    pub(crate) fn prepare_next(&self) -> io::Result<()> {
        self.prepare_spare()?;
        let _one = self.beginning.lock();
        if self.set.lock().ready.is_none() {
            let ready = self.make()?;
            self.set.lock().ready = Some(ready);
        }
        Ok(())
    }

    /// Makes a spare of the segment that was ready and is not needed: the next start need not read it.
    pub(crate) fn put_back(&self) -> io::Result<()> {
        let Some((number, _)) = self.set.lock().ready.take() else {
            return Ok(());
        };
        // The next start may use the number: the name must not be that of a segment's later life.
        let spare = self
            .dir
            .join(format!("spare-{:016x}", rand::random::<u64>()));
        self.store.rename(&self.path(number), &spare)?;
        self.store.sync_dir(&self.dir)
    }

    /// A new spare; see `spare::make`.
    fn make_spare(&self, written: bool) -> io::Result<PathBuf> {
        let made = {
            let mut set = self.set.lock();
            set.made += 1;
            set.made
        };
        let pid = std::process::id();
        let path = self.dir.join(format!("spare-{pid}-{made}"));
        spare::make(&*self.store, &path, self.octets, written)?;
        Ok(path)
    }

    /// Whether an index that is current up to `segment` knows all that was given back.
    pub(crate) fn trusts(&self, segment: u32) -> bool {
        segment >= self.set.lock().vouched
    }

    /// Takes a segment out of the log, on the word of an index that is current up to segment `vouched`: it becomes a spare
    /// when one is wanted and nobody reads it, else it is removed.
    pub(crate) fn retire(&self, number: u32, vouched: u32) -> io::Result<()> {
        let before = self.set.lock().vouched;
        if vouched > before {
            vouch(&*self.store, &self.dir, vouched, before)?;
            self.set.lock().vouched = vouched;
            fault::point("retire.vouched");
        }
        let (file, wanted) = {
            let mut set = self.set.lock();
            let Some(file) = set.open.remove(&number) else {
                return Ok(());
            };
            (file, set.spares.len() < SPARES_MAX)
        };
        let gone = self.give_away(number, &file, wanted);
        if gone.is_err() {
            // Its name may be there still, and with it all that is in it: whatever that needs must be kept.
            self.set.lock().open.insert(number, file);
        }
        gone
    }

    fn give_away(&self, number: u32, file: &Arc<dyn StoreFile>, wanted: bool) -> io::Result<()> {
        let path = self.path(number);
        let whole = file.octets().is_ok_and(|n| n == u64::from(self.octets));
        // Readers hold the file; under its new name it would be overwritten beneath them.
        if wanted && whole && Arc::strong_count(file) == 1 {
            let spare = self.dir.join(format!("spare-{number}"));
            self.store.rename(&path, &spare)?;
            fault::point("retire.before_dir_sync");
            self.store.sync_dir(&self.dir)?;
            self.set.lock().spares.push(spare);
            return Ok(());
        }
        self.store.remove(&path)?;
        self.store.sync_dir(&self.dir)
    }
}

/// A format later than ours stops everything: nothing is touched.
fn newest_format(found: &[Found]) -> Result<(), StartError> {
    let newer = found.iter().find_map(|found| match found.header {
        HeaderRead::Newer(version) => Some((found.path.clone(), version)),
        _ => None,
    });
    newer.map_or(Ok(()), |(file, found)| {
        Err(StartError::NewerVersion {
            file,
            found,
            known: VERSION,
        })
    })
}

/// The spool's id: as it stands in its file, else as most segments say, else a new one.
fn name_spool(store: &dyn Store, log: &Path, found: &[Found]) -> Result<u128, StartError> {
    let dir = log.parent().unwrap_or(log);
    let file = store.open(&dir.join(ID_FILE)).ok();
    let named = file.and_then(|file| read_id(&*file));
    let id = owner(named, found).unwrap_or_else(rand::random);
    if named.is_none() {
        write_id(store, dir, id).map_err(|source| StartError::Io {
            what: "write the file `id` in",
            path: dir.to_owned(),
            source,
        })?;
    }
    Ok(id)
}

/// The number under which a file can be read, if it can, and what is wrong with it.
fn fit(
    found: Found,
    file: &Arc<dyn StoreFile>,
    spool_id: u128,
) -> io::Result<(Option<u32>, Option<Trouble>)> {
    match (found.misfit(spool_id), found.number) {
        (None, Some(number)) if found.is_short() => {
            let scan = SegmentBytes::of_file(&**file, number)?.items(0);
            if scan.ended {
                return Ok((Some(number), None));
            }
            write_end(&**file, number, scan.end)?;
            Ok((Some(number), Some(Trouble::Short(number, scan.end))))
        }
        (Some(Misfit::Header), Some(number)) => {
            // A record names its own place: one is proof enough of the number.
            let scan = SegmentBytes::of_file(&**file, number)?.items(0);
            if scan.items.is_empty() {
                return Ok((None, Some(Trouble::Misfit(found.path, Misfit::Header))));
            }
            let header = SegmentHeader {
                number,
                spool_id,
                octets: 0,
            };
            write_all(&**file, &mut [IoSlice::new(&header.encode())], 0)?;
            file.sync()?;
            Ok((Some(number), Some(Trouble::Repaired(number, found.bytes))))
        }
        (None, number) => Ok((number, None)),
        (Some(misfit), _) => Ok((None, Some(Trouble::Misfit(found.path, misfit)))),
    }
}

const SPARES_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;

    fn open(dir: &Path) -> Result<(Segments, Vec<Trouble>), StartError> {
        Segments::open(Arc::new(Disk), dir.join("log"), 64 << 10)
    }

    #[test]
    fn a_newer_version_is_refused_and_a_damaged_header_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (segments, _) = open(dir.path()).unwrap();
        let (number, file) = segments.begin().unwrap();
        let mut header = SegmentHeader {
            number,
            spool_id: segments.spool_id,
            octets: 64 << 10,
        }
        .encode();
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
        assert!(
            matches!(&damaged[..], [Trouble::Misfit(path, Misfit::Header)] if *path == segments.path(number)),
            "{damaged:?}"
        );
        assert_eq!(again.begin().unwrap().0, number + 1);
    }

    #[test]
    fn a_retired_segment_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let (segments, _) = open(dir.path()).unwrap();
        let (first, file) = segments.begin().unwrap();
        drop(file);
        segments.retire(first, 1).unwrap();
        assert!(segments.numbers().is_empty());
        assert_eq!(segments.octets_used(), 64 << 10);
        let (second, _) = segments.begin().unwrap();
        assert_eq!((second, segments.octets_used()), (first + 1, 64 << 10));
    }
}
