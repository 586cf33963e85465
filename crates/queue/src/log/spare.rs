//! Spares: files of full size that will be segments, their space on the disk already.
//!
//! A commit's fdatasync has no metadata to write in a file that was written out before. It does *not* say which spares there
//! are: `segment` does.

use std::io::{self, IoSlice};
use std::path::Path;
use std::time::Instant;

use crate::store::{Store, StoreFile, write_all};

/// A file of full size: reserved, and written with zeros when there is time for it.
pub(super) fn make(store: &dyn Store, path: &Path, octets: u32, written: bool) -> io::Result<()> {
    let file = store.create(path)?;
    let filled = file.reserve(u64::from(octets)).and_then(|()| {
        if written {
            fill(&*file, octets)?;
        }
        file.sync()
    });
    if filled.is_err() {
        // Space is short: what was reserved must not lie about.
        let _ = store.remove(path);
    }
    filled
}

/// A piece at a time with pauses as long: commits are to have the disk meanwhile.
fn fill(file: &dyn StoreFile, octets: u32) -> io::Result<()> {
    let zeros = vec![0; FILL_OCTETS];
    let mut at = 0;
    while at < octets {
        let start = Instant::now();
        let some = FILL_OCTETS.min((octets - at) as usize);
        write_all(file, &mut [IoSlice::new(&zeros[..some])], u64::from(at))?;
        at += some as u32;
        if at < octets {
            file.sync()?;
            // Nobody wakes it: a pause.
            std::thread::park_timeout(start.elapsed());
        }
    }
    Ok(())
}

pub(super) fn is_spare(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("spare-"))
}

const FILL_OCTETS: usize = 1 << 20;
