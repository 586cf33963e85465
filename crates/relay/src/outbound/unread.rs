//! Messages that we answer for though their client may not know it: it left before it read our answer. When it comes back within
//! a day with the same message, it gets its 250 and no second copy is made (RFC 1047 tells of those).
//!
//! They are few, and kept over a restart: a line of the file `unread` in the spool folder for each.

use std::fmt;
use std::num::ParseIntError;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use envelope::{Leg, Timestamp};
use linefile::LineFile;
use moka::sync::Cache;
use parking_lot::Mutex;

/// What the same message has in common each time that a client offers it: client, envelope, Message-ID, Date and text. It is kept
/// on disk, so no hash will do that is another with another compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Print(u128);

impl Print {
    /// Of all of this.
    pub(crate) fn new(all: &str) -> Self {
        let digest = digest(&SHA256, all.as_bytes());
        let first = digest.as_ref().first_chunk();
        Self(first.map_or(0, |octets| u128::from_be_bytes(*octets)))
    }

    /// Of one of its legs.
    pub(super) fn of_leg(self, leg: &Leg) -> Self {
        Self::new(&format!("{:x} {}", self.0, leg.target))
    }
}

/// The remembered ones, each with the end of its time.
#[derive(Debug, Clone)]
pub(super) struct Unread {
    known: Cache<Print, Timestamp>,
    file: Option<Arc<Mutex<File>>>,
}

#[derive(Debug)]
struct File {
    lines: LineFile<Line>,
    /// Those that were written since it held only what counts.
    written: u64,
}

#[derive(Debug, Clone, Copy)]
struct Line(Print, Timestamp);

impl Unread {
    /// What the file in this folder says; without a folder they are kept in memory only.
    pub(super) fn open(folder: Option<&Path>, now: Timestamp) -> Self {
        let known = Cache::builder()
            .max_capacity(REMEMBERED_MAX)
            .time_to_live(REMEMBERED_FOR)
            .build();
        let file = folder.map(|folder| {
            let without = "so clients that come back for an answer may make second copies";
            let (lines, found) = LineFile::open(&folder.join("unread"), without);
            let live: Vec<Line> = found
                .into_iter()
                .filter(|Line(_, end)| *end > now)
                .collect();
            live.iter()
                .for_each(|Line(print, end)| known.insert(*print, *end));
            Arc::new(Mutex::new(File {
                lines: lines.compacted(&live),
                written: 0,
            }))
        });
        Self { known, file }
    }

    pub(super) fn knows(&self, print: Print, now: Timestamp) -> bool {
        self.known.get(&print).is_some_and(|end| end > now)
    }

    /// Remembers it; on disk, too, before long. Its day begins once, however often its client comes back.
    pub(super) fn add(&self, print: Print, now: Timestamp) {
        if self.knows(print, now) {
            return;
        }
        let end = now.plus(REMEMBERED_FOR);
        self.known.insert(print, end);
        if self.file.is_some() {
            let this = self.clone();
            tokio::task::spawn_blocking(move || this.write(Line(print, end), now));
        }
    }

    fn write(&self, line: Line, now: Timestamp) {
        let Some(file) = &self.file else { return };
        let mut file = file.lock();
        file.written += 1;
        let written = if file.written > REMEMBERED_MAX {
            let live = self.known.iter().filter(|(_, end)| *end > now);
            let live: Vec<_> = live.map(|(print, end)| Line(*print, end)).collect();
            file.written = 0;
            file.lines.compact(&live)
        } else {
            file.lines.append(&[line])
        };
        if let Err(error) = written {
            tracing::error!(%error, "cannot write down an answer that was not read; it is remembered until a restart\n\nhint: see to the disk of the spool");
        }
    }
}

/// `1a2b3c4d5e6f7a8b1a2b3c4d5e6f7a8b 1800000000000`
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x} {}", self.0.0, self.1.unix_millis())
    }
}

impl FromStr for Line {
    type Err = Option<ParseIntError>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (print, end) = text.split_once(' ').ok_or(None)?;
        let print = Print(u128::from_str_radix(print, 16)?);
        Ok(Self(print, Timestamp::from_unix_millis(end.parse()?)))
    }
}

const REMEMBERED_FOR: Duration = Duration::from_hours(24);
/// More than a relay in trouble leaves unanswered in a day; those that were not asked for the longest go first.
const REMEMBERED_MAX: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_read_is_known_for_a_day_and_after_a_restart() {
        let (folder, now) = (
            tempfile::tempdir().unwrap(),
            Timestamp::from_unix_millis(1_800_000_000_000),
        );
        let open = |now| Unread::open(Some(folder.path()), now);
        let [one, other] = [Print::new("one"), Print::new("other")];
        let unread = open(now);
        unread.write(Line(one, now.plus(REMEMBERED_FOR)), now);
        assert!(open(now).knows(one, now) && !open(now).knows(other, now));
        let later = now.plus(REMEMBERED_FOR);
        assert!(!open(now).knows(one, later));
        assert!(!open(later).knows(one, now), "left out of the file");
    }

    #[tokio::test]
    async fn its_day_begins_once() {
        let (start, one) = (Timestamp::from_unix_millis(1), Print(1));
        let unread = Unread::open(None, start);
        unread.add(one, start);
        unread.add(one, start.plus(REMEMBERED_FOR / 2));
        assert!(!unread.knows(one, start.plus(REMEMBERED_FOR)));
    }

    #[tokio::test]
    async fn the_file_does_not_grow_without_end() {
        let (folder, now) = (tempfile::tempdir().unwrap(), Timestamp::from_unix_millis(1));
        let unread = Unread::open(Some(folder.path()), now);
        unread.file.as_ref().unwrap().lock().written = REMEMBERED_MAX - 1;
        let line = |n| Line(Print(n), now.plus(REMEMBERED_FOR));
        unread.write(line(1), now);
        unread.known.insert(Print(2), now.plus(REMEMBERED_FOR));
        unread.write(line(2), now);
        let text = std::fs::read_to_string(folder.path().join("unread")).unwrap();
        assert_eq!(text.trim().lines().count(), 1, "{text}");
    }
}
