//! `onward import`: forwards, settings and SRS secrets of another server, and a list of what could not be carried over.
//!
//! A file for each kind of server turns what lies on its disk into an [`Imported`]; here it is checked as `serve` would, written
//! and told. Nothing is asked of the old server but by `--compare`, and nothing of it is changed.

mod compare;
mod forwardemail;
mod panels;
mod pattern;
mod postfix;
mod postsrsd;
mod source;
mod targets;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use envelope::Mailbox;
use forwarder::Table;
use serde::Serialize;

use crate::cli::{Import, Kind};
use crate::init;
use crate::print::{Printer, plural};
use crate::{Exit, Failure};

use source::Place;
use targets::HELD;

/// What was found.
#[derive(Default)]
struct Imported {
    forwards: Vec<Forward>,
    /// The place of each key in `forwards`.
    keys: HashMap<String, usize>,
    options: toml::Table,
    /// The content of the file of secrets.
    secrets: Option<Vec<u8>>,
    left: Vec<Left>,
    /// The folder that stands for /etc, where files of targets may be named.
    includes: Option<PathBuf>,
}

/// A line to be.
struct Forward {
    key: String,
    action: String,
    place: Place,
}

/// What could not be carried over.
#[derive(Debug, Serialize)]
struct Left {
    file: String,
    /// From 1; 0 is the whole file.
    line: usize,
    what: String,
    why: String,
    hint: String,
}

/// What is told of it all.
#[derive(Serialize)]
struct Report {
    written: Vec<PathBuf>,
    kept: Vec<PathBuf>,
    addresses: usize,
    /// Those that are answered 450 for now.
    held: usize,
    domains: usize,
    secrets: bool,
    /// With `--dry-run`: what would be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    forwards: Option<String>,
    options: toml::Table,
    left: Vec<Left>,
    /// With `--compare`: where Postfix answers otherwise.
    differences: Option<Vec<compare::Difference>>,
}

/// A file to be: its name, mode and content.
type Output = (&'static str, u32, Vec<u8>);

/// Runs the command.
pub(crate) fn run(args: &Import, print: Printer) -> Result<Exit, Failure> {
    if args.compare && args.kind != Kind::Postfix {
        return Err("`--compare` asks Postfix, and there is none\n\nhint: leave it out".into());
    }
    let path = &args.path;
    let hint = "name the folder or file of the old server, or a copy of it";
    path.metadata()
        .map_err(|error| format!("cannot read {}: {error}\n\nhint: {hint}", path.display()))?;
    let mut imported = Imported::default();
    let asked = read(args.kind, path, &mut imported)?.filter(|_| args.compare);
    let (text, table) = imported.table()?;
    let differences = asked.map(|asked| compare::compare(&asked, &imported, &table));
    let differences = differences.transpose()?;
    let files = imported.files(&text)?;
    let [written, kept] = match args.dry_run {
        true => Default::default(),
        false => write(&args.into, args.force, files)?,
    };
    let stats = table.stats();
    let held = imported.forwards.iter();
    let held = held.filter(|forward| forward.action == HELD).count();
    let report = Report {
        written,
        kept,
        held,
        addresses: stats.lines,
        domains: stats.domains,
        secrets: imported.secrets.is_some(),
        forwards: args.dry_run.then_some(text),
        options: imported.options,
        left: imported.left,
        differences,
    };
    print.value(&report, |print, report| tell(print, report, args));
    let differ = report.differences.is_some_and(|found| !found.is_empty());
    Ok(Exit::problem_unless(!differ))
}

/// Reads the files; what Postfix can be asked about them.
fn read(kind: Kind, path: &Path, into: &mut Imported) -> Result<Option<compare::Asked>, Failure> {
    match kind {
        Kind::Postfix => return postfix::read(path, into).map(Some),
        Kind::Exim => panels::exim(path, into)?,
        Kind::Valiases => panels::valiases(path, into)?,
        Kind::Directadmin => panels::of_domains(path, "aliases", into)?,
        Kind::Virtualmin => postfix::virtualmin(path, into),
        Kind::Forwardemail => forwardemail::read(path, into),
        Kind::Postsrsd => postsrsd::read(path, into),
    }
    Ok(None)
}

impl Imported {
    /// Notes what cannot be carried over.
    fn leave(&mut self, place: &Place, what: &str, why: impl Into<String>, hint: &str) {
        self.left.push(Left {
            file: place.file.to_string(),
            line: place.line,
            what: what.chars().take(SHOWN_MAX).collect(),
            why: why.into(),
            hint: hint.to_owned(),
        });
    }

    /// Adds a line; the first of a key counts, as with a table that is searched from its beginning.
    fn push(&mut self, forward: Forward) {
        let key = forwarder::fold(&forward.key);
        let first = self.keys.get(&key).map(|first| &self.forwards[*first]);
        match first {
            None => {
                self.keys.insert(key, self.forwards.len());
                self.forwards.push(forward);
            }
            Some(first) if first.action == forward.action => {}
            Some(first) => {
                let why = format!("{}:{} comes before it", first.place.file, first.place.line);
                let hint = "if both are meant, put all targets on one line";
                self.leave(&forward.place, &forward.line(), why, hint);
            }
        }
    }

    /// What has been said of an address.
    fn action(&self, key: &str) -> Option<&str> {
        let found = self.keys.get(&forwarder::fold(key));
        found.map(|at| &*self.forwards[*at].action)
    }

    /// Has an address without a line of its own answered for the time being.
    fn hold(&mut self, place: Place, key: String) {
        if self.action(&key).is_none() {
            let action = HELD.to_owned();
            self.push(Forward { key, action, place });
        }
    }

    /// Sets a key of a section of the configuration.
    fn set(&mut self, section: &str, key: &str, value: impl Into<toml::Value>) {
        let empty = || toml::Table::new().into();
        let section = self.options.entry(section).or_insert_with(empty);
        if let toml::Value::Table(section) = section {
            section.insert(key.to_owned(), value.into());
        }
    }

    /// The file, and the table that it makes. A line that `serve` would not take is left, with its reason.
    fn table(&mut self) -> Result<(String, Table), Failure> {
        let mut text = HEAD.to_owned();
        let loads = |forward: &Forward| Table::parse("", forward.line().into());
        for mut forward in std::mem::take(&mut self.forwards) {
            // What follows a blank in the key would be read as the rest of another line.
            let has_blank = forward.key.contains(char::is_whitespace);
            if has_blank && forward.key.parse::<Mailbox>().is_err() {
                let (why, hint) = ("has a blank in its address", "write the line by hand");
                self.leave(&forward.place, &forward.line(), why, hint);
                continue;
            }
            if let Err(wrong) = loads(&forward) {
                let wrong = &wrong.errors[0];
                let hint = wrong.hint.as_deref().unwrap_or("write the line by hand");
                self.leave(&forward.place, &forward.line(), &*wrong.text, hint);
                forward.action = HELD.to_owned();
                if loads(&forward).is_err() {
                    continue;
                }
            }
            text += &forward.line();
            text.push('\n');
            self.forwards.push(forward);
        }
        let table = Table::parse(FORWARDS, text.clone().into())?;
        Ok((text, table))
    }

    /// What is to be written: nothing that would be empty.
    fn files(&mut self, forwards: &str) -> Result<Vec<Output>, Failure> {
        let mut files = Vec::new();
        if !self.forwards.is_empty() {
            files.push((FORWARDS, 0o644, forwards.as_bytes().to_vec()));
        }
        if !self.options.is_empty() || self.secrets.is_some() {
            let random = || format!("{}\n", init::random_secret()).into_bytes();
            let secrets = self.secrets.clone().unwrap_or_else(random);
            self.set("srs", "secrets", SECRETS);
            self.options.extend(PROFILE.parse::<toml::Table>()?);
            let keys = self.forwards.iter().map(|forward| &forward.key);
            let postmaster = keys.filter(|key| key.starts_with("postmaster@")).min();
            if let Some(address) = postmaster.cloned() {
                self.set("forwards", "postmaster", address);
            }
            let config = format!("{CONFIG_HEAD}{}", toml::to_string(&self.options)?);
            files.push((SECRETS, 0o600, secrets));
            files.push((CONFIG, 0o644, config.into_bytes()));
        }
        Ok(files)
    }
}

impl Forward {
    fn line(&self) -> String {
        format!("{} {}", self.key, self.action)
    }
}

/// Writes all, or nothing, if something is there; with `force` the forwards, and the rest where it is not there: a configuration
/// may have been edited since, and other secrets would refuse all bounces that are on their way. What was written, and what kept.
fn write(folder: &Path, force: bool, files: Vec<Output>) -> Result<[Vec<PathBuf>; 2], Failure> {
    let is_there = |(name, ..): &Output| {
        let path = folder.join(name);
        path.exists() && !init::is_untouched(&path)
    };
    if let Some((name, ..)) = files.iter().find(|file| !force && is_there(file)) {
        let hint = "write into another folder by `--into DIR`; `--force` overwrites the forwards, and keeps the rest";
        let path = folder.join(name);
        let path = path.display();
        return Err(format!("{path} exists, nothing is written\n\nhint: {hint}").into());
    }
    let is_kept = |file: &Output| file.0 != FORWARDS && is_there(file);
    let (kept, files): (Vec<_>, Vec<_>) = files.into_iter().partition(is_kept);
    let unwritten = |path: &Path, error: std::io::Error| {
        let hint = "name a folder that you may write to, by `--into DIR`";
        format!("cannot write {}: {error}\n\nhint: {hint}", path.display())
    };
    fs::create_dir_all(folder).map_err(|error| unwritten(folder, error))?;
    let mut written = Vec::new();
    for (name, mode, content) in files {
        let path = folder.join(name);
        let put = linefile::replace(&path, &[&content])
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(mode)))
            .and_then(|()| match name {
                SECRETS => init::share(&path, folder),
                _ => Ok(()),
            });
        put.map_err(|error| unwritten(&path, error))?;
        written.push(path);
    }
    let kept = kept.iter().map(|(name, ..)| folder.join(name));
    Ok([written, kept.collect()])
}

fn tell(print: Printer, report: &Report, args: &Import) {
    if let Some(text) = &report.forwards {
        print.line(text);
        let options = toml::to_string(&report.options).unwrap_or_default();
        let head = (!options.is_empty()).then_some(CONFIG);
        print.lines(head.map(|name| format!("# {name}\n{options}")));
    }
    for left in &report.left {
        let Left { what, why, .. } = left;
        let place = format_args!("{}:{}", left.file, left.line);
        print.line(format_args!("left: {place}: {what}: {why}"));
        print.line(format_args!("      {}", left.hint));
    }
    let differences = report.differences.iter().flatten();
    print.lines(differences.map(|difference| format!("differs: {difference}")));
    for path in &report.written {
        print.line(format_args!("wrote {}", path.display()));
    }
    for path in &report.kept {
        let path = path.display();
        print.line(format_args!(
            "kept  {path}: move it away to have it written anew"
        ));
    }
    let secrets = match report.secrets {
        true => ", and the SRS secrets",
        false => "",
    };
    print.line(format_args!(
        "{} of {}{secrets}; {} could not be carried over",
        plural(report.addresses as u64, "line"),
        plural(report.domains as u64, "domain"),
        plural(report.left.len() as u64, "thing")
    ));
    if report.differences.as_ref().is_some_and(Vec::is_empty) {
        let (same, held) = (report.addresses - report.held, report.held);
        print.line(format_args!(
            "Postfix gives the same answers for {same} lines; {held} are answered 450 for now, and what is left was not asked"
        ));
    }
    if report.written.iter().any(|path| path.ends_with(CONFIG)) {
        let config = args.into.join(CONFIG);
        let config = config.display();
        print.line(format_args!(
            "Next: look at {config}, then `onward check --config {config}`"
        ));
    }
}

/// The rows of a table of what has no key here: a name, and what does the same.
fn known(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.lines().filter_map(|line| line.split_once(": "))
}

const FORWARDS: &str = "forwards";
const SECRETS: &str = "srs.secrets";
const CONFIG: &str = "onward.toml";
const HEAD: &str = "# address             targets                       options\n";
const CONFIG_HEAD: &str =
    "# Onward. Every other key, with its default: `onward config defaults`.\n";
/// As in a configuration that `init` writes.
const PROFILE: &str = "[[profile]]\nname = \"default\"\nspf = \"mark\"\ndmarc = \"mark\"";
const NOT_CARRIED: &str = "not carried over";
/// Characters of a line that are shown.
const SHOWN_MAX: usize = 100;

#[cfg(test)]
mod tests;
