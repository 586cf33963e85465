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
        let kept = self.store.create_dir(&self.dir).and_then(|()| {
            let file = self.store.create(&path)?;
            write_all(&*file, &mut [IoSlice::new(bytes)], 0)?;
            file.sync()?;
            self.store.sync_dir(&self.dir)
        });
        if let Err(e) = kept {
            tracing::error!(path = %path.display(), error = %e, "cannot write to the quarantine");
        }
    }

    /// Moves a whole file here.
    pub(crate) fn file(&self, path: &Path) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let to = self.dir.join(path.file_name().unwrap_or_default());
        tracing::error!(path = %path.display(), kept = %to.display(), "spool file with a damaged header");
        let moved = self
            .store
            .create_dir(&self.dir)
            .and_then(|()| self.store.rename(path, &to))
            .and_then(|()| self.store.sync_dir(&self.dir));
        if let Err(e) = moved {
            tracing::error!(path = %path.display(), error = %e, "cannot move to the quarantine");
        }
    }
}
