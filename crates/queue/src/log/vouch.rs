//! Up to which segment an index was believed when segments were given back: the file `vouch-NNNNNNNNNN` beside them.
//!
//! What is given back is known to the index alone. An index that is older than that (a copy that somebody put back, or
//! what sled could still read of a damaged one) speaks of mail that is long gone, and must be rebuilt: the file's
//! name tells it from a log that has lost segments. It is empty, and durable before the first segment goes.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::Store;

/// The newest of the files in a folder.
pub(crate) fn vouched(found: &[PathBuf]) -> u32 {
    found
        .iter()
        .filter_map(|path| number(path))
        .max()
        .unwrap_or(0)
}

/// Says durably that an index was believed that is current up to `segment`; the file that said less goes.
pub(crate) fn vouch(store: &dyn Store, dir: &Path, segment: u32, before: u32) -> io::Result<()> {
    match store.create(&path(dir, segment)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => store.sync_dir(dir)?,
    }
    if before > 0 {
        // Should it stay, it says less than the other.
        store.remove(&path(dir, before))?;
    }
    Ok(())
}

fn path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{PREFIX}{segment:010}"))
}

fn number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?.parse().ok()
}

const PREFIX: &str = "vouch-";
