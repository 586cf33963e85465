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

use super::source::{Entry, parent, rows};
use super::targets::{Stands, unquoted};
use super::{Forward, Imported};
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
    for path in files(&aliases).unwrap_or_default() {
        for Entry { key, value, row } in entries(&path, into) {
            into.push(Forward {
                key: format!("@{key}"),
                action: format!("@{}", value.trim_start_matches('@')),
                place: row.place,
            });
        }
    }
    of_domains(folder, "", into)
}

/// A file for each domain, or a folder with a file of this name.
pub(super) fn of_domains(folder: &Path, name: &str, into: &mut Imported) -> io::Result<()> {
    for path in files(folder)? {
        let domain = path.file_name().and_then(|name| name.to_str());
        let file = match name {
            "" => path.clone(),
            name => path.join(name),
        };
        if let Some(domain) = domain.filter(|domain| is_domain(domain) && file.is_file()) {
            of_domain(&file, domain, into);
        }
    }
    Ok(())
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
                let hint = "copy the file to one that is called as its domain, and import that";
                into.leave(&row.place, &row.text, "has no domain", hint);
                continue;
            }
            None if key == "*" => format!("@{domain}"),
            None => format!("{key}@{domain}"),
            Some(("*", domain)) => format!("@{domain}"),
            Some(_) => key.clone(),
        };
        into.forward(&row.place, &key, value, &lookup);
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

pub(super) fn is_domain(name: &str) -> bool {
    name.contains('.') && !name.starts_with('.') && name.parse::<envelope::Domain>().is_ok()
}
