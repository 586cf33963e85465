//! The own store of forwards: a file for each domain, in the folder `forwards.d` of the spool. Operators change it while mail goes on.
//!
//! A file is lines as in any forwards file, and goes through the same loader. It is replaced whole: a crash leaves the old one or the
//! new one. A change is on disk before mail is treated so, and is told after both.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::{Changed, Fault, FaultKind, LineChange};
use envelope::{Domain, Timestamp};
use forwarder::table::{About, File, Objection, Row, Table, digest_of};
use linefile::Folder;
use parking_lot::{Mutex, MutexGuard};
use policy::Profiles;
use policy::measures::Wrong;

use crate::routing::{Routing, Shared};

/// The folder. Whoever replaces the table holds its lock.
#[derive(Debug, Default)]
pub struct Store {
    folder: Folder,
    lock: Mutex<()>,
}

/// Which domain is to be changed, and when not.
pub(crate) struct Edit {
    pub(crate) domain: Domain,
    /// Not unless this is its etag.
    pub(crate) if_match: Option<String>,
    /// Not at all: only say what would be.
    pub(crate) dry_run: bool,
}

impl Store {
    /// That of the spool. Nothing is there before the first change.
    pub fn new(spool: &Path) -> Self {
        Self {
            folder: Folder::new(spool.join("forwards.d"), "fwd"),
            lock: Mutex::new(()),
        }
    }

    /// Keeps changes out while a table is made of its files and put in place.
    pub fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock()
    }

    /// Its files, behind one of no lines by which a table is known to have them.
    pub fn files(&self) -> io::Result<Vec<File>> {
        let file = |(path, content): (PathBuf, _)| File {
            name: path.display().to_string(),
            content,
        };
        let mark = File {
            name: self.mark(),
            content: Vec::new(),
        };
        let files = self.folder.read()?.into_iter().map(file);
        Ok(std::iter::once(mark).chain(files).collect())
    }

    /// How the names of its files begin.
    pub fn mark(&self) -> String {
        format!("{}/", self.folder.path().display())
    }

    /// What the file of a domain is called, whether it is there or not.
    pub(crate) fn name(&self, domain: &Domain) -> String {
        self.folder.file(domain.as_str()).display().to_string()
    }

    /// The text of a domain, as mail is treated now.
    pub(crate) fn text<'a>(&self, table: &'a Table, domain: &Domain) -> Option<&'a str> {
        let name = self.name(domain);
        let found = table.files().find(|(of, _)| *of == name);
        found.map(|(_, text)| text)
    }

    /// Does `change` to the lines of a domain, of which there are none if it is not there; without any it goes. It blocks, until mail
    /// is treated so.
    pub(crate) fn change(
        &self,
        routing: &Shared,
        edit: &Edit,
        change: impl FnOnce(Vec<String>) -> Result<Vec<String>, Fault>,
    ) -> Result<Changed, Fault> {
        let _lock = self.lock();
        let now = routing.load_full();
        let mark = self.mark();
        if !now.table.files().any(|(name, _)| name == mark) {
            let fault = Fault::new("there is no own store of forwards to be changed");
            return Err(fault.with_hint("set `store = \"api\"` in [forwards], and reload"));
        }
        let before = self.text(&now.table, &edit.domain);
        let etag = before.map(etag);
        if let Some(wanted) = &edit.if_match
            && etag.as_ref() != Some(wanted)
        {
            let is = etag.map_or_else(|| "is not there".to_owned(), |etag| format!("is {etag}"));
            return Err(Fault {
                kind: FaultKind::Stale,
                ..Fault::new(format!("{} {is}, and not {wanted}", edit.domain))
                    .with_hint("look at it again: somebody has changed it")
            });
        }
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let before = before.map(lines).unwrap_or_default();
        let after = change(before.clone())?;
        let text: String = after.iter().flat_map(|line| [line, "\n"]).collect();
        let text = Some(&*text).filter(|text| !text.is_empty());
        let changed = Changed {
            changes: difference(before, after),
            etag: text.map(self::etag),
            dry_run: edit.dry_run,
        };
        if changed.changes.is_empty() {
            return Ok(changed);
        }
        let mut new = changed
            .changes
            .iter()
            .filter_map(|line| line.after.as_deref());
        new.try_for_each(|line| check_srs_domain(&now, &edit.domain, line))?;
        let name = self.name(&edit.domain);
        let table = self.table(&now, &name, text)?;
        check_targets(&now.table, &table, &edit.domain)?;
        if !edit.dry_run {
            let content = text.map(str::as_bytes);
            let written = self.folder.write(edit.domain.as_str(), content);
            written.map_err(|error| {
                Fault::new(format!("{name}: {error}; nothing was changed"))
                    .with_hint("see to the disk of the spool, and ask again")
            })?;
            routing.store(Arc::new(Routing {
                table: Arc::new(table),
                ..(*now).clone()
            }));
        }
        Ok(changed)
    }

    /// The table with another file in it, all of whose lines count.
    fn table(&self, now: &Routing, name: &str, text: Option<&str>) -> Result<Table, Fault> {
        let check = |name: &str, value: &str| check(&now.profiles, name, value);
        let table = now.table.with(name, text, &self.mark(), &check);
        let table = table.map_err(Fault::of)?;
        let hidden = table.left_out();
        if hidden.count <= now.table.left_out().count {
            return Ok(table);
        }
        let own = hidden.errors.iter().find(|line| line.file == name);
        let other = || Fault::new("a source before the own store has such a line already");
        Err(own.map_or_else(other, Fault::of))
    }
}

/// No mail for an SRS domain goes elsewhere: a new one must be the domain itself, or in it.
fn check_srs_domain(now: &Routing, domain: &Domain, line: &str) -> Result<(), Fault> {
    let options = Row::of(line).map(|row| row.options).unwrap_or_default();
    let srs_domain = options.iter().find(|(name, _)| name == "srs_domain");
    // What is no domain, the parser says.
    let Some(named) = srs_domain.and_then(|(_, name)| name.parse::<Domain>().ok()) else {
        return Ok(());
    };
    if named.is_within(domain) || now.forwarder.is_srs_domain(&now.table, &named) {
        return Ok(());
    }
    let text = format!("{named} is neither in {domain} nor an SRS domain of ours");
    Err(Fault::new(text).with_hint("name it in the configuration or in a forwards file first"))
}

/// A domain that is hosted from now on has the addresses that others forward to.
fn check_targets(old: &Table, new: &Table, domain: &Domain) -> Result<(), Fault> {
    if old.hosts(domain) || !new.hosts(domain) {
        return Ok(());
    }
    let ends = |table: &Table| table.dead_ends(Timestamp::default());
    let dead = ends(new);
    if dead.count == 0 || dead.count <= ends(old).count {
        return Ok(());
    }
    let is_in = format!("@{domain}: ");
    let example = dead.errors.iter().find(|error| error.text.contains(&is_in));
    let example = example.map_or_else(String::new, |error| format!(": {error}"));
    let text = format!("others forward to addresses that {domain} would not have{example}");
    Err(Fault::new(text).with_hint("put all its forwards at once, with these or a catch-all"))
}

/// Whether a line may have this option.
pub fn check(profiles: &Profiles, name: &str, value: &str) -> Result<(), Objection> {
    profiles.check(name, value).map_err(|wrong| match wrong {
        Wrong::Unknown => Objection::Unknown,
        wrong => Objection::Value(wrong.to_string(), wrong.hint()),
    })
}

/// What a domain's lines are: the same for the same lines.
pub(crate) fn etag(text: &str) -> String {
    format!("{:016x}", digest_of(text))
}

/// The lines that come, go or change, in their order as they are now.
fn difference(before: Vec<String>, after: Vec<String>) -> Vec<LineChange> {
    let key = |line: &String| Row::of(line).map(|row| row.key).unwrap_or_default();
    let mut old: HashMap<String, String> = before.iter().map(key).zip(before.clone()).collect();
    let mut changes = Vec::new();
    for line in after {
        let before = old.remove(&key(&line));
        if before.as_ref() != Some(&line) {
            let after = Some(line);
            changes.push(LineChange { before, after });
        }
    }
    for line in before {
        if let before @ Some(_) = old.remove(&key(&line)) {
            changes.push(LineChange {
                before,
                after: None,
            });
        }
    }
    changes
}

/// Puts a line in the place of the one about the same, or behind all others.
pub(crate) fn put(lines: &mut Vec<String>, line: String) {
    let about = About::line(&line);
    match lines.iter().position(|old| About::line(old) == about) {
        Some(at) => lines[at] = line,
        None => lines.push(line),
    }
}
