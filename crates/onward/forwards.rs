//! From the forwards files to a table: they are read, compared with the table before, and kept as the last good ones.
//!
//! First comes `forwards.file`, then the files in the folder beside it, `FILE.d`, by their names, then each `[[forwards.source]]`. Of
//! an address with lines in several of them, the first line counts.
//!
//! A file that is empty or cut, because a disk was full or a generator died, would make every address that it lost a
//! permanent 550. So a table that lost many addresses, or whose last line has no line feed, is not used until the operator
//! confirms it. The copy in the spool is for a restart with a bad file; secrets and keys are never copied there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use directory::{Questions, Snapshot};
use envelope::Domain;
use forwarder::table::{Captured, Difference, File, Table, TableErrors};
use journal::{Event, Journal};
use policy::Profiles;
use relay::routing::Shared;
use relay::store::{self, Store};

use crate::config::{Config, Percent, Source};
use crate::files::{self, FileError};
use crate::print::plural;

/// Why a forwards file is not used. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}")]
    Table(#[from] TableErrors),
    #[error(
        "{of} has lost {removed} of {addresses} addresses and {domains_removed} of {domains} domains, over `forwards.max_shrink` of {max}; the old table stays\n\nhint: if this is meant, `onward reload --force` takes it"
    )]
    Shrunk {
        of: String,
        removed: usize,
        addresses: usize,
        domains_removed: usize,
        domains: usize,
        max: Percent,
    },
    #[error(
        "{file} {how}, and no other file has its lines; the old table stays\n\nhint: if this is meant, `onward reload --force` takes it"
    )]
    Emptied { file: String, how: &'static str },
    #[error(
        "{file}: the last line is new and has no line feed: the file may have been cut off there: `{line}`; the old table stays\n\nhint: end the line with a line feed; `onward reload --force` takes it as it is"
    )]
    OpenEnd { file: String, line: String },
    #[error("[[forwards.source]] `{name}`: {wrong}")]
    Source { name: String, wrong: String },
}

/// The files of the configuration.
pub(crate) fn read(config: &Config, profiles: &Profiles) -> Result<Table, Error> {
    Ok(join(files(config)?, profiles)?)
}

/// What they say, in their order.
fn files(config: &Config) -> Result<Vec<File>, Error> {
    let forwards = &config.forwards;
    let mut files = Vec::new();
    if let Some(path) = forwards.file() {
        let hint = "`forwards.file` in the configuration names it; `onward init` writes one";
        files.push(file(path, hint)?);
        for path in beside(path)? {
            files.push(file(
                &path,
                "take it out of the folder, or make it readable",
            )?);
        }
    }
    for source in forwards.sources() {
        match source {
            Source::File { path } => {
                let hint = "a [[forwards.source]] in the configuration names it";
                files.push(file(path, hint)?);
            }
            Source::Api {} => files.extend(own(config)?),
            Source::Sql(_) | Source::Http(_) => files.extend(asked(config, source)?),
        }
    }
    Ok(files)
}

/// The own store's.
fn own(config: &Config) -> Result<Vec<File>, FileError> {
    let store = Store::new(&config.spool);
    let hint = "it must be readable for the user that runs this";
    let unreadable = |error| {
        let folder = store.mark();
        FileError::unreadable("the own store ", Path::new(&folder), &error, hint)
    };
    store.files().map_err(unreadable)
}

/// What a snapshot has said, or had said the last time; nothing of what is looked up.
fn asked(config: &Config, source: &Source) -> Result<Option<File>, Error> {
    let name = source.name();
    let wrong = |wrong: &dyn std::fmt::Display| Error::Source {
        name: name.clone(),
        wrong: wrong.to_string(),
    };
    let Some((settings, _)) = source.asked() else {
        return Ok(None);
    };
    if matches!(settings.questions, Questions::Lookup { .. }) {
        return Ok(None);
    }
    Snapshot::new(settings).map_err(|error| wrong(&error))?;
    let said = config.forwards.fetched.get(&name);
    let content = match said {
        Some(Ok(said)) => Some(said.text.clone().into_bytes()),
        _ => kept_text(config, &name),
    };
    match (content, said) {
        (Some(content), _) => Ok(Some(File { name, content })),
        (None, Some(Err(why))) => Err(wrong(why)),
        (None, _) => Err(wrong(&"it was never asked")),
    }
}

fn file(path: &Path, hint: &str) -> Result<File, FileError> {
    Ok(File {
        content: files::read("the forwards file ", path, hint)?,
        name: path.display().to_string(),
    })
}

/// The files in the folder `FILE.d`, by their names: what editors and package managers leave there does not count, so that an
/// address that was deleted does not come back from a copy.
fn beside(file: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut paths = listed(file)?;
    paths.retain(|path| counts(path));
    Ok(paths)
}

/// What stands in that folder and is not read, but for what is hidden.
pub(crate) fn passed_over(config: &Config) -> Vec<PathBuf> {
    let mut paths = config
        .forwards
        .file()
        .map_or_else(Vec::new, |file| listed(file).unwrap_or_default());
    let is_hidden = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.retain(|path| !counts(path) && !is_hidden(path));
    paths
}

/// A file with a plain name, or one that ends in `.forwards`.
fn counts(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let stem = name.strip_suffix(b".forwards").unwrap_or(name);
    let rest = match stem.len() == name.len() {
        true => stem.iter().all(is_plain),
        false => stem.first().is_some_and(is_plain),
    };
    rest && path.is_file()
}

fn listed(file: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut folder = file.as_os_str().to_owned();
    folder.push(".d");
    let folder = Path::new(&folder);
    let found = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.and_then(|entries| {
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            paths.collect::<io::Result<Vec<_>>>()
        }),
    };
    let hint = "it must be readable for the user that runs this";
    let mut paths =
        found.map_err(|error| FileError::unreadable("the folder ", folder, &error, hint))?;
    paths.sort_unstable();
    Ok(paths)
}

/// A line may choose the measures that the profiles know.
pub(crate) fn join(files: Vec<File>, profiles: &Profiles) -> Result<Table, TableErrors> {
    Table::join(files, &|name, value| store::check(profiles, name, value))
}

/// The file, or the last good one and why the file is not used.
pub(crate) fn read_at_start(
    config: &Config,
    profiles: &Profiles,
) -> Result<(Table, Option<Error>), Error> {
    let files = files(config);
    let last = match (&files, kept(config)) {
        // Mostly nothing has changed since: there is nothing to judge then.
        (Ok(files), Some(kept)) if *files == kept => None,
        (_, kept) => last_good(kept, profiles),
    };
    let read = files.and_then(|files| {
        let table = join(files, profiles)?;
        last.iter()
            .try_for_each(|last| judge(config, &table, last).map(drop))?;
        Ok(table)
    });
    match (read, last) {
        (Ok(table), _) => Ok((table, None)),
        (Err(error), Some(last)) => Ok((last, Some(error))),
        (Err(error), None) => Err(error),
    }
}

/// At the start, once the spool is locked: keeps the files as the last good ones, or tells why those are used instead, on standard
/// error too. Whoever counts events must be there by then.
pub(crate) fn started(
    config: &Config,
    routing: &Shared,
    instead: Option<Error>,
    journal: &Journal,
) {
    let routing = routing.load();
    let table = &routing.table;
    let Some(error) = instead else {
        return keep(config, table);
    };
    tracing::error!(%error, "starting with the last good forwards");
    journal.record(Event::ForwardsKeptOut {
        error: error.to_string(),
        forwards: table.stats().lines as u64,
    });
}

/// Whether the new table may take the place of the old one, and what changes then.
pub(crate) fn judge(config: &Config, new: &Table, old: &Table) -> Result<Difference, Error> {
    // One that does not count is in the old file all the same.
    let was_there = |(file, line): &(&str, &str)| {
        let mut texts = old.files().filter(|(name, _)| name == file);
        old.has_line(line) || texts.any(|(_, text)| text.lines().any(|old| old == *line))
    };
    if let Some((file, line)) = new.open_ends().find(|end| !was_there(end)) {
        let (file, line) = (file.to_owned(), line.to_owned());
        return Err(Error::OpenEnd { file, line });
    }
    let difference = new.difference(old);
    let max = config.forwards.max_shrink;
    let (addresses, domains) = (old.addresses(), old.stats().domains);
    if max.is_under(difference.removed, addresses)
        || max.is_under(difference.domains_removed, domains)
    {
        return Err(Error::Shrunk {
            of: said(new),
            removed: difference.removed,
            addresses,
            domains_removed: difference.domains_removed,
            domains,
            max,
        });
    }
    match emptied(new, old).filter(|_| max.is_under(1, 1)) {
        Some(error) => Err(error),
        None => Ok(difference),
    }
}

/// A customer's file among many may be less than `max_shrink`. One that is deleted is meant so; one that is empty, or away with
/// all others of its folder, may be an accident.
fn emptied(new: &Table, old: &Table) -> Option<Error> {
    let is_said = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let says = |text: &str| text.lines().any(is_said);
    let texts: HashMap<&str, &str> = new.files().collect();
    let folder = |name: &'_ str| Path::new(name).parent().map(Path::to_owned);
    let folders: HashSet<_> = texts.keys().map(|name| folder(name)).collect();
    let mut lost = old
        .files()
        .filter(|(_, text)| says(text) && !text.lines().any(|line| new.has_line(line)));
    lost.find_map(|(name, _)| {
        let how = match texts.get(name) {
            Some(text) if !says(text) => "has nothing in it any more",
            None if !folders.contains(&folder(name)) => "is gone with all of its folder",
            _ => return None,
        };
        let file = name.to_owned();
        Some(Error::Emptied { file, how })
    })
}

/// Domains that take what others forward there, each with what is said of it; only the first of many.
pub(crate) fn captured(all: Vec<Captured>) -> impl Iterator<Item = (Domain, String)> {
    all.into_iter().take(CAPTURED_MAX).map(|one| {
        let Captured { domain, file, lines } = one;
        let (count, leads) = (plural(lines as u64, "forward"), if lines == 1 { "leads" } else { "lead" });
        let text = format!(
            "hosted by {file}, and {count} of other domains {leads} there: that mail stays here, and goes by what {file} says\n\nhint: if {domain} is not your customer's, take it out of {file}"
        );
        (domain, text)
    })
}

/// The file, or that there are several.
pub(crate) fn said(table: &Table) -> String {
    let names: Vec<_> = table.files().map(|(name, _)| name).collect();
    match names[..] {
        [name] => name.to_owned(),
        _ => format!("the set of {} files", names.len()),
    }
}

/// Keeps a table's files as the last good ones; those of the own store are good by themselves. Call it only once the spool is locked.
pub(crate) fn keep(config: &Config, table: &Table) {
    // It is asked for by who may not wait for it.
    table.digest();
    let path = config.spool.join(LAST_GOOD);
    let mark = Store::new(&config.spool).mark();
    let mut pieces = vec![first_line(config)];
    for (name, text) in table.files() {
        if name == mark || !name.starts_with(&mark) {
            pieces.extend([head(name, text.len()), text.to_owned(), "\n".to_owned()]);
        }
    }
    let content: Vec<_> = pieces.iter().map(String::as_bytes).collect();
    if let Err(error) = linefile::replace(&path, &content) {
        tracing::warn!(path = %path.display(), %error, "cannot keep a copy of the forwards");
    }
}

/// The table of the copy, if that is complete and of what the configuration names now.
fn last_good(kept: Option<Vec<File>>, profiles: &Profiles) -> Option<Table> {
    join(kept?, profiles).ok()
}

/// What one of its files says there, whatever others there were then.
fn kept_text(config: &Config, name: &str) -> Option<Vec<u8>> {
    let file = copied(config)?.1.into_iter().find(|file| file.name == name);
    file.map(|file| file.content)
}

/// How old the copy is: what it says has not changed since.
pub(crate) fn kept_for(config: &Config) -> Option<Duration> {
    let copy = fs::metadata(config.spool.join(LAST_GOOD));
    copy.and_then(|file| file.modified()).ok()?.elapsed().ok()
}

/// The files of the last good table, if the copy is complete, and of what the configuration names now.
fn kept(config: &Config) -> Option<Vec<File>> {
    let (head, files) = copied(config)?;
    (head == first_line(config)).then_some(files)
}

/// What the copy says it is a copy of, and its files.
pub(crate) fn copied(config: &Config) -> Option<(String, Vec<File>)> {
    let copy = fs::read(config.spool.join(LAST_GOOD)).ok()?;
    let end = copy.iter().position(|b| *b == b'\n')? + 1;
    let (head, mut rest) = copy.split_at(end);
    let head = str::from_utf8(head).ok()?.to_owned();
    let (mut files, mark) = (Vec::new(), Store::new(&config.spool).mark());
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\n')? + 1;
        let (octets, name) = std::str::from_utf8(rest.get(2..end - 1)?)
            .ok()?
            .split_once(' ')?;
        let (content, after) = rest[end..].split_at_checked(octets.parse().ok()?)?;
        let (name, content) = (name.to_owned(), content.to_owned());
        match name == mark {
            true => files.extend(own(config).ok()?),
            false => files.push(File { name, content }),
        }
        rest = after.strip_prefix(b"\n")?;
    }
    Some((head, files))
}

/// The copy's first line: a comment that says what it is a copy of.
fn first_line(config: &Config) -> String {
    let forwards = &config.forwards;
    let sources: Vec<_> = forwards.sources().map(Source::name).collect();
    format!(
        "# The last good copy that onward has of {:?} {sources:?}\n",
        forwards.file
    )
}

/// The line before each file: its octets and its name.
fn head(name: &str, octets: usize) -> String {
    let name = name.replace('\n', "?");
    format!("# {octets} {name}\n")
}

const CAPTURED_MAX: usize = 20;
const LAST_GOOD: &str = "forwards.last";

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: &str = "a@x.example t@y.example\nb@x.example t@y.example\nc@x.example t@y.example\nd@x.example t@y.example\ne@x.example t@y.example\nf@x.example t@y.example\ng@x.example t@y.example\nh@x.example t@y.example\ni@x.example t@y.example\nj@x.example t@y.example\n";

    fn config(folder: &Path) -> Config {
        let mut config = Config {
            spool: folder.to_owned(),
            ..Config::default()
        };
        config.forwards.file = folder.join("forwards");
        config
    }

    /// What is used at a start with this file after one with [`TEN`]: its number of lines, and whether the file was kept out.
    #[track_caller]
    fn check(file: Option<&str>, expected: (usize, bool)) {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fs::write(&config.forwards.file, TEN).unwrap();
        let (table, instead) = read_at_start(&config, &Profiles::default()).unwrap();
        assert!(instead.is_none());
        keep(&config, &table);
        match file {
            Some(text) => fs::write(&config.forwards.file, text).unwrap(),
            None => fs::remove_file(&config.forwards.file).unwrap(),
        }
        let (table, instead) = read_at_start(&config, &Profiles::default()).unwrap();
        let got = (table.stats().lines, instead.is_some());
        assert_eq!(got, expected, "{file:?}: {instead:?}");
    }

    #[test]
    fn a_bad_file_at_start_is_answered_with_the_last_good_one() {
        let (eight, seven) = (24 * 8, 24 * 7);
        check(Some(TEN), (10, false));
        check(None, (10, true));
        check(Some(""), (10, true));
        check(Some("nonsense\n"), (10, true));
        check(Some(&TEN[..eight]), (8, false));
        check(Some(&TEN[..seven]), (10, true));
        // Cut within the last line; at its end, where only the line feed is missing; and with a line more.
        check(Some(&TEN[..TEN.len() - 4]), (10, true));
        check(Some(TEN.trim_end()), (10, false));
        check(
            Some(&format!("{TEN}k@x.example t@y.example\n")),
            (11, false),
        );
        check(Some(&format!("{TEN}k@x.example t@y.exam")), (10, true));
    }

    /// A file for each name and text, put together: what errors there are, or what the table's files are called and its left-out lines.
    #[track_caller]
    fn check_several(texts: &[(&str, &str)], expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        // The own store has a `forwards.d` there.
        config.spool = folder.path().join("spool");
        fs::create_dir(&config.spool).unwrap();
        fs::create_dir_all(folder.path().join("forwards.d/sub")).unwrap();
        for (name, text) in texts {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let path = folder.path().join("more");
        if path.exists() {
            config.forwards.listed.push(Source::File { path });
        }
        let said = match read_at_start(&config, &Profiles::default()) {
            Ok((table, _)) => {
                keep(&config, &table);
                let copy = last_good(kept(&config), &Profiles::default()).unwrap();
                let (files, copies): (Vec<_>, Vec<_>) =
                    (table.files().collect(), copy.files().collect());
                assert_eq!(files, copies, "the copy is the same");
                let names = files.iter().map(|(name, _)| *name);
                format!(
                    "{} {}",
                    names.collect::<Vec<_>>().join(" "),
                    table.left_out()
                )
            }
            Err(error) => error.to_string(),
        };
        let said = said.replace(&format!("{}/", folder.path().display()), "");
        assert_eq!(said.trim(), expected);
    }

    #[test]
    fn several_files_are_one_table() {
        check_several(&[("forwards", "")], "forwards");
        check_several(
            &[
                (
                    "forwards",
                    "a@x.example 1@y.example\nx.example :domain: srs=off",
                ),
                ("forwards.d/20", "b@x.example 2@y.example\n"),
                (
                    "forwards.d/10",
                    "\u{feff}A@X.example 3@y.example\n@x.example 4@y.example",
                ),
                ("forwards.d/30~", "nonsense"),
                ("forwards.d/.10", "nonsense"),
                ("forwards.d/#10#", "nonsense"),
                ("forwards.d/10.bak", "nonsense"),
                ("forwards.d/.x.forwards", "nonsense"),
                ("forwards.d/a.test.forwards", "\n"),
                ("more", "# no comment\nx.example :domain:\n"),
            ],
            "forwards forwards.d/10 forwards.d/20 forwards.d/a.test.forwards more forwards.d/10:1:2: a@x.example has a line already\n\nhint: forwards:1 goes before it\nmore:2:1: x.example has a line already\n\nhint: forwards:2 goes before it",
        );
        check_several(
            &[
                ("forwards", "a@x.example 1@y.example\n"),
                (
                    "forwards.d/10",
                    "\n@x.example 1@y.example\nb@x.example\n@x.example 2@y.example\n",
                ),
                ("more", "c@"),
            ],
            "forwards.d/10:3:12: nothing said about `b@x.example`\n\nhint: write a target, `:discard:` or `:reject:`\nforwards.d/10:4:1: @x.example has a line already\n\nhint: the first is line 2; put all targets on one\nmore:1:3: ``: empty domain or label\n\nhint: a line begins with an address, `@domain`, or `domain :domain:`",
        );
    }

    /// Whether files of these names and texts may follow others.
    #[track_caller]
    fn check_next(old: &[(&str, &str)], new: &[(&str, &str)], expected: &str) {
        let [old, new] = [old, new].map(|files| {
            let file = |(name, text): &(&str, &str)| File {
                name: (*name).to_owned(),
                content: text.as_bytes().to_vec(),
            };
            join(files.iter().map(file).collect(), &Profiles::default()).unwrap()
        });
        let said = judge(&Config::default(), &new, &old).map(|_| String::new());
        let said = said.unwrap_or_else(|error| error.to_string());
        assert_eq!(said.split(';').next(), Some(expected), "{new:?}");
    }

    #[test]
    fn a_file_of_several_is_not_taken_over_when_it_is_empty() {
        let many: String = (0..10)
            .map(|n| format!("a@d{n}.example t@z.example\n"))
            .collect();
        let forwards = ("forwards", &*many);
        let customer = ("d/20", "a@y.example t@z.example\n");
        let old = [forwards, customer];
        let empty = "d/20 has nothing in it any more, and no other file has its lines";
        check_next(&old, &old, "");
        check_next(&old, &[forwards, ("d/20", "")], empty);
        check_next(&old, &[forwards, ("d/20", "# none\n")], empty);
        // Its folder is away, as a mount may be.
        let away = "d/20 is gone with all of its folder, and no other file has its lines";
        check_next(&old, &[forwards], away);
        check_next(&old, &[forwards, ("d/10", "")], "");
        check_next(&old, &[forwards, ("d/10", customer.1), ("d/20", "")], "");
        check_next(&[forwards, ("d/20", "\n")], &[forwards, ("d/20", "")], "");
    }

    #[test]
    fn a_line_that_does_not_count_may_stay_without_its_end() {
        let old = [("forwards", TEN), ("d/20", "a@x.example 2@y.example")];
        check_next(&old, &old, "");
        let cut = [("forwards", TEN), ("d/20", "a@x.example 2@y.exam")];
        let said = "d/20: the last line is new and has no line feed: the file may have been cut off there: `a@x.example 2@y.exam`";
        check_next(&old, &cut, said);
    }

    #[test]
    #[ignore = "prints how long half a million lines take"]
    fn half_a_million_lines_of_one_file_and_of_many() {
        let domains = if cfg!(debug_assertions) { 500 } else { 5000 };
        let line = |n: usize| format!("user{n}@d{}.example  box{n}@target.example\n", n / 100);
        let file = |lines: std::ops::Range<usize>| File {
            name: format!("from {}", lines.start),
            content: lines.map(line).collect::<String>().into(),
        };
        let one = vec![file(0..domains * 100)];
        let many = (0..domains).map(|d| file(d * 100..d * 100 + 100)).collect();
        let digests = [one, many].map(|files: Vec<File>| {
            let (count, began) = (files.len(), std::time::Instant::now());
            let table = join(files, &Profiles::default()).unwrap();
            eprintln!("{count} files: {:?}", began.elapsed());
            let began = std::time::Instant::now();
            assert_eq!(table.captured(), []);
            eprintln!("what is captured: {:?}", began.elapsed());
            table.digest()
        });
        assert_eq!(digests[0], digests[1]);
    }

    #[test]
    fn the_copy_is_of_the_file_that_is_configured_now() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        keep(&config, &Table::parse("f", TEN.into()).unwrap());
        assert!(last_good(kept(&config), &Profiles::default()).is_some());
        let path = folder.path().join(LAST_GOOD);
        let copy = fs::read(&path).unwrap();
        fs::write(&path, &copy[..copy.len() - 24]).unwrap();
        assert!(
            last_good(kept(&config), &Profiles::default()).is_none(),
            "it is not whole"
        );
        fs::write(&path, &copy).unwrap();
        config.forwards.file = folder.path().join("other");
        assert!(
            last_good(kept(&config), &Profiles::default()).is_none(),
            "it is of another file"
        );
        // A source that is still there is known by its name.
        assert_eq!(kept_text(&config, "f").unwrap(), TEN.as_bytes());
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
}
