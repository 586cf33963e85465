//! What a power cut leaves: states of the disk that a history allows at a moment.
//!
//! After a sync a file's contents are fixed; what was written since is there or not, sector by sector or block by block,
//! in any order, or torn. A directory is fixed by its sync; each creation, rename and removal since is there or
//! not (a rename is atomic). sled's files are in any state at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::luck::Luck;
use crate::memory::{Event, FOLDERS, Folder, History, Image, IndexCopy};

/// The disk at a moment: what is fixed, and what is not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Platter {
    names: Vec<(PathBuf, usize)>,
    unsynced_names: Vec<Event>,
    files: Vec<Content>,
    indexes: [Index; FOLDERS.len()],
}

/// What may be in one of the index's folders.
#[derive(Debug, Clone, Default)]
struct Index {
    /// As last synced, and as last handed to the system.
    synced: Option<usize>,
    written: Option<usize>,
    /// All that was ever synced here.
    copies: Vec<usize>,
    /// Removed, but nobody has synced that: as it was.
    removed: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    synced: Arc<Vec<u8>>,
    unsynced: Vec<Event>,
}

/// How unsynced writes fare.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    /// The first so many of them, the next torn at a sector.
    Torn,
    /// Each sector for itself.
    Scattered(usize),
}

/// What becomes of sled's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IndexFate {
    Synced,
    /// It was removed, and is there again.
    Back,
    Missing,
    Older,
    Mixed,
    Cut,
    Rubbish,
    Empty,
}

/// A state after a power cut.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) image: Image,
    pub(crate) index: Vec<(PathBuf, Vec<u8>)>,
    /// For the text of a failure.
    pub(crate) how: String,
}

impl Platter {
    /// A disk that holds an image, all of it synced.
    pub(crate) fn of(image: &Image) -> Self {
        let content = |bytes: &Arc<Vec<u8>>| Content {
            synced: Arc::clone(bytes),
            unsynced: Vec::new(),
        };
        Self {
            names: image.keys().cloned().zip(0..).collect(),
            files: image.values().map(content).collect(),
            ..Self::default()
        }
    }

    /// What is done to the disk.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Create(_, file) => {
                self.files.resize(*file + 1, Content::default());
                self.unsynced_names.push(event.clone());
            }
            Event::Write { file, .. } | Event::Grow(file, _) => {
                self.files[*file].unsynced.push(event.clone());
            }
            Event::Sync(file) => {
                let content = &mut self.files[*file];
                for event in std::mem::take(&mut content.unsynced) {
                    write(Arc::make_mut(&mut content.synced), &event);
                }
            }
            Event::Rename(..) | Event::Remove(..) => self.unsynced_names.push(event.clone()),
            Event::SyncDir(dir) => {
                for event in std::mem::take(&mut self.unsynced_names) {
                    if folder_of(&event) == dir {
                        let all = self.names.clone();
                        change_name(&mut self.names, &all, &event);
                    } else {
                        self.unsynced_names.push(event);
                    }
                }
            }
            Event::IndexWritten(folder, copy) => self.indexes[*folder].written = Some(*copy),
            Event::IndexSynced(folder, copy) => {
                let index = &mut self.indexes[*folder];
                index.synced = Some(*copy);
                index.copies.push(*copy);
            }
            Event::IndexRemoved(folder) => self.remove_index(*folder),
        }
    }

    fn remove_index(&mut self, folder: Folder) {
        let index = &mut self.indexes[folder];
        let removed = index.synced.or(index.removed);
        *index = Index {
            removed,
            copies: std::mem::take(&mut index.copies),
            ..Index::default()
        };
        let name = Path::new(FOLDERS[folder]);
        self.names.retain(|(found, _)| !found.starts_with(name));
        self.unsynced_names.retain(|event| folder_of(event) != name);
    }

    /// Whether a power cut now would lose anything. The notebook of ends always would.
    pub(crate) fn is_unsettled(&self) -> bool {
        let named = self.names.iter().map(|(name, file)| (name, *file));
        let coming = self.unsynced_names.iter().filter_map(|event| match event {
            Event::Create(name, file) => Some((name, *file)),
            _ => None,
        });
        let is_ends = |name: &PathBuf| name.as_os_str() == "ends";
        let ends = named.chain(coming).find(|(name, _)| is_ends(name));
        let ends = ends.map(|(_, file)| file);
        let files = self.files.iter().enumerate();
        let unsynced = |(n, file): (usize, &Content)| ends != Some(n) && !file.unsynced.is_empty();
        !self.unsynced_names.is_empty() || files.into_iter().any(unsynced)
    }

    /// One of the states that a power cut now can leave.
    pub(crate) fn cut(&self, history: &History, luck: &mut Luck) -> State {
        let fate = match luck.below(10) {
            0 | 1 => Fate::Lost,
            2 => Fate::Kept,
            3..=5 => Fate::Torn,
            6..=8 => Fate::Scattered(512),
            _ => Fate::Scattered(4096),
        };
        let mut names = self.names.clone();
        let mut all = self.names.clone();
        for event in &self.unsynced_names {
            let kept = match fate {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Torn | Fate::Scattered(_) => luck.chance(50),
            };
            if kept {
                change_name(&mut names, &all, event);
            }
            let before = all.clone();
            change_name(&mut all, &before, event);
        }
        let image = names
            .into_iter()
            .map(|(name, file)| (name, self.files[file].after(fate, luck)))
            .collect();
        let mut how = format!("writes {fate:?}");
        let mut index = Vec::new();
        for (folder, found) in FOLDERS.iter().zip(&self.indexes) {
            let (files, fate) = found.after(history, luck);
            index.extend(files);
            how.push_str(&format!(", {folder} {fate:?}"));
        }
        State { image, index, how }
    }
}

impl Index {
    fn after(&self, history: &History, luck: &mut Luck) -> (Vec<(PathBuf, Vec<u8>)>, IndexFate) {
        let fate = match luck.below(20) {
            0..=7 => IndexFate::Synced,
            8..=13 => IndexFate::Missing,
            14 | 15 => IndexFate::Older,
            16 | 17 => IndexFate::Mixed,
            18 => IndexFate::Cut,
            _ if luck.chance(50) => IndexFate::Rubbish,
            _ => IndexFate::Empty,
        };
        let copy = |n: usize| -> &IndexCopy { &history.indexes[n] };
        let (Some(synced), Some(written)) = (self.synced, self.written) else {
            return match self.removed.filter(|_| luck.chance(30)) {
                Some(removed) => ((**copy(removed)).clone(), IndexFate::Back),
                None => (Vec::new(), IndexFate::Missing),
            };
        };
        let mut files = match fate {
            IndexFate::Missing => Vec::new(),
            IndexFate::Older => (**copy(self.copies[luck.below(self.copies.len())])).clone(),
            _ => (**copy(synced)).clone(),
        };
        for (name, bytes) in &mut files {
            match fate {
                IndexFate::Mixed => mix(bytes, copy(written), name, luck),
                IndexFate::Cut => bytes.truncate(luck.below(bytes.len() + 1)),
                IndexFate::Rubbish => {
                    let step = 1 + luck.below(5000);
                    for byte in bytes.iter_mut().skip(luck.below(512)).step_by(step) {
                        *byte = luck.next() as u8;
                    }
                }
                IndexFate::Empty => bytes.clear(),
                IndexFate::Synced | IndexFate::Missing | IndexFate::Older | IndexFate::Back => {}
            }
        }
        (files, fate)
    }
}

/// Some blocks of the file as it is in another copy.
fn mix(bytes: &mut Vec<u8>, other: &IndexCopy, name: &PathBuf, luck: &mut Luck) {
    let Some((_, other)) = other.iter().find(|(found, _)| found == name) else {
        return;
    };
    if luck.chance(50) {
        bytes.resize(other.len().max(bytes.len()), 0);
    }
    for (block, other) in bytes.chunks_mut(4096).zip(other.chunks(4096)) {
        if luck.chance(50) {
            let n = block.len().min(other.len());
            block[..n].copy_from_slice(&other[..n]);
        }
    }
}

impl Content {
    fn after(&self, fate: Fate, luck: &mut Luck) -> Arc<Vec<u8>> {
        if self.unsynced.is_empty() || matches!(fate, Fate::Lost) {
            return Arc::clone(&self.synced);
        }
        let mut full = (*self.synced).clone();
        let mut left = full.clone();
        let whole = luck.below(self.unsynced.len() + 1);
        for (n, event) in self.unsynced.iter().enumerate() {
            write(&mut full, event);
            let sector = match fate {
                Fate::Scattered(octets) => octets,
                _ => 512,
            };
            let (at, end) = span(event);
            if at == end {
                // The length is a matter of its own.
                if matches!(fate, Fate::Kept) || luck.chance(50) {
                    left.resize(full.len(), 0);
                }
                continue;
            }
            let torn_at = at + luck.below(end - at + 1);
            for sector in (at / sector * sector..end)
                .step_by(sector)
                .map(|at| at..at + sector)
            {
                let kept = match fate {
                    Fate::Lost => false,
                    Fate::Kept => true,
                    Fate::Torn => n < whole || (n == whole && sector.end <= torn_at),
                    Fate::Scattered(_) => luck.chance(50),
                };
                if kept {
                    let end = sector.end.min(full.len());
                    if left.len() < end {
                        left.resize(end, 0);
                    }
                    left[sector.start..end].copy_from_slice(&full[sector.start..end]);
                }
            }
        }
        Arc::new(left)
    }
}

fn span(event: &Event) -> (usize, usize) {
    match event {
        Event::Write { at, bytes, .. } => (*at, at + bytes.len()),
        _ => (0, 0),
    }
}

fn write(content: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write { at, bytes, .. } => {
            let end = at + bytes.len();
            content.resize(end.max(content.len()), 0);
            content[*at..end].copy_from_slice(bytes);
        }
        Event::Grow(_, octets) => content.resize((*octets).max(content.len()), 0),
        _ => unreachable!("only contents"),
    }
}

/// The folder in which a name changes.
fn folder_of(event: &Event) -> &Path {
    match event {
        Event::Create(name, _) | Event::Rename(name, _) | Event::Remove(name) => {
            name.parent().unwrap_or(name)
        }
        _ => unreachable!("only names"),
    }
}

/// `all`: the names as they would be had nothing been lost, to know which file a rename speaks of.
fn change_name(names: &mut Vec<(PathBuf, usize)>, all: &[(PathBuf, usize)], event: &Event) {
    match event {
        Event::Create(name, file) => names.push((name.clone(), *file)),
        Event::Rename(from, to) => {
            let file = all
                .iter()
                .find(|(name, _)| name == from)
                .map(|(_, file)| *file);
            let file = file.expect("a renamed file has a name");
            names.retain(|(name, found)| *found != file && name != to);
            names.push((to.clone(), file));
        }
        Event::Remove(name) => names.retain(|(found, _)| found != name),
        _ => unreachable!("only names"),
    }
}
