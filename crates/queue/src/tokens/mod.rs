//! Tokens: short names under which values outlive the messages that brought them, in files of their own.
//!
//! A name *is* the place of its value: the hour in which that expires (one file an hour), the offset in it, and a nonce.
//! So nothing is held in memory or in the index however many there are, a look-up is one read, and what has expired goes
//! with its file.
//!
//! A value rides in the commit record of its message, which makes it durable. The keeper writes it to its file later and
//! syncs that before the log position moves on (`index/keeper.rs`); until then it is *fresh*, in memory.
//!
//! It promises *nothing* by itself: while the log has the value, a torn or missing file is written again. Afterwards
//! it costs the bounces to those names, never mail. A name that leads nowhere is a hole: no message came of it.

mod fresh;
mod names;
mod record;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envelope::Timestamp;
use parking_lot::Mutex;
use spool::Token;

use crate::fault;
use crate::store::{Disk, Store, StoreFile, read_full, write_all};

pub(crate) use fresh::Fresh;
use names::Names;
pub(crate) use record::Place;

/// Values by place.
pub(crate) type Batch = BTreeMap<Place, Token>;

/// The files, and the names that are given out.
#[derive(Debug)]
pub(crate) struct Tokens {
    store: Arc<dyn Store>,
    dir: PathBuf,
    names: Mutex<Names>,
}

impl Tokens {
    /// Opens (or makes) their folder in the spool `dir`.
    pub(crate) fn open(store: Arc<dyn Store>, spool: &Path) -> io::Result<Self> {
        let dir = spool.join(FOLDER);
        store.create_dir(&dir)?;
        let mut names = Names::default();
        for (path, hour) in files(store.list(&dir)?) {
            names.pass(hour, store.open(&path)?.octets()?);
        }
        let names = Mutex::new(names);
        Ok(Self { store, dir, names })
    }

    /// A name for a value; the same one while it is remembered. No file is touched.
    pub(crate) fn name(&self, value: &str, expires: Timestamp) -> Token {
        self.names.lock().name(value, expires)
    }

    /// A place is taken: no other name leads there.
    pub(crate) fn pass(&self, place: Place, token: &Token) {
        let end = place.offset + record::octets(&token.value);
        self.names.lock().pass(place.hour, end);
    }

    /// Writes values to their places and makes that durable. The same again is harmless.
    pub(crate) fn write(&self, batch: &Batch) -> io::Result<()> {
        let tokens: Vec<(&Place, &Token)> = batch.iter().collect();
        for hour in tokens.chunk_by(|a, b| a.0.hour == b.0.hour) {
            let file = self.open_file(hour[0].0.hour)?;
            let joins = |a: &(&Place, &Token), b: &(&Place, &Token)| {
                a.0.offset + record::octets(&a.1.value) == b.0.offset
            };
            for run in hour.chunk_by(joins) {
                let mut bytes = Vec::new();
                run.iter()
                    .for_each(|(place, token)| record::write(**place, token, &mut bytes));
                write_all(&*file, &mut [IoSlice::new(&bytes)], run[0].0.offset)?;
            }
            fault::point("tokens.before_sync");
            file.sync()?;
        }
        if !batch.is_empty() {
            fault::point("tokens.synced");
        }
        Ok(())
    }

    /// The value at a place. Blocks.
    pub(crate) fn read(&self, place: Place) -> io::Result<Option<Token>> {
        let file = match self.store.open(&self.path(place.hour)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = vec![0; record::OCTETS_MAX];
        let read = read_full(&*file, &mut bytes, place.offset)?;
        let found = record::read(place, &bytes[..read]);
        if found.is_none() && bytes[0] != 0 {
            let path = self.path(place.hour);
            tracing::warn!(path = %path.display(), offset = place.offset, "a token is damaged, or was never given out");
        }
        Ok(found)
    }

    /// Writes tokens of another spool to the places that their names say, and gives back those that cannot be there: the name is no
    /// place, or something stands there.
    pub(crate) fn take(&self, tokens: Vec<Token>) -> io::Result<Vec<Token>> {
        let (mut named, mut left, mut free) = (Batch::new(), Vec::new(), Batch::new());
        for token in tokens {
            match Place::parse(&token.name) {
                Some(place) => drop(named.insert(place, token)),
                None => left.push(token),
            }
        }
        for (place, token) in named {
            match () {
                () if self.names.lock().is_free(place) => {
                    self.pass(place, &token);
                    free.insert(place, token);
                }
                () if self.read(place)?.is_some_and(|there| there == token) => {}
                () => left.push(token),
            }
        }
        self.write(&free)?;
        Ok(left)
    }

    /// What stands in the files.
    pub(crate) fn all(&self) -> io::Result<Vec<Token>> {
        all_in(self.store.list(&self.dir)?)
    }

    /// Removes the files in which all has expired at `now`.
    pub(crate) fn purge(&self, now: Timestamp) -> io::Result<()> {
        for (path, hour) in files(self.store.list(&self.dir)?) {
            if hour < record::hour(now) {
                // A crash may bring it back: it goes with the next hour.
                self.store.remove(&path)?;
                self.names.lock().forget(hour);
                tracing::debug!(path = %path.display(), "expired tokens are gone");
            }
        }
        Ok(())
    }

    fn open_file(&self, hour: u32) -> io::Result<Arc<dyn StoreFile>> {
        let path = self.path(hour);
        match self.store.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let file = self.store.create(&path)?;
                self.store.sync_dir(&self.dir)?;
                Ok(file)
            }
            file => file,
        }
    }

    fn path(&self, hour: u32) -> PathBuf {
        self.dir.join(format!("{hour:08}"))
    }
}

/// Writes tokens into the files of the spool, or of the export, in `dir`.
pub(crate) fn add(dir: &Path, batch: &Batch) -> io::Result<()> {
    match batch.is_empty() {
        true => Ok(()),
        false => Tokens::open(Arc::new(Disk), dir)?.write(batch),
    }
}

/// Adds the token files in `from` to those in `to`; a name leads to the same place in both. Gives back the files that do not fit,
/// because something else stands at a place: those are left as they were.
pub(crate) fn merge(from: &Path, to: &Path) -> io::Result<Vec<PathBuf>> {
    let mut unfit = Vec::new();
    let (from, to) = (from.join(FOLDER), to.join(FOLDER));
    let found = match Disk.list(&from) {
        Ok(found) if !found.is_empty() => found,
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => return Ok(unfit),
    };
    Disk.create_dir(&to)?;
    for (path, hour) in files(found) {
        let (new, target) = (std::fs::read(&path)?, to.join(format!("{hour:08}")));
        let mut merged = match std::fs::read(&target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            old => old?,
        };
        merged.resize(merged.len().max(new.len()), 0);
        let mut fits = true;
        for (octet, new) in merged.iter_mut().zip(new) {
            fits &= *octet == new || *octet == 0 || new == 0;
            *octet |= new;
        }
        if !fits {
            unfit.push(path);
            continue;
        }
        let partial = target.with_extension("partial");
        let file = Disk.create(&partial)?;
        write_all(&*file, &mut [IoSlice::new(&merged)], 0)?;
        file.sync()?;
        Disk.rename(&partial, &target)?;
    }
    Disk.sync_dir(&to)?;
    Ok(unfit)
}

/// The token files of a spool, each with the offsets at which something stands that is neither record nor hole.
pub(crate) fn survey(spool: &Path) -> io::Result<Vec<Surveyed>> {
    let dir = match std::fs::read_dir(spool.join(FOLDER)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir?,
    };
    let listed = dir.map(|entry| entry.map(|entry| entry.path()));
    files(listed.collect::<io::Result<_>>()?)
        .map(|(path, hour)| {
            let damage = record::survey(hour, &std::fs::read(&path)?);
            Ok(Surveyed { path, hour, damage })
        })
        .collect()
}

/// What the token files of a spool, or of an export, have.
pub(crate) fn all(spool: &Path) -> io::Result<Vec<Token>> {
    match Disk.list(&spool.join(FOLDER)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => all_in(found?),
    }
}

fn all_in(listed: Vec<PathBuf>) -> io::Result<Vec<Token>> {
    let mut all = Vec::new();
    for (path, hour) in files(listed) {
        all.extend(record::all(hour, &std::fs::read(path)?));
    }
    Ok(all)
}

/// One file as [`survey`] found it.
pub(crate) struct Surveyed {
    pub(crate) path: PathBuf,
    pub(crate) hour: u32,
    pub(crate) damage: Vec<u64>,
}

/// Token files and their hours; what else lies there is left alone.
fn files(listed: Vec<PathBuf>) -> impl Iterator<Item = (PathBuf, u32)> {
    listed.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let hour = name.parse().ok().filter(|_| name.len() == 8)?;
        Some((path, hour))
    })
}

pub(crate) const FOLDER: &str = "tokens";

#[cfg(test)]
mod tests;
