//! What the campaign does to a spool that is not open: copies it, and damages it as a disk that lies would.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::{fs, io};

/// Zeroes the last octets that were written to the newest segment; its header stays.
pub(super) fn wipe_end(log: &Path) -> io::Result<()> {
    let entries = fs::read_dir(log)?.filter_map(|entry| Some(entry.ok()?.path()));
    let segments = entries.filter(|path| path.extension().is_some_and(|suffix| suffix == "seg"));
    let Some(newest) = segments.max() else {
        return Ok(());
    };
    let octets = fs::read(&newest)?;
    let end = octets.iter().rposition(|&octet| octet != 0).unwrap_or(0) + 1;
    let start = end.saturating_sub(WIPED_OCTETS).max(HEADER_OCTETS);
    if start < end {
        let file = fs::File::options().write(true).open(&newest)?;
        file.write_all_at(&vec![0; end - start], start as u64)?;
    }
    Ok(())
}

/// Copies files and folders, nothing else.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            copy_written(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Leaves out what is zero: most of a segment that was killed early is only reserved.
fn copy_written(from: &Path, to: &Path) -> io::Result<()> {
    let (mut source, target) = (fs::File::open(from)?, fs::File::create(to)?);
    let mut block = vec![0; BLOCK_OCTETS];
    let mut at = 0;
    loop {
        let octets = source.read(&mut block)?;
        if octets == 0 {
            return target.set_len(at);
        }
        if block[..octets].iter().any(|&octet| octet != 0) {
            target.write_all_at(&block[..octets], at)?;
        }
        at += octets as u64;
    }
}

/// More than one batch, so that acknowledged mail is in it.
const WIPED_OCTETS: usize = 2 << 20;
/// Of a segment: see `spool/README.md`.
const HEADER_OCTETS: usize = 64;
const BLOCK_OCTETS: usize = 64 << 10;
