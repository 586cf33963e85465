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
