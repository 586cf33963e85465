//! Every access of the spool to files, behind one small trait: the one place that syncs.
//!
//! [`Disk`] is the real thing. Tests put a store in its place that records or fails (full disk, EIO, power cut).
//! sled opens its own files; only its fdatasync goes through here.
//!
//! It does *not* retry, and does not know what it writes.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

/// The operations on a folder tree.
pub trait Store: Send + Sync + Debug {
    /// Makes a folder of mode 0700, and its parents; fine when it is there. Its name is synced in its parent.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Keeps a folder and all in it from everybody else: folders 0700, files 0600. sled makes its own files, by the umask.
    fn keep_private(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    /// The files in a folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes a file that must not exist, mode 0600.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>>;
    /// Renames; durable only after [`Store::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; durable only after [`Store::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all in it; fine when it is not there.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// What is free on the filesystem.
    fn free(&self, dir: &Path) -> io::Result<Free>;
}

/// The operations on an open file.
pub trait StoreFile: Send + Sync + Debug {
    /// `pwritev`: may write less than asked.
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// `pread`: may read less than asked; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As [`StoreFile::read_at`] as long as nobody has to wait for the disk: else `WouldBlock`, here or after some octets.
    fn read_cached_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    /// Has the system begin to read these octets. Only a matter of speed.
    fn will_read(&self, _octets: Range<u64>) {}
    /// `fdatasync`: contents and length are durable when it returns `Ok`. After an error the file must not be trusted
    /// again: the page cache may call pages clean that never reached the disk.
    fn sync(&self) -> io::Result<()>;
    /// Reserves space, so that later writes within it cannot meet a full disk.
    fn reserve(&self, octets: u64) -> io::Result<()>;
    /// Octets in the file.
    fn octets(&self) -> io::Result<u64>;
    /// Lets the page cache go of what is synced. Only a matter of speed.
    ///
    /// What was written in large pieces lies in the cache in folios as large, and a small write into one makes all of it
    /// dirty: on Linux 6.18 every commit of 10 KiB into a zero-filled segment wrote about 1 MiB to the disk.
    fn uncache(&self) {}
}

/// What a filesystem has left for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Octets.
    pub bytes: u64,
    /// Inodes; `None` where the filesystem does not count them.
    pub inodes: Option<u64>,
}

/// The real file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Store for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().filter(|path| !path.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(parent)?;
        DirBuilder::new().mode(PRIVATE_DIR).create(dir)?;
        self.sync_dir(parent)
    }

    fn keep_private(&self, dir: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            // A file may go meanwhile, and a link is somebody else's business.
            let result = match entry.file_type()? {
                kind if kind.is_dir() => self.keep_private(&entry.path()),
                kind if kind.is_file() => chmod(&entry.path(), PRIVATE_FILE),
                _ => Ok(()),
            };
            match result {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        chmod(dir, PRIVATE_DIR)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .open(path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        Ok(Arc::new(
            OpenOptions::new().read(true).write(true).open(path)?,
        ))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free(&self, dir: &Path) -> io::Result<Free> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(Free {
            bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            inodes: (stat.f_files > 0).then_some(stat.f_favail),
        })
    }
}

impl StoreFile for File {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(self, slices, offset)?)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut buffers = [IoSliceMut::new(buffer)];
        let read = rustix::io::preadv2(self, &mut buffers, offset, ReadWriteFlags::NOWAIT);
        read.map_err(|e| match e {
            // Not every filesystem can tell: then as if the octets were not there.
            Errno::OPNOTSUPP | Errno::NOSYS => io::ErrorKind::WouldBlock.into(),
            e => e.into(),
        })
    }

    fn will_read(&self, octets: Range<u64>) {
        let len = octets.end.saturating_sub(octets.start);
        if let Some(len) = NonZeroU64::new(len) {
            // Advice may be refused, and then nothing is lost but speed.
            let _ = rustix::fs::fadvise(self, octets.start, Some(len), Advice::WillNeed);
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn reserve(&self, octets: u64) -> io::Result<()> {
        rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, octets)?;
        Ok(())
    }

    fn octets(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn uncache(&self) {
        // Advice may be refused, and then nothing is lost but speed.
        let _ = rustix::fs::fadvise(self, 0, None, Advice::DontNeed);
    }
}

/// Sets a mode, where it is another.
fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    let found = path.metadata()?.permissions();
    match found.mode() & 0o7777 == mode {
        true => Ok(()),
        false => std::fs::set_permissions(path, Permissions::from_mode(mode)),
    }
}

/// Writes all slices from `offset` on, however many calls that takes.
pub(crate) fn write_all(
    file: &dyn StoreFile,
    mut slices: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let some = &slices[..slices.len().min(SLICES_MAX)];
        match file.write_vectored_at(some, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                offset += n as u64;
                IoSlice::advance_slices(&mut slices, n);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; says how much.
pub(crate) fn read_full(file: &dyn StoreFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Linux takes at most 1024 slices in one `pwritev`.
const SLICES_MAX: usize = 1024;
/// Senders, private targets and mail are in a spool: its owner alone reads it.
pub(crate) const PRIVATE_DIR: u32 = 0o700;
pub(crate) const PRIVATE_FILE: u32 = 0o600;
