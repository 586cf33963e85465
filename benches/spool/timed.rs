//! The real disk with a stop-watch: what the spool's threads do to it, and when.
//!
//! It answers where the time of the slowest commits goes. It times calls from outside, and changes nothing.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use queue::store::{Disk, Free, Store, StoreFile};

/// What a thread of the spool did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The committer's `pwritev`.
    Write,
    /// The committer's fdatasync.
    Sync,
    /// The committer ends a segment and begins another.
    Roll,
    /// Another thread writes or syncs: spares, notes of ends, the index.
    Beside,
}

/// From when to when.
pub(crate) type Span = (Deed, Instant, Instant);

/// A [`Disk`] that books spans.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timed(Arc<Book>);

#[derive(Debug, Default)]
struct Book {
    spans: Mutex<Vec<Span>>,
    /// The committer is between segments.
    rolling: AtomicBool,
    /// Octets that the committer wrote.
    written: std::sync::atomic::AtomicU64,
}

#[derive(Debug)]
struct TimedFile(Timed, Arc<dyn StoreFile>);

impl Timed {
    /// All spans so far, in the order of their ends.
    pub(crate) fn take(&self) -> Vec<Span> {
        let spans = self.0.spans.lock();
        spans
            .map(|mut spans| std::mem::take(&mut *spans))
            .unwrap_or_default()
    }

    /// Octets that the committer wrote since the last call.
    pub(crate) fn take_written(&self) -> u64 {
        self.0.written.swap(0, Ordering::Relaxed)
    }

    fn span<T>(&self, usual: Deed, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        let deed = match () {
            () if !is_committer() => Deed::Beside,
            () if self.0.rolling.load(Ordering::Relaxed) => Deed::Roll,
            () => usual,
        };
        if let Ok(mut spans) = self.0.spans.lock() {
            spans.push((deed, start, Instant::now()));
        }
        done
    }

    fn roll(&self, rolling: bool) {
        if is_committer() {
            self.0.rolling.store(rolling, Ordering::Relaxed);
        }
    }

    fn wrap(&self, file: Arc<dyn StoreFile>) -> Arc<dyn StoreFile> {
        Arc::new(TimedFile(self.clone(), file))
    }
}

fn is_committer() -> bool {
    std::thread::current().name() == Some("spool-log")
}

impl Store for Timed {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Disk.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        self.roll(true);
        self.span(Deed::Roll, || Disk.create(path))
            .map(|file| self.wrap(file))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        self.roll(true);
        self.span(Deed::Roll, || Disk.open(path))
            .map(|file| self.wrap(file))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.span(Deed::Roll, || Disk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.span(Deed::Roll, || Disk.remove(path))
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        Disk.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let synced = self.span(Deed::Roll, || Disk.sync_dir(dir));
        self.roll(false);
        synced
    }
    fn free(&self, dir: &Path) -> io::Result<Free> {
        Disk.free(dir)
    }
}

impl StoreFile for TimedFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let octets: usize = slices.iter().map(|slice| slice.len()).sum();
        // A header alone is the record that ends a segment; more than a page is a batch in the next.
        match octets {
            24 => self.0.roll(true),
            4097.. => self.0.roll(false),
            _ => {}
        }
        let written = self
            .0
            .span(Deed::Write, || self.1.write_vectored_at(slices, offset));
        if is_committer() {
            self.0.0.written.fetch_add(octets as u64, Ordering::Relaxed);
        }
        written
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.read_at(buffer, offset)
    }
    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.read_cached_at(buffer, offset)
    }
    fn will_read(&self, octets: std::ops::Range<u64>) {
        self.1.will_read(octets);
    }
    fn sync(&self) -> io::Result<()> {
        self.0.span(Deed::Sync, || self.1.sync())
    }
    fn reserve(&self, octets: u64) -> io::Result<()> {
        self.0.span(Deed::Roll, || self.1.reserve(octets))
    }
    fn octets(&self) -> io::Result<u64> {
        self.1.octets()
    }
    fn uncache(&self) {
        self.0.span(Deed::Roll, || self.1.uncache());
    }
}

/// What the committer did, on average, while each of these waited; and what others did to the disk meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    pub(crate) write: Duration,
    pub(crate) sync: Duration,
    pub(crate) roll: Duration,
    /// The committer did nothing to the disk: processors, locks, wake-ups.
    pub(crate) rest: Duration,
    /// Not in the sum: somebody else used the disk.
    pub(crate) beside: Duration,
}

impl Shares {
    /// Of waits, each from when to when.
    pub(crate) fn of(waits: &[(Instant, Instant)], spans: &[Span]) -> Self {
        let mut sums = Self::default();
        for &(from, to) in waits {
            let mut busy = Duration::ZERO;
            let begin = spans.partition_point(|(_, _, end)| *end < from);
            for (deed, start, end) in &spans[begin..] {
                // Spans are in the order of their ends, and none is longer than this.
                if *start > to + LONGEST {
                    break;
                }
                let both = (*end).min(to).saturating_duration_since((*start).max(from));
                match deed {
                    Deed::Write => sums.write += both,
                    Deed::Sync => sums.sync += both,
                    Deed::Roll => sums.roll += both,
                    Deed::Beside => sums.beside += both,
                }
                if *deed != Deed::Beside {
                    busy += both;
                }
            }
            sums.rest += (to - from).saturating_sub(busy);
        }
        let n = waits.len().max(1) as u32;
        Self {
            write: sums.write / n,
            sync: sums.sync / n,
            roll: sums.roll / n,
            rest: sums.rest / n,
            beside: sums.beside / n,
        }
    }
}

const LONGEST: Duration = Duration::from_secs(1);
