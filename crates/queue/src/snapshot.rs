//! A copy of a spool while a relay works on it: the log as it stood at one moment. Mail is not stopped, and the relay need not
//! know.
//!
//! A segment behind the last two is never written again; it only goes, once what lives in it was written anew further on. So
//! all are copied, the end of the log last, and if none has gone meanwhile the copy is a prefix of the log with everything that
//! the prefix needs. If one has gone, the copy is brought up to date: that is short, because only the end is read again.
//!
//! The index is not copied: the start of the copy makes it from the log. It does *not* hold the lock, and changes nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::completed;
use crate::log::header::{ID_FILE, file_name, number_of};
use crate::log::recovery::SegmentBytes;
use crate::settings::StartError;
use crate::store::{Disk, PRIVATE_FILE, Store};
use crate::tokens;
use crate::verify::Progress;
use crate::verify::survey::Survey;

/// What was copied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snapshot {
    /// Segments of the log.
    pub segments: u64,
    /// Octets of all files.
    pub octets: u64,
}

/// Copies the spool in `dir` to the folder `to`, which is not there yet or empty. The copy is durable when this returns, and
/// has its name only then: until then it is `TO.partial`.
///
/// # Errors
/// When a later Onward wrote the spool, a file cannot be read or written, or the log changes faster than it can be read.
pub fn snapshot(dir: &Path, to: &Path, progress: Progress<'_>) -> Result<Snapshot, StartError> {
    refuse_later(dir)?;
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Io { what, path, source }
    };
    // Without a slash at its end.
    let to: &Path = &to.components().collect::<PathBuf>();
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let (from, log) = (dir.join("log"), partial.join("log"));
    if Disk.list(to).is_ok_and(|found| !found.is_empty()) {
        return Err(io("write to", to)(ErrorKind::DirectoryNotEmpty.into()));
    }
    Disk.create_dir(&partial).map_err(io("make", &partial))?;
    // It fails on what another run has left, or is at.
    fs::create_dir(&log).map_err(io("make", &log))?;
    copy_log(&from, &log, progress).map_err(io("copy", &from))?;
    let copied = copy_rest(dir, &partial).and_then(|()| sizes(&partial));
    let copied = copied.map_err(io("copy the spool to", &partial))?;
    let named = fs::rename(&partial, to).and_then(|()| Disk.sync_dir(&to.join("..")));
    named.map_err(io("make", to))?;
    Ok(copied)
}

/// Refuses what a later Onward wrote. A segment may go while it is looked at; then it is looked again.
fn refuse_later(dir: &Path) -> Result<(), StartError> {
    let has_gone = |error: &StartError| matches!(error, StartError::Io { source, .. } if source.kind() == ErrorKind::NotFound);
    for _ in 0..ROUNDS_MAX {
        match Survey::begin(dir) {
            Err(error) if has_gone(&error) => {}
            begun => return begun.map(drop),
        }
    }
    Survey::begin(dir).map(drop)
}

/// Copies segments until none has gone while the last of them were read.
fn copy_log(from: &Path, to: &Path, progress: Progress<'_>) -> io::Result<()> {
    let mut whole = BTreeMap::new();
    for _ in 0..ROUNDS_MAX {
        match copy_round(from, to, &mut whole, progress) {
            Ok(true) => return Disk.sync_dir(to),
            Ok(false) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    let text = "the log changes faster than it can be read";
    Err(io::Error::new(ErrorKind::ResourceBusy, text))
}

/// Copies what is not in `whole` yet; says whether the copy is one of a single moment.
fn copy_round(
    from: &Path,
    to: &Path,
    whole: &mut BTreeMap<u32, u64>,
    progress: Progress<'_>,
) -> io::Result<bool> {
    let listed = segments(from)?;
    for (number, _) in segments(to)? {
        if !listed.contains_key(&number) {
            whole.remove(&number);
            fs::remove_file(to.join(file_name(number)))?;
        }
    }
    let open = listed.len().saturating_sub(OPEN);
    for (done, (number, inode)) in listed.iter().take(open).enumerate() {
        progress(done as u64, listed.len() as u64);
        if !whole.contains_key(number) {
            let name = file_name(*number);
            copy(&from.join(&name), &to.join(&name))?;
            whole.insert(*number, *inode);
        }
    }
    copy_end(from, to, listed.keys().skip(open).rev().copied())?;
    progress(1, 1);
    let now = segments(from)?;
    Ok(listed
        .iter()
        .all(|(number, inode)| now.get(number) == Some(inode)))
}

/// Copies the segments that may be written to, the last first: when it holds a record, the one before it is whole.
fn copy_end(from: &Path, to: &Path, numbers: impl Iterator<Item = u32>) -> io::Result<()> {
    let mut is_end = true;
    for number in numbers {
        let file = File::open(from.join(file_name(number)))?;
        // Twice: what is written while it is read may look torn, with whole records behind it. Those were there before the
        // second reading began, and so was all before them.
        let scan = SegmentBytes::of_file(&file, number)?.items(0);
        let bytes = SegmentBytes::of_file(&file, number)?;
        let end = match is_end && !scan.ended {
            true => scan.end as usize,
            false => bytes.len(),
        };
        is_end &= scan.items.is_empty() && !scan.ended;
        let mut copy = create(&to.join(file_name(number)))?;
        copy.write_all(bytes.slice(0..end))?;
        // Zeros up to its size: a shorter one would be called cut.
        copy.set_len(bytes.len() as u64)?;
        copy.sync_all()?;
    }
    Ok(())
}

/// Token files, the spool's id, the notebook of ends (what has ended meanwhile is not delivered again), and what the relay keeps
/// beside: mail that is frozen or paused must not go because its copy was started.
fn copy_rest(from: &Path, to: &Path) -> io::Result<()> {
    let tokens = to.join(tokens::FOLDER);
    Disk.create_dir(&tokens)?;
    let listed = match Disk.list(&from.join(tokens::FOLDER)) {
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    let names = listed
        .iter()
        .filter_map(|path| path.strip_prefix(from).ok());
    let beside = ["freezes", "sites", ID_FILE, completed::FILE];
    for name in names.chain(beside.map(Path::new)) {
        match copy(&from.join(name), &to.join(name)) {
            // Expired meanwhile, or never written.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            copied => copied?,
        }
    }
    Disk.sync_dir(&tokens)?;
    Disk.sync_dir(to)
}

/// The segments in a folder, each with its inode: the file of one that goes is used again under another name.
fn segments(log: &Path) -> io::Result<BTreeMap<u32, u64>> {
    let listed = Disk.list(log)?.into_iter();
    let numbered = listed.filter_map(|path| Some((number_of(&path)?, path)));
    numbered
        .map(|(number, path)| Ok((number, fs::metadata(path)?.ino())))
        .collect()
}

fn sizes(copy: &Path) -> io::Result<Snapshot> {
    let mut sizes = Snapshot::default();
    for folder in [copy, &copy.join("log"), &copy.join(tokens::FOLDER)] {
        for path in Disk.list(folder)? {
            let file = fs::metadata(&path)?;
            sizes.segments += u64::from(number_of(&path).is_some());
            sizes.octets += if file.is_file() { file.len() } else { 0 };
        }
    }
    Ok(sizes)
}

/// Copies a file, durably.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut to = create(to)?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(true);
    options.mode(PRIVATE_FILE).open(path)
}

/// The segment that is written to, and the next one, which may be ready.
const OPEN: usize = 2;
/// A busy relay gives a segment back now and then; the end of the log is read within a fraction of a second.
const ROUNDS_MAX: usize = 100;
