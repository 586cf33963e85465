//! Alias files, one a domain: Exim's, cPanel's `/etc/valiases/DOMAIN`, DirectAdmin's `/etc/virtual/DOMAIN/aliases`.
//!
//! ```text
//! sales: bob@a.example, carol@b.example
//! old: ":fail: No Such User Here"
//! *: catchall@c.example
//! ```
//!
//! Customers write those of panels, so that there no file is read because one of them names it.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use super::Imported;
use super::source::{Entry, Place, parent, rows};
use super::targets::{HELD, MAILBOX_HINT, Stands, unquoted};
use crate::Failure;

/// A folder of alias files, or one that is called as its domain or has whole addresses.
pub(super) fn exim(path: &Path, into: &mut Imported) -> Result<(), Failure> {
    into.includes = Some(parent(path));
    if path.is_dir() {
        return Ok(of_domains(path, "", into)?);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.contains(".conf") {
        let hint = "name the file or the folder that the `redirect` routers of Exim's configuration look in";
        return Err(format!("{} has no aliases\n\nhint: {hint}", path.display()).into());
    }
    of_domain(path, &name, into);
    Ok(())
}

/// cPanel's: `/etc/vdomainaliases/old.example` has `old.example: new.example`, and goes before the `*` of valiases.
pub(super) fn valiases(folder: &Path, into: &mut Imported) -> io::Result<()> {
    let aliases = parent(folder).join("vdomainaliases");
    let paths = match aliases.is_dir() {
        true => files(&aliases)?,
        false => Vec::new(),
    };
    for path in paths {
        let address = |target: &str| Stands::Address(target.to_owned());
        for Entry { key, value, row } in entries(&path, into) {
            if path.file_name().is_some_and(|name| *name == *key) {
                let value = format!("@{}", value.trim_start_matches('@'));
                into.forward(&row.place, &format!("@{key}"), &value, &address);
            } else {
                into.leave(&row.place, &row.text, FOREIGN, FOREIGN_HINT);
            }
        }
    }
    of_domains(folder, "", into)
}

/// A file for each domain, or a folder with a file of this name.
pub(super) fn of_domains(folder: &Path, name: &str, into: &mut Imported) -> io::Result<()> {
    for path in files(folder)? {
        let domain = path.file_name().and_then(|name| name.to_str());
        match domain.filter(|domain| is_domain(domain)) {
            Some(domain) if name.is_empty() => of_domain(&path, domain, into),
            Some(domain) if path.is_dir() => {
                of_domain(&path.join(name), domain, into);
                mailboxes(&path.join("passwd"), domain, into);
            }
            // A panel has files of its own there.
            _ if !name.is_empty() => {}
            _ => {
                let (what, why) = ("the file", "is not called as a domain");
                into.leave(&Place::whole(&path), what, why, NAME_HINT);
            }
        }
    }
    Ok(())
}

/// DirectAdmin's mailboxes of a domain: Exim asks for them before it takes the catch-all.
fn mailboxes(path: &Path, domain: &str, into: &mut Imported) {
    if path.is_file() {
        for row in rows(path, into) {
            if let Some((name, _)) = row.text.split_once(':') {
                let key = format!("{name}@{domain}");
                let why = "is a mailbox of that server";
                into.leave(&row.place, &key, why, MAILBOX_HINT);
                into.hold(row.place, key);
            }
        }
    }
}

/// One file. Its keys are local parts, `*`, or whole addresses.
fn of_domain(path: &Path, domain: &str, into: &mut Imported) {
    let entries = entries(path, into);
    let keys: HashSet<&str> = entries.iter().map(|entry| &*entry.key).collect();
    let lookup = |target: &str| match target.contains('@') {
        true => Stands::Address(target.to_owned()),
        false if !keys.contains(&*target.to_lowercase()) => Stands::Mailbox,
        false => Stands::Address(format!("{target}@{domain}")),
    };
    for Entry { key, value, row } in &entries {
        let key = match key.split_once('@') {
            None if !is_domain(domain) => {
                into.leave(&row.place, &row.text, "has no domain", NAME_HINT);
                continue;
            }
            Some((_, other)) if is_domain(domain) && !other.eq_ignore_ascii_case(domain) => {
                into.leave(&row.place, &row.text, FOREIGN, FOREIGN_HINT);
                continue;
            }
            None if key == "*" => format!("@{domain}"),
            None => format!("{key}@{domain}"),
            Some(("*", domain)) => format!("@{domain}"),
            Some(_) => key.clone(),
        };
        into.forward(&row.place, &key, value, &lookup);
    }
    let all = format!("@{domain}");
    let passwd = path.with_file_name("passwd");
    if into.action(&all).is_some_and(|action| action != HELD) && !passwd.is_file() {
        let why = "does not say which mailboxes there are";
        into.leave(&Place::whole(path), &all, why, MAILBOXES_HINT);
    }
}

/// The lines of an alias file (aliases(5) has the same).
pub(super) fn entries(path: &Path, into: &mut Imported) -> Vec<Entry> {
    let mut entries = Vec::new();
    for row in rows(path, into) {
        match parted(&row.text) {
            Some((key, value)) => entries.push(Entry {
                key: unquoted(key).to_lowercase(),
                value: value.to_owned(),
                row,
            }),
            None => {
                let (why, hint) = ("is no `name: target`", "write the line by hand");
                into.leave(&row.place, &row.text, why, hint);
            }
        }
    }
    entries
}

/// The key and the value of `key: value`.
fn parted(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = match text.strip_prefix('"') {
        Some(quoted) => quoted.find('"')? + 2,
        None => text.find(|c: char| c == ':' || c.is_whitespace())?,
    };
    let (key, value) = text.split_at_checked(end)?;
    let value = value.trim_start();
    let value = value.strip_prefix(':').unwrap_or(value).trim();
    (!key.is_empty()).then_some((key, value))
}

/// The files of a folder, by name.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let named = |error: io::Error| io::Error::other(format!("{}: {error}", folder.display()));
    let entries = folder.read_dir().map_err(named)?;
    let mut paths = Vec::from_iter(entries.filter_map(Result::ok).map(|entry| entry.path()));
    paths.sort_unstable();
    Ok(paths)
}

const FOREIGN: &str = "is of another domain than its file";
const FOREIGN_HINT: &str = "it had no effect: each file is asked about its own domain";
const NAME_HINT: &str = "copy the file to one that is called as its domain, and import that";
const MAILBOXES_HINT: &str = "give each mailbox of the domain a line, or the catch-all gets its mail, or refuses it for good";

pub(super) fn is_domain(name: &str) -> bool {
    name.contains('.') && !name.starts_with('.') && name.parse::<envelope::Domain>().is_ok()
}
