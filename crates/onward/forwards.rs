//! From the forwards file to a table: it is read, compared with the table before it, and kept as the last good one.
//!
//! A file that is empty or cut, because a disk was full or a generator died, would make every address that it lost a
//! permanent 550. So a table that lost many addresses, or whose last line has no line feed, is not used until the operator
//! confirms it. The copy in the spool is for a restart with a bad file; secrets and keys are never copied there.

use std::fs;
use std::path::{Path, PathBuf};

use forwarder::table::{Difference, Objection, Table, TableErrors};
use journal::Event;
use policy::Profiles;
use policy::measures::Wrong;

use crate::config::{Config, Percent};
use crate::files::{self, FileError};

/// Why a forwards file is not used. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}")]
    Table(#[from] TableErrors),
    #[error(
        "{path} has lost {removed} of {addresses} addresses and {domains_removed} of {domains} domains, over `forwards.max_shrink` of {max}; the old table stays\n\nhint: if this is meant, `onward reload --force` takes it"
    )]
    Shrunk {
        path: PathBuf,
        removed: usize,
        addresses: usize,
        domains_removed: usize,
        domains: usize,
        max: Percent,
    },
    #[error(
        "{path}: the last line is new and has no line feed: the file may have been cut off there: `{line}`; the old table stays\n\nhint: end the line with a line feed; `onward reload --force` takes it as it is"
    )]
    OpenEnd { path: PathBuf, line: String },
}

/// The file of the configuration.
pub(crate) fn read(config: &Config, profiles: &Profiles) -> Result<Table, Error> {
    let path = &config.forwards.file;
    let hint = "`forwards.file` in the configuration names it; `onward init` writes one";
    let content = files::read("the forwards file ", path, hint)?;
    Ok(parse(path, content, profiles)?)
}

/// A line may choose the measures that the profiles know.
fn parse(path: &Path, content: Vec<u8>, profiles: &Profiles) -> Result<Table, TableErrors> {
    let check = |name: &str, value: &str| {
        profiles.check(name, value).map_err(|wrong| match wrong {
            Wrong::Unknown => Objection::Unknown,
            wrong => Objection::Value(wrong.to_string(), wrong.hint()),
        })
    };
    Table::parse_with(&path.display().to_string(), content, &check)
}

/// The file, or the last good one and why the file is not used.
pub(crate) fn read_at_start(
    config: &Config,
    profiles: &Profiles,
) -> Result<(Table, Option<Error>), Error> {
    let last = last_good(config, profiles);
    let read = read(config, profiles).and_then(|table| match &last {
        Some(last) => judge(config, &table, last).map(|_| table),
        None => Ok(table),
    });
    match (read, last) {
        (Ok(table), _) => Ok((table, None)),
        (Err(error), Some(last)) => Ok((last, Some(error))),
        (Err(error), None) => Err(error),
    }
}

/// An event for the mail log; the same is said on standard error, too.
pub(crate) fn kept_out(error: &Error, instead: &Table) -> Event {
    tracing::error!(%error, "starting with the last good forwards");
    Event::ForwardsKeptOut {
        error: error.to_string(),
        forwards: instead.stats().lines as u64,
    }
}

/// Whether the new table may take the place of the old one, and what changes then.
pub(crate) fn judge(config: &Config, new: &Table, old: &Table) -> Result<Difference, Error> {
    let path = || config.forwards.file.clone();
    let open_end = new.open_end().filter(|line| !old.has_line(line));
    if let Some(line) = open_end {
        let line = line.to_owned();
        return Err(Error::OpenEnd { path: path(), line });
    }
    let difference = new.difference(old);
    let max = config.forwards.max_shrink;
    let (addresses, domains) = (old.addresses(), old.stats().domains);
    if max.is_under(difference.removed, addresses)
        || max.is_under(difference.domains_removed, domains)
    {
        return Err(Error::Shrunk {
            path: path(),
            removed: difference.removed,
            addresses,
            domains_removed: difference.domains_removed,
            domains,
            max,
        });
    }
    Ok(difference)
}

/// Keeps a table's file as the last good one. Call it only once the spool is locked.
pub(crate) fn keep(config: &Config, table: &Table) {
    let (path, text) = (config.spool.join(LAST_GOOD), table.text());
    let head = head(&config.forwards.file, text.len());
    let written = linefile::replace(&path, &[head.as_bytes(), text.as_bytes()]);
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "cannot keep a copy of the forwards file");
    }
}

/// The copy, if it is complete and of the file that the configuration names now.
fn last_good(config: &Config, profiles: &Profiles) -> Option<Table> {
    let path = config.spool.join(LAST_GOOD);
    let mut content = fs::read(&path).ok()?;
    let head_octets = content.iter().position(|b| *b == b'\n')? + 1;
    let text = content.split_off(head_octets);
    let expected = head(&config.forwards.file, text.len());
    (content == expected.as_bytes()).then_some(())?;
    parse(&path, text, profiles).ok()
}

/// The copy's first line: a comment that says what it is a copy of.
fn head(file: &Path, octets: usize) -> String {
    format!("# The last good copy that onward has of {file:?}, {octets} octets\n")
}

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

    #[test]
    fn the_copy_is_of_the_file_that_is_configured_now() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        keep(&config, &Table::parse("f", TEN.into()).unwrap());
        assert!(last_good(&config, &Profiles::default()).is_some());
        let path = folder.path().join(LAST_GOOD);
        let copy = fs::read(&path).unwrap();
        fs::write(&path, &copy[..copy.len() - 24]).unwrap();
        assert!(
            last_good(&config, &Profiles::default()).is_none(),
            "it is not whole"
        );
        fs::write(&path, &copy).unwrap();
        config.forwards.file = folder.path().join("other");
        assert!(
            last_good(&config, &Profiles::default()).is_none(),
            "it is of another file"
        );
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
}
