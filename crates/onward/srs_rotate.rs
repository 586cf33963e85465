//! `onward srs rotate`: a new secret that signs; those before it verify until their addresses have expired, and can then go.
//!
//! A secret that signed is preceded by a comment of ours, which says until when it did and when it may go. The file is written
//! beside the old one, synced and renamed, with its mode and owner. Nothing is written when the old one cannot be read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use control::{Client, ask};
use envelope::Timestamp;
use serde::Serialize;
use spool::Clock;

use crate::config::Config;
use crate::files::FileError;
use crate::init::random_secret;
use crate::print::{Printer, plural};
use crate::routing::{self, SECRETS, SECRETS_HINT};
use crate::{Exit, Failure};

#[derive(Debug, Serialize)]
struct Rotated {
    file: PathBuf,
    dry_run: bool,
    /// When the secret that signed until now may go.
    may_go: Option<String>,
    /// Secrets of which the time is over.
    pruned: usize,
    /// Secrets in the file now.
    secrets: usize,
    /// Whether a running relay uses them.
    reloaded: bool,
}

/// Puts a new secret first, or (`prune`) removes those of which the time is over.
pub(crate) async fn run(
    config: &Config,
    prune: bool,
    dry_run: bool,
    print: Printer,
) -> Result<Exit, Failure> {
    let secrets = &config.srs.secrets;
    let unreadable =
        |error: io::Error| FileError::unreadable(SECRETS, secrets, &error, SECRETS_HINT);
    let path = fs::canonicalize(secrets).map_err(unreadable)?;
    let old = fs::read(&path).map_err(unreadable)?;
    let now = Clock::real().now();
    let may_go = now.plus(config.srs.max_age.0 + config.srs.clock_skew.0 + DAY);
    let before = routing::secrets_of(&old).count();
    if before == 0 {
        let hint = "`onward init` makes the first one";
        return Err(format!("{} holds no secret\n\nhint: {hint}", path.display()).into());
    }
    let new = match prune {
        true => pruned(&old, now),
        false => rotated(&old, now, may_go),
    };
    let after = routing::secrets_of(&new).count();
    let changes = new != old && !dry_run;
    if changes {
        replace(&path, &new)?;
    }
    let rotated = Rotated {
        file: path,
        dry_run,
        may_go: (!prune).then(|| day(may_go)),
        pruned: before.saturating_sub(after),
        secrets: after,
        reloaded: changes && reload(config).await?,
    };
    print.value(&rotated, print_rotated);
    Ok(Exit::Fine)
}

/// Whether a relay runs, and has read the file.
async fn reload(config: &Config) -> Result<bool, Failure> {
    let Ok(mut client) = Client::connect(&config.control.socket).await else {
        return Ok(false);
    };
    let reloaded = client.ask(ask::Reload::default()).await;
    let text = "the file is written, but the relay goes on with the old one";
    reloaded.map_err(|error| format!("{text}: {error}"))?;
    Ok(true)
}

fn rotated(old: &[u8], now: Timestamp, may_go: Timestamp) -> Vec<u8> {
    let (now, may_go) = (day(now), day(may_go));
    let mut new = format!(
        "{}\n{NOTE}signed until {now}, may go after {may_go}\n",
        random_secret()
    );
    new.reserve(old.len());
    let mut new = new.into_bytes();
    new.extend_from_slice(old);
    new
}

/// Without the secrets whose note names a day that is past. The first one signs, and stays.
fn pruned(old: &[u8], now: Timestamp) -> Vec<u8> {
    let today = day(now);
    let (mut new, mut note, mut signs) = (Vec::new(), &b""[..], true);
    for line in old.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(NOTE.as_bytes()) {
            note = line;
            continue;
        }
        if line.trim_ascii().is_empty() {
            new.extend_from_slice(line);
            continue;
        }
        let last_day = note.trim_ascii_end().last_chunk::<10>();
        if signs || last_day.is_none_or(|last| &last[..] >= today.as_bytes()) {
            new.extend_from_slice(note);
            new.extend_from_slice(line);
        }
        (note, signs) = (b"", false);
    }
    new
}

/// Where the new file is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Puts a file in the place of another, durably.
fn replace(path: &Path, content: &[u8]) -> Result<(), String> {
    let beside = beside(path);
    let write = || {
        let old = fs::metadata(path)?;
        let mut options = OpenOptions::new();
        let mode = old.mode() & 0o7777;
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
        file.set_permissions(old.permissions())?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or_else(|| Path::new("/")))?.sync_all()
    };
    write().map_err(|error| {
        let path = beside.display();
        format!(
            "cannot write {path}: {error}\n\nhint: the old file is as it was; `{path}` is there only while another rotation runs, or was cut off"
        )
    })
}

fn print_rotated(print: Printer, rotated: &Rotated) {
    let would = if rotated.dry_run { "would be: " } else { "" };
    let secrets = plural(rotated.secrets as u64, "secret");
    let (file, pruned) = (rotated.file.display(), rotated.pruned);
    print.line(format_args!("{would}{file}: {secrets}, {pruned} removed"));
    if let Some(may_go) = &rotated.may_go {
        print.line(format_args!(
            "{would}a new secret signs; the one that signed until now may go after {may_go}: `onward srs rotate --prune`"
        ));
    }
    if rotated.may_go.is_none() && rotated.pruned == 0 {
        return print.line("the time of no secret is over: nothing to remove");
    }
    print.line("every host that takes bounces to these addresses needs the same file: copy it, then `onward reload` there");
    if rotated.reloaded {
        print.line("the running relay has read it");
    } else if !rotated.dry_run {
        print.line("no relay was told: it reads the file at its start, or by `onward reload`");
    }
}

/// `2026-11-29`.
fn day(at: Timestamp) -> String {
    let mut text = at.to_string();
    text.truncate(10);
    text
}

/// How the comments begin that secrets may have; nothing else in the file is one, so that no secret is taken for one.
pub(crate) const NOTE: &str = "# onward: ";
const DAY: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);

    fn later(days: u64) -> Timestamp {
        START.plus(DAY * u32::try_from(days).unwrap())
    }

    fn secrets(file: &[u8]) -> Vec<String> {
        let secrets = routing::secrets_of(file);
        secrets
            .map(|secret| String::from_utf8(secret.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn the_new_one_signs_and_the_old_ones_go_when_their_time_is_over() {
        let once = rotated(b" first \n\n# a secret\n", START, later(23));
        let found = secrets(&once);
        assert_eq!(found[1..], [" first ", "# a secret"]);
        assert_eq!(found[0].len(), 30);
        let twice = rotated(&once, later(10), later(33));
        assert_eq!(secrets(&twice).len(), 4);
        assert_eq!(pruned(&twice, later(23)), twice, "the last day");
        let without = pruned(&twice, later(24));
        // What has no note of ours is of unknown age.
        assert_eq!(
            secrets(&without),
            [&secrets(&twice)[..2], &["# a secret".to_owned()]].concat()
        );
        assert!(
            String::from_utf8(without.clone())
                .unwrap()
                .contains("may go after 2027-02-17")
        );
        let at_last = pruned(&without, later(34));
        assert_eq!(secrets(&at_last), [&secrets(&twice)[0], "# a secret"]);
    }

    #[test]
    fn the_one_that_signs_stays_whatever_a_note_says() {
        let noted = b"# onward: may go after 2020-01-01\nonly\n";
        assert_eq!(pruned(noted, START), noted);
    }

    #[test]
    fn the_file_is_replaced_with_its_mode_and_never_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("srs.secrets");
        fs::write(&path, "old\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        replace(&path, b"new\nold\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new\nold\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        fs::write(beside(&path), "another rotation").unwrap();
        let error = replace(&path, b"newer\n").unwrap_err();
        assert!(error.starts_with("cannot write "));
        assert_eq!(fs::read(&path).unwrap(), b"new\nold\n");
    }
}
