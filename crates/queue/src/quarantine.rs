//! The quarantine: what is damaged is set aside and named, never dropped in silence.
//!
//! Each piece becomes a file in `spool/quarantine/`, one error line in the log, and one more in a counter. A piece that
//! is there already (a second start over the same damage) is not counted again.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::{Store, write_all};

/// Where damaged pieces go.
#[derive(Debug)]
pub(crate) struct Quarantine {
    store: Arc<dyn Store>,
    dir: PathBuf,
    count: AtomicU64,
}

impl Quarantine {
    pub(crate) fn new(store: Arc<dyn Store>, dir: PathBuf) -> Self {
        Self {
            store,
            dir,
            count: AtomicU64::new(0),
        }
    }

    /// Pieces set aside since the start.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts what an earlier start has set aside.
    pub(crate) fn count_more(&self, pieces: u64) {
        self.count.fetch_add(pieces, Ordering::Relaxed);
    }

    /// Sets octets `at` of a segment aside.
    pub(crate) fn piece(&self, segment: u32, at: usize, bytes: &[u8], what: &str) {
        let path = self.dir.join(format!("{segment:010}-{at:010}.bin"));
        if path.exists() {
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(segment, at, octets = bytes.len(), what, kept = %path.display(), "damaged spool record");
        self.write(&path, bytes);
    }

    /// Notes that a segment, or the rest of it from `at` on, is gone. There is nothing to keep but the words.
    pub(crate) fn gone(&self, segment: u32, at: Option<u32>) {
        let what = match at {
            None => "log segment is missing",
            Some(_) => "log segment is cut short",
        };
        let path = self.dir.join(format!("{segment:010}.missing"));
        if path.exists() {
            return;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(segment, at, what, noted = %path.display(), "spool is damaged");
        self.write(
            &path,
            format!("{what}, from {}\n", at.unwrap_or(0)).as_bytes(),
        );
    }

    /// Keeps the tail of a segment that was cut off as an unfinished write. That is what a crash leaves, and nobody was told
    /// that it was taken: no damage, unless there was no crash.
    pub(crate) fn tail(&self, segment: u32, at: u32, bytes: &[u8]) {
        let path = self.dir.join(format!("{segment:010}-{at:010}.tail"));
        if path.exists() {
            return;
        }
        tracing::warn!(segment, at, octets = bytes.len(), kept = %path.display(), "unfinished write at the end of the spool log is cut off");
        self.write(&path, bytes);
        self.bound_tails(TAILS_MAX, TAIL_OCTETS_MAX);
    }

    /// Removes the oldest tails, which are no damage; the newest stays whatever its size.
    fn bound_tails(&self, files_max: usize, octets_max: u64) {
        let mut tails = self.store.list(&self.dir).unwrap_or_default();
        tails.retain(|path| path.extension().is_some_and(|suffix| suffix == "tail"));
        // They are named by their place in the log, and places grow.
        tails.sort_unstable();
        let mut octets = 0;
        for (n, path) in tails.iter().rev().enumerate() {
            let file = self.store.open(path);
            octets += file.and_then(|file| file.octets()).unwrap_or(0);
            if n > 0
                && (n >= files_max || octets > octets_max)
                && let Err(e) = self.store.remove(path)
            {
                tracing::warn!(path = %path.display(), error = %e, "cannot remove from the quarantine");
            }
        }
    }

    /// Moves a whole file here.
    pub(crate) fn file(&self, path: &Path, what: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What was set aside earlier under this name stays.
        let names = (0..).map(|n| match n {
            0 => self.dir.join(&*name),
            n => self.dir.join(format!("{name}.{n}")),
        });
        let free = |to: &PathBuf| !to.exists();
        let to = names
            .take(COPIES_MAX)
            .find(free)
            .unwrap_or_else(|| self.dir.join(&*name));
        tracing::error!(path = %path.display(), kept = %to.display(), what, "damaged spool file");
        let moved = self
            .store
            .create_dir(&self.dir)
            .and_then(|()| self.store.rename(path, &to))
            .and_then(|()| self.store.sync_dir(&self.dir));
        if let Err(e) = moved {
            tracing::error!(path = %path.display(), error = %e, "cannot move to the quarantine");
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) {
        let kept = self.store.create_dir(&self.dir).and_then(|()| {
            let file = self.store.create(path)?;
            write_all(&*file, &mut [IoSlice::new(bytes)], 0)?;
            file.sync()?;
            self.store.sync_dir(&self.dir)
        });
        if let Err(e) = kept {
            tracing::error!(path = %path.display(), error = %e, "cannot write to the quarantine");
        }
    }
}

/// What pieces are said to suffer from.
pub(crate) const BAD_CHECKSUM: &str = "bad checksum";
pub(crate) const DAMAGED_BODY: &str = "bad checksum of the body";
pub(crate) const DAMAGED_HEADER: &str = "damaged record header";
const COPIES_MAX: usize = 1000;
/// Tails that are kept, and their octets in all.
const TAILS_MAX: usize = 100;
const TAIL_OCTETS_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;

    #[track_caller]
    fn check(sizes: &[usize], files_max: usize, octets_max: u64, kept: &[u32]) {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::new(Arc::new(Disk), dir.path().join("quarantine"));
        quarantine.piece(1, 64, b"damage", BAD_CHECKSUM);
        for (n, size) in (1..).zip(sizes) {
            quarantine.tail(n, 64, &vec![b'x'; *size]);
        }
        quarantine.bound_tails(files_max, octets_max);
        let mut left = Disk.list(&quarantine.dir).unwrap();
        left.retain(|path| path.extension().is_some_and(|suffix| suffix == "tail"));
        left.sort_unstable();
        let name = |n: &u32| quarantine.dir.join(format!("{n:010}-0000000064.tail"));
        assert_eq!(left, kept.iter().map(name).collect::<Vec<_>>());
        assert!(quarantine.dir.join("0000000001-0000000064.bin").exists());
    }

    #[test]
    fn tails_are_bounded_and_damage_is_not() {
        check(&[10, 20, 30], 3, 100, &[1, 2, 3]);
        check(&[10, 20, 30], 2, 100, &[2, 3]);
        check(&[10, 20, 30], 3, 50, &[2, 3]);
        check(&[10, 20, 30], 0, 5, &[3]);
        check(&[1; 103], 1000, 5000, &(4..=103).collect::<Vec<_>>());
    }
}
