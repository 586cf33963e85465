//! A disk in memory, for the spool's log. Nothing fails on it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use queue::store::{Free, Store, StoreFile};

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>);

#[derive(Debug)]
pub(crate) struct MemoryFile(Mutex<Vec<u8>>);

impl Memory {
    pub(crate) fn put(&self, path: PathBuf, bytes: Vec<u8>) {
        let file = Arc::new(MemoryFile::new(bytes));
        self.with(|files| files.insert(path, file));
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<PathBuf, Arc<MemoryFile>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MemoryFile {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for Memory {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let is_in = |path: &&PathBuf| path.parent() == Some(dir);
        Ok(self.with(|files| files.keys().filter(is_in).cloned().collect()))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        self.put(path.to_owned(), Vec::new());
        self.open(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        let file = self.with(|files| files.get(path).cloned());
        Ok(file.ok_or(io::ErrorKind::NotFound)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|files| {
            let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|files| files.remove(path));
        Ok(())
    }

    /// The index alone is a real folder: sled opens its own files.
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free(&self, _: &Path) -> io::Result<Free> {
        Ok(Free {
            bytes: u64::MAX,
            inodes: None,
        })
    }
}

impl StoreFile for MemoryFile {
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.with(|bytes| {
            // Files here stay below what memory holds.
            let mut at = offset as usize;
            for slice in slices {
                let end = at + slice.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[at..end].copy_from_slice(slice);
                at = end;
            }
            Ok(at - offset as usize)
        })
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|bytes| {
            let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..));
            let rest = rest.unwrap_or_default();
            let octets = rest.len().min(buffer.len());
            buffer[..octets].copy_from_slice(&rest[..octets]);
            Ok(octets)
        })
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&self, octets: u64) -> io::Result<()> {
        self.with(|bytes| bytes.resize(bytes.len().max(octets as usize), 0));
        Ok(())
    }

    fn octets(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.len() as u64))
    }
}
