//! Who is frozen: by which limit, since when, and whether the operator was told.
//!
//! All of it is in memory. A change holds at once; [`Freezes::sync`] has it on disk, for many changes at a time. What comes back
//! after a crash is what the last sync wrote. The file never keeps a relay from starting.

mod line;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use envelope::{MessageId, Timestamp};
use linefile::LineFile;
use parking_lot::{Mutex, RwLock};

use crate::key::Key;
use line::Line;

/// All frozen keys.
#[derive(Debug)]
pub struct Freezes {
    frozen: RwLock<BTreeMap<Key, Freeze>>,
    /// How many, to be read without a lock.
    count: AtomicUsize,
    /// Lines that the file lacks.
    unwritten: Mutex<Vec<Line>>,
    file: Option<Mutex<LineFile<Line>>>,
    is_full: AtomicBool,
}

/// One frozen key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Who is frozen.
    pub key: Key,
    /// By which limit.
    pub limit: Arc<str>,
    /// Since when.
    pub since: Timestamp,
    /// What was refused for it, since it was frozen or since the start of the relay.
    pub hits: u64,
    /// What the operator was told.
    pub told: Told,
}

/// How a key stands that other nodes have not heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unshared {
    /// For [`Freezes::learn`]; none: it is not frozen.
    pub text: Option<String>,
    /// Nothing has changed but how far the operator was told.
    pub is_mark: bool,
}

/// How far the operator was told of a freeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// The mail that tells of it: one with this id is queued, or about to be. So it can be queued again after a crash, and is one mail.
    pub mail: Option<MessageId>,
    /// That mail is queued for certain.
    pub is_mailed: bool,
    /// The webhook has taken it.
    pub is_posted: bool,
}

/// A step of telling the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A mail with this id is about to be queued.
    Mailing(MessageId),
    /// It is queued.
    Mailed,
    /// The webhook has taken it.
    Posted,
}

impl Freezes {
    /// Kept in memory only.
    pub fn in_memory() -> Self {
        Self::of(BTreeMap::new(), None)
    }

    /// What the file `freezes` in this directory says. What it cannot say is logged and left out.
    pub fn open(dir: &Path) -> Self {
        let (file, lines) = LineFile::open(&dir.join("freezes"), "so nobody is frozen");
        let mut frozen = BTreeMap::new();
        lines.into_iter().for_each(|line| apply(&mut frozen, line));
        let lines: Vec<Line> = frozen.values().flat_map(lines_of).collect();
        Self::of(frozen, Some(Mutex::new(file.compacted(&lines))))
    }

    /// Has the file in this directory hold what nodes tell of these keys, and nothing else. It blocks.
    pub fn rewrite<'a>(
        dir: &Path,
        told: impl Iterator<Item = (Key, Option<&'a str>)>,
    ) -> io::Result<()> {
        let freezes = Self::in_memory();
        told.for_each(|(key, text)| freezes.learn(&key, text));
        let lines: Vec<Line> = freezes.frozen.read().values().flat_map(lines_of).collect();
        let (mut file, _) = LineFile::open(&dir.join("freezes"), "so it is written anew");
        file.compact(&lines)
    }

    fn of(frozen: BTreeMap<Key, Freeze>, file: Option<Mutex<LineFile<Line>>>) -> Self {
        Self {
            count: AtomicUsize::new(frozen.len()),
            frozen: RwLock::new(frozen),
            unwritten: Mutex::default(),
            file,
            is_full: AtomicBool::new(false),
        }
    }

    /// How many keys are frozen.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether nobody is frozen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The limit that froze this key.
    pub fn find(&self, key: &Key) -> Option<Arc<str>> {
        let frozen = self.frozen.read();
        frozen.get(key).map(|freeze| Arc::clone(&freeze.limit))
    }

    /// What is known of a frozen key.
    pub fn get(&self, key: &Key) -> Option<Freeze> {
        self.frozen.read().get(key).cloned()
    }

    /// Counts one more that is refused because this key is frozen.
    pub fn hit(&self, key: &Key) {
        if let Some(freeze) = self.frozen.write().get_mut(key) {
            freeze.hits += 1;
        }
    }

    /// Freezes a key; false if it is frozen already. Over [`FROZEN_MAX`] nobody else is.
    pub fn freeze(&self, key: &Key, limit: &str, now: Timestamp) -> bool {
        let mut frozen = self.frozen.write();
        if frozen.contains_key(key) {
            return false;
        }
        if frozen.len() >= FROZEN_MAX {
            if !self.is_full.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    "{FROZEN_MAX} keys are frozen, and no more will be\n\nhint: `onward freeze lift` those that are old"
                );
            }
            return false;
        }
        self.change(
            &mut frozen,
            Line::Frozen(now, limit.into(), Key::clone(key)),
        );
        true
    }

    /// Lifts a freeze, and returns it.
    pub fn lift(&self, key: &Key) -> Option<Freeze> {
        let mut frozen = self.frozen.write();
        let freeze = frozen.get(key)?.clone();
        self.change(&mut frozen, Line::Lifted(Key::clone(key)));
        self.is_full.store(false, Ordering::Relaxed);
        Some(freeze)
    }

    /// A page of those behind `after`, in the order of their keys.
    pub fn list(&self, after: Option<&Key>, max: usize) -> Vec<Freeze> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let frozen = self.frozen.read();
        let page = frozen.range::<Key, _>((from, Bound::Unbounded)).take(max);
        page.map(|(_, freeze)| freeze.clone()).collect()
    }

    /// Notes a step of telling the operator of these.
    pub fn mark(&self, keys: &[Key], mark: Mark) {
        let mut frozen = self.frozen.write();
        for key in keys
            .iter()
            .filter(|key| frozen.contains_key(key))
            .collect::<Vec<_>>()
        {
            self.change(&mut frozen, Line::Marked(mark, Key::clone(key)));
        }
    }

    /// Writes what has changed, and waits until it is on disk. What could not be written is written next time. It blocks.
    pub fn sync(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            self.unwritten.lock().clear();
            return Ok(());
        };
        let mut file = file.lock();
        let lines = std::mem::take(&mut *self.unwritten.lock());
        if lines.is_empty() {
            return Ok(());
        }
        file.append(&lines).inspect_err(|_| {
            self.unwritten.lock().splice(..0, lines);
        })
    }

    /// All that are frozen, each as [`Freezes::learn`] takes it.
    pub fn all(&self) -> BTreeMap<Key, String> {
        let frozen = self.frozen.read();
        let all = frozen.iter();
        all.map(|(key, freeze)| (key.clone(), text_of(freeze)))
            .collect()
    }

    /// Keys that changed since [`Freezes::shared`], each as it stands now; and up to where that goes.
    pub fn unshared(&self) -> (usize, BTreeMap<Key, Unshared>) {
        let frozen = self.frozen.read();
        let unwritten = self.unwritten.lock();
        let mut changed = BTreeMap::<Key, Unshared>::new();
        for line in unwritten.iter() {
            let key = changed.entry(line.key().clone());
            let key = key.or_insert_with(|| Unshared {
                text: frozen.get(line.key()).map(text_of),
                is_mark: true,
            });
            key.is_mark &= matches!(line, Line::Marked(..));
        }
        (unwritten.len(), changed)
    }

    /// Others have what [`Freezes::unshared`] gave.
    pub fn shared(&self, until: usize) {
        self.unwritten.lock().drain(..until);
    }

    /// Takes over how another node has left a key; what cannot be read of that is left out.
    pub fn learn(&self, key: &Key, text: Option<&str>) {
        let mut frozen = self.frozen.write();
        let before = frozen.remove(key);
        let lines = text.unwrap_or_default().lines();
        let lines = lines.filter_map(|line| line.parse::<Line>().ok());
        lines
            .filter(|line| line.key() == key)
            .for_each(|line| apply(&mut frozen, line));
        // Ours are about to be put up, and come later.
        let unwritten = self.unwritten.lock();
        let ours = unwritten.iter().filter(|line| line.key() == key);
        ours.for_each(|line| apply(&mut frozen, line.clone()));
        if let (Some(now), Some(before)) = (frozen.get_mut(key), before) {
            now.hits = before.hits;
        }
        self.count.store(frozen.len(), Ordering::Relaxed);
    }

    fn change(&self, frozen: &mut BTreeMap<Key, Freeze>, line: Line) {
        // Under the lock, so that the file has the changes in their order.
        self.unwritten.lock().push(line.clone());
        apply(frozen, line);
        self.count.store(frozen.len(), Ordering::Relaxed);
    }
}

/// What a line of the file changes.
fn apply(frozen: &mut BTreeMap<Key, Freeze>, line: Line) {
    match line {
        Line::Frozen(since, limit, key) => {
            let freeze = Freeze {
                key: key.clone(),
                limit,
                since,
                hits: 0,
                told: Told::default(),
            };
            frozen.insert(key, freeze);
        }
        Line::Lifted(key) => {
            frozen.remove(&key);
        }
        Line::Marked(mark, key) => {
            if let Some(Freeze { told, .. }) = frozen.get_mut(&key) {
                match mark {
                    Mark::Mailing(id) => told.mail = Some(id),
                    Mark::Mailed => told.is_mailed = true,
                    Mark::Posted => told.is_posted = true,
                }
            }
        }
    }
}

/// The lines that say what there is of a frozen key.
fn lines_of(freeze: &Freeze) -> Vec<Line> {
    let Freeze { key, told, .. } = freeze;
    let marks = [
        told.mail.map(Mark::Mailing),
        told.is_mailed.then_some(Mark::Mailed),
        told.is_posted.then_some(Mark::Posted),
    ];
    let marks = marks.into_iter().flatten();
    let frozen = Line::Frozen(freeze.since, Arc::clone(&freeze.limit), key.clone());
    std::iter::once(frozen)
        .chain(marks.map(|mark| Line::Marked(mark, key.clone())))
        .collect()
}

fn text_of(freeze: &Freeze) -> String {
    let lines = lines_of(freeze).into_iter();
    lines.map(|line| format!("{line}\n")).collect()
}

/// Whoever has many networks must not fill the memory.
const FROZEN_MAX: usize = 200_000;
