//! A store in memory that remembers its history: what was written, synced, named, in order.
//!
//! Contents are shared until they are written to, so that a store can be made of an image at no cost. Only what lies
//! below `index` and `index-b` is real too: sled opens its own files. Of those a copy is taken whenever the engine syncs them.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use queue::store::{Disk, Free, Store, StoreFile};

/// What was done to the store. Files are numbered as they were made; names are below the root.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Create(PathBuf, usize),
    Write {
        file: usize,
        at: usize,
        bytes: Arc<[u8]>,
    },
    /// Grown with zeros.
    Grow(usize, usize),
    Sync(usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// All names in this folder are fixed.
    SyncDir(PathBuf),
    /// sled has handed its files in this folder to the system, and they are this copy; but they are not synced.
    IndexWritten(Folder, usize),
    IndexSynced(Folder, usize),
    IndexRemoved(Folder),
}

/// A folder in which an index may be: a place in [`FOLDERS`].
pub(crate) type Folder = usize;
pub(crate) const FOLDERS: [&str; 2] = ["index", "index-b"];

/// The files of an index: names below the root, contents.
pub(crate) type IndexCopy = Arc<Vec<(PathBuf, Vec<u8>)>>;
/// Names and contents.
pub(crate) type Image = BTreeMap<PathBuf, Arc<Vec<u8>>>;

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    pub(crate) indexes: Vec<IndexCopy>,
}

#[derive(Debug, Clone)]
pub(crate) struct Memory {
    root: PathBuf,
    inner: Arc<Mutex<Inner>>,
    /// How long a sync takes: batches gather meanwhile.
    sync_takes: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<PathBuf, usize>,
    files: Vec<Arc<Vec<u8>>>,
    history: Option<History>,
}

#[derive(Debug)]
struct MemoryFile(Memory, usize);

/// sled's own file, for its sync.
#[derive(Debug)]
struct IndexFile(Memory, (Folder, usize), Arc<dyn StoreFile>);

impl Memory {
    /// A store for the spool in `root`, holding `image`.
    pub(crate) fn new(root: &Path, image: &Image, recorded: bool, sync_takes: Duration) -> Self {
        let names = image.keys().cloned().zip(0..).collect();
        Self {
            root: root.to_owned(),
            inner: Arc::new(Mutex::new(Inner {
                names,
                files: image.values().cloned().collect(),
                history: recorded.then(History::default),
            })),
            sync_takes,
        }
    }

    /// Events so far: a moment.
    pub(crate) fn moment(&self) -> usize {
        let inner = self.inner.lock();
        inner.history.as_ref().map_or(0, |h| h.events.len())
    }

    pub(crate) fn take_history(&self) -> History {
        self.inner.lock().history.take().unwrap_or_default()
    }

    /// What a kill (not a power cut) would leave.
    pub(crate) fn image(&self) -> Image {
        let inner = self.inner.lock();
        let names = inner.names.iter();
        names
            .map(|(name, file)| (name.clone(), Arc::clone(&inner.files[*file])))
            .collect()
    }

    fn name(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    /// The index's folder that a path is in, or is.
    fn folder(&self, path: &Path) -> Option<Folder> {
        let name = self.name(path);
        FOLDERS.iter().position(|folder| name.starts_with(folder))
    }
}

impl Inner {
    fn note(&mut self, event: Event) {
        if let Some(history) = &mut self.history {
            history.events.push(event);
        }
    }

    fn file(&self, name: &Path) -> io::Result<usize> {
        let file = self.names.get(name).copied();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Store for Memory {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir == self.root || self.folder(dir).is_some() {
            std::fs::create_dir_all(dir)?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let dir = self.name(dir);
        let inner = self.inner.lock();
        let names = inner.names.keys();
        let below = names.filter(|name| name.parent() == Some(&dir));
        Ok(below.map(|name| self.root.join(name)).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        let name = self.name(path);
        if self.folder(path).is_some() {
            // Whether it is there is asked of the disk.
            std::fs::write(path, [])?;
        }
        let mut inner = self.inner.lock();
        if inner.names.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = inner.files.len();
        inner.files.push(Arc::default());
        inner.names.insert(name.clone(), file);
        inner.note(Event::Create(name, file));
        Ok(Arc::new(MemoryFile(self.clone(), file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        if let Some(folder) = self.folder(path) {
            let real = Disk.open(path)?;
            let mut inner = self.inner.lock();
            let mut copy = 0;
            if let Some(history) = &mut inner.history {
                copy = history.indexes.len();
                let dir = self.root.join(FOLDERS[folder]);
                let files = copy_index(&self.root, &dir)?;
                history.indexes.push(Arc::new(files));
                history.events.push(Event::IndexWritten(folder, copy));
            }
            return Ok(Arc::new(IndexFile(self.clone(), (folder, copy), real)));
        }
        let file = self.inner.lock().file(&self.name(path))?;
        Ok(Arc::new(MemoryFile(self.clone(), file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.name(from), self.name(to));
        let mut inner = self.inner.lock();
        let file = inner.file(&from)?;
        inner.names.remove(&from);
        inner.names.insert(to.clone(), file);
        inner.note(Event::Rename(from, to));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let name = self.name(path);
        if self.folder(path).is_some() {
            std::fs::remove_file(path)?;
        }
        let mut inner = self.inner.lock();
        inner.file(&name)?;
        inner.names.remove(&name);
        inner.note(Event::Remove(name));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let folder = self.folder(dir);
        let folder = folder.unwrap_or_else(|| panic!("{} is removed whole", dir.display()));
        let name = self.name(dir);
        let mut inner = self.inner.lock();
        inner.names.retain(|found, _| !found.starts_with(&name));
        inner.note(Event::IndexRemoved(folder));
        Disk.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let name = self.name(dir);
        self.inner.lock().note(Event::SyncDir(name));
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
        let slices = slices.iter().map(|slice| &**slice);
        let bytes = slices.collect::<Vec<&[u8]>>().concat();
        let at = offset as usize;
        let mut inner = self.0.inner.lock();
        let content = Arc::make_mut(&mut inner.files[self.1]);
        if content.len() < at + bytes.len() {
            content.resize(at + bytes.len(), 0);
        }
        content[at..at + bytes.len()].copy_from_slice(&bytes);
        let written = bytes.len();
        let file = self.1;
        let bytes = bytes.into();
        inner.note(Event::Write { file, at, bytes });
        Ok(written)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.0.inner.lock();
        let content = &inner.files[self.1];
        let rest = content.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        if !self.0.sync_takes.is_zero() {
            std::thread::park_timeout(self.0.sync_takes);
        }
        self.0.inner.lock().note(Event::Sync(self.1));
        Ok(())
    }

    fn reserve(&self, octets: u64) -> io::Result<()> {
        let mut inner = self.0.inner.lock();
        let content = Arc::make_mut(&mut inner.files[self.1]);
        content.resize((octets as usize).max(content.len()), 0);
        inner.note(Event::Grow(self.1, octets as usize));
        Ok(())
    }

    fn octets(&self) -> io::Result<u64> {
        Ok(self.0.inner.lock().files[self.1].len() as u64)
    }
}

impl StoreFile for IndexFile {
    fn write_vectored_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.2.read_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let (folder, copy) = self.1;
        self.0.inner.lock().note(Event::IndexSynced(folder, copy));
        Ok(())
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn octets(&self) -> io::Result<u64> {
        self.2.octets()
    }
}

fn copy_index(root: &Path, dir: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(copy_index(root, &path)?);
        } else if let Ok(bytes) = std::fs::read(&path) {
            // One that went meanwhile is none.
            if path.file_name().is_some_and(|name| name == "unfinished") {
                // No file of sled's: it is among the names.
                continue;
            }
            let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
            files.push((name, bytes));
        }
    }
    Ok(files)
}
