//! The crash table of `spool/README.md`: a process that dies at every named point, and what stands afterwards.
//!
//! The test starts itself again as a child with one point armed (`ONWARD_FAULT`, feature `faults`). The child works on a
//! spool, and writes into a book what it begins and what was answered; at the point it aborts, and nothing of it runs any more.
//! The parent opens the spool and holds it against the book: once by replaying, once with the index removed.
//!
//! This is the queue alone; `tests/flow/fault_points.rs` has the daemon die, under mail. Release builds have no such points.
//! (What a power cut does beyond a kill is `power_cut`.)
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use envelope::{BodyKind, Leg, LegId, Message, MessageId, ReversePath, Timestamp};
use queue::{LogSpool, Settings};
use spool::{Action, Arrival, BodyReader, BodyWriter, Clock, Dsn, Filter, Spool, Update, Want};
use testkit::nouns;

/// What is expected of the deed that was begun and not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unanswered {
    /// It left no trace.
    Nothing,
    /// It stands.
    Stands,
    /// It is whole, or there is nothing of it.
    Either,
}
use Unanswered::{Either, Nothing, Stands};

/// Point, and the how-manieth time; row of the table; what is expected of what was not answered.
const ROWS: &[(&str, u32, u32, Unanswered)] = &[
    ("accept.chunk_written", 3, 1, Nothing),
    ("commit.before_write", 20, 2, Nothing),
    ("commit.before_sync", 20, 2, Either),
    ("commit.after_sync", 20, 3, Stands),
    ("commit.before_answer", 20, 3, Stands),
    ("change.before_record", 5, 6, Nothing),
    ("change.recorded", 5, 6, Either),
    ("notice.before_record", 2, 7, Nothing),
    // A thread beside the committer begins segments: whatever was under way then may stand.
    ("segment.before_rename", 3, 11, Either),
    ("segment.begun", 3, 12, Either),
    ("checkpoint.before_barrier", 4, 13, Either),
    ("tokens.before_sync", 4, 13, Either),
    ("tokens.synced", 4, 13, Either),
    ("checkpoint.before_index", 4, 13, Either),
    ("checkpoint.before_sync", 4, 13, Either),
    ("checkpoint.synced", 4, 13, Either),
    // A thread that panics ends the process; the index's takes its folder with it.
    ("!commit.after_sync", 20, 3, Stands),
    ("!checkpoint.before_index", 4, 14, Either),
    ("compact.copied", 2, 15, Either),
    ("retire.vouched", 1, 15, Either),
    ("retire.before_dir_sync", 1, 16, Either),
    ("compact.given_back", 2, 16, Either),
    ("admin.before_barrier", 2, 18, Either),
    ("admin.durable", 2, 18, Stands),
];

/// Points on the way up, after a crash.
const RECOVERY: &[(&str, bool)] = &[
    ("recover.before_cut", false),
    ("recover.segment_read", false),
    ("recover.replayed", false),
    ("recover.checkpointed", false),
    ("tokens.before_sync", false),
    ("checkpoint.before_sync", false),
    ("recover.index_removed", true),
    ("recover.replayed", true),
];

fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000 + millis)
}

fn open(dir: &Path) -> LogSpool {
    let settings = Settings {
        segment_bytes: Settings::SEGMENT_BYTES_MIN,
        min_free_bytes: 0,
        min_free_inodes: 0,
        checkpoint_every: Duration::from_millis(20),
        clock: Clock::manual(at(1)),
        ..Settings::new(dir.join("spool"))
    };
    LogSpool::open(settings).unwrap()
}

fn id(n: u64) -> MessageId {
    MessageId::new(at(0), u128::from(n))
}

fn body(n: u64, octets: usize) -> Vec<u8> {
    (0..octets).map(|i| (i as u64 * 31 + n * 7) as u8).collect()
}

fn octets(n: u64) -> usize {
    match n % 9 {
        0 => 40_000,
        _ => 900 + n as usize % 700,
    }
}

fn message(n: u64, octets: usize) -> (Message, Leg) {
    let message = Message {
        body: BodyKind::EightBitMime,
        ..Message::new(id(n), at(0), ReversePath::Null, octets as u64)
    };
    let leg = nouns::leg("a@x.example");
    (message, leg)
}

/// The child's work. Every deed is a line when it begins, and its number again when it was answered.
struct Child {
    spool: LogSpool,
    book: File,
    lines: u64,
}

impl Child {
    fn begin(&mut self, deed: &str) {
        self.lines += 1;
        writeln!(self.book, "{} {deed}", self.lines).unwrap();
    }

    fn done(&mut self) {
        writeln!(self.book, "{}", self.lines).unwrap();
    }

    async fn commit(&mut self, n: u64) {
        let token = self.spool.token(&format!("v{n}"), at(1 << 40));
        self.begin(&format!("commit {n} {}", token.name));
        let (message, leg) = message(n, octets(n));
        let mut writer = self.spool.begin(id(n)).await.unwrap();
        writer.keep(token);
        for piece in body(n, octets(n)).chunks(5000) {
            writer.write(piece.to_vec()).await.unwrap();
        }
        let committed = self
            .spool
            .commit(writer, Arrival::new(message, vec![leg], at(0)))
            .await;
        committed.unwrap();
        self.done();
    }

    async fn settle(&mut self, n: u64) {
        let want = Want {
            max: 1,
            per_host: 1,
            lease: Duration::from_secs(600),
        };
        let Some(claim) = self.spool.claim(&want).await.unwrap().pop() else {
            return;
        };
        let number = claim.message.id.bits() as u64 as u32;
        if n % 10 == 3 {
            self.begin(&format!("notice {number} {}", n + 1_000_000));
            let (message, leg) = message(n + 1_000_000, 50);
            let dsn = Dsn {
                arrival: Arrival::new(message, vec![leg], at(1_000_000)),
                body: body(n + 1_000_000, 50).into(),
            };
            self.spool.complete(claim.lease, Some(dsn)).await.unwrap();
        } else if n % 10 == 6 {
            self.begin(&format!("defer {number}"));
            let update = Update {
                attempts: claim.attempts + 1,
                ..Update::default()
            };
            let due = at(1_000_000);
            self.spool
                .reschedule(claim.lease, due, update)
                .await
                .unwrap();
        } else {
            self.begin(&format!("end {number}"));
            self.spool.complete(claim.lease, None).await.unwrap();
        }
        self.done();
    }

    /// Ends with nothing behind them that would take them to the disk.
    async fn end_and_wait(&mut self) {
        for n in 1..9 {
            self.commit(n).await;
        }
        for n in [1, 2] {
            self.settle(n).await;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }

    async fn remove(&mut self, n: u64) {
        self.begin(&format!("remove {n}"));
        let filter = Filter::only(id(n));
        let removed = self
            .spool
            .admin(&filter, Action::Remove, None, usize::MAX)
            .await;
        removed.unwrap();
        self.done();
    }
}

/// Not a test: what the child runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "started by the test below"]
async fn child() {
    let Ok(dir) = std::env::var("ONWARD_CRASH_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let spool = open(dir);
    let mut options = OpenOptions::new();
    let book = options.create(true).append(true).open(dir.join("book"));
    let book = book.unwrap();
    let mut child = Child {
        spool,
        book,
        lines: 0,
    };
    if std::env::var("ONWARD_FAULT").is_ok_and(|fault| fault.starts_with("end.noted")) {
        return child.end_and_wait().await;
    }
    for n in 1..1500 {
        child.commit(n).await;
        if n % 10 != 5 {
            child.settle(n).await;
        }
        if n % 25 == 0 {
            child.remove(n).await;
        }
    }
    // The parent takes this for a point that was never reached.
    std::process::exit(0);
}

#[expect(clippy::disallowed_methods, reason = "the test starts itself")]
fn run_child(dir: &Path, fault: &str) {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program)
        .args(["--exact", "crash::child", "--ignored"])
        .env("ONWARD_FAULT", fault)
        .env("ONWARD_CRASH_DIR", dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        None,
        "{fault} was not reached: {text}"
    );
}

/// What the book says of a message.
#[derive(Debug, Default, Clone)]
struct Tale {
    /// The token that it brings.
    token: String,
    /// Its commit, or the transaction it came in, was answered.
    promised: bool,
    /// Its end was begun; was answered; the answer was a promise.
    ending: bool,
    gone: bool,
}

/// The book: messages, and the deed that was not answered.
fn read_book(dir: &Path) -> (BTreeMap<u64, Tale>, Vec<String>) {
    let text = std::fs::read_to_string(dir.join("book")).unwrap_or_default();
    // The child may have died within a line: what it was about to say it had not begun, or not heard.
    let text = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let mut tales: BTreeMap<u64, Tale> = BTreeMap::new();
    let mut open: Vec<String> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let answered = words.is_empty();
        if !answered {
            open = words.iter().map(|word| (*word).to_owned()).collect();
        }
        let number = |n: usize| open[n].parse::<u64>().unwrap();
        match open[0].as_str() {
            "commit" => {
                let tale = tales.entry(number(1)).or_default();
                (tale.promised, tale.token) = (answered, open[2].clone());
            }
            "end" => tales.entry(number(1)).or_default().ending = true,
            "remove" => {
                let tale = tales.entry(number(1)).or_default();
                (tale.ending, tale.gone) = (true, answered);
            }
            "notice" => {
                let tale = tales.entry(number(1)).or_default();
                (tale.ending, tale.gone) = (true, answered);
                tales.entry(number(2)).or_default().promised = answered;
            }
            _ => {}
        }
        if answered {
            open = Vec::new();
        }
    }
    (tales, open)
}

/// Messages in the spool; each is whole.
async fn standing(spool: &LogSpool) -> Vec<u64> {
    let page = spool.list(&Filter::default(), None, 100_000).await;
    let page = page.unwrap();
    assert_eq!(page.next, None::<LegId>);
    let mut found = Vec::new();
    for entry in page.entries {
        let n = entry.id.message.bits() as u64 & 0xffff_ffff;
        let mut reader = spool.open_body(entry.id.message).await.unwrap();
        let mut whole = Vec::new();
        while let Some(chunk) = reader.chunk().await.unwrap() {
            whole.extend_from_slice(&chunk);
        }
        let octets = if n > 1_000_000 { 50 } else { octets(n) };
        assert!(whole == body(n, octets), "body of {n}");
        found.push(n);
    }
    found
}

/// Holds the spool against the book.
async fn check(dir: &Path, what: &str, expected: Unanswered) {
    let (tales, unanswered) = read_book(dir);
    let mut before: Option<Vec<u64>> = None;
    for rebuilt in [false, true] {
        if rebuilt {
            std::fs::remove_dir_all(dir.join("spool/index")).unwrap();
        }
        let spool = open(dir);
        assert_eq!(spool.damaged(), 0, "{what}: damage");
        let found = standing(&spool).await;
        for (n, tale) in &tales {
            let there = found.contains(n);
            let must = tale.promised && !tale.ending;
            assert!(there || !must, "{what}: {n} is lost, rebuilt {rebuilt}");
            assert!(
                !there || !tale.gone,
                "{what}: {n} is back, rebuilt {rebuilt}"
            );
        }
        for (n, tale) in tales.iter().filter(|(_, tale)| !tale.token.is_empty()) {
            let value = spool.recall(&tale.token).await.unwrap();
            let kept = value.is_some() || !tale.promised;
            assert!(kept, "{what}: the token of {n} is lost, rebuilt {rebuilt}");
            assert!(value.is_none_or(|value| value == format!("v{n}")), "{what}");
        }
        check_unanswered(&unanswered, &found, expected, what);
        if let Some(before) = before.replace(found.clone()) {
            assert_eq!(before, found, "{what}: replayed and rebuilt differ");
        }
    }
}

fn check_unanswered(deed: &[String], found: &[u64], expected: Unanswered, what: &str) {
    let Some(kind) = deed.first() else {
        return;
    };
    let there = |n: usize| found.contains(&deed[n].parse().unwrap());
    let stands = match kind.as_str() {
        "commit" => there(1),
        "end" | "remove" => !there(1),
        "notice" => {
            assert_ne!(there(1), there(2), "{what}: half of {deed:?}");
            there(2)
        }
        _ => return,
    };
    match expected {
        Nothing => assert!(!stands, "{what}: {deed:?} stands"),
        Stands => assert!(stands, "{what}: {deed:?} does not stand"),
        Either => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_row_of_the_crash_table() {
    let _alone = crate::ALONE.lock().await;
    for (point, nth, row, expected) in ROWS {
        let dir = tempfile::tempdir().unwrap();
        run_child(dir.path(), &format!("{point}:{nth}"));
        check(dir.path(), &format!("row {row}, {point}"), *expected).await;
    }
}

/// Row 6, second half: an end that was noted counts, though the log does not have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_end_that_was_noted_outlives_a_kill() {
    let _alone = crate::ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    run_child(dir.path(), "end.noted");
    for rebuilt in [false, true] {
        if rebuilt {
            std::fs::remove_dir_all(dir.path().join("spool/index")).unwrap();
        }
        let found = standing(&open(dir.path())).await;
        // The second may have been noted with the first.
        let known = found == [2, 3, 4, 5, 6, 7, 8] || found == [3, 4, 5, 6, 7, 8];
        assert!(known, "{found:?}, rebuilt {rebuilt}");
    }
}

/// Row 17, and all that recovery does: it dies on the way up, and the next recovery is none the worse.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_crash_in_recovery() {
    let _alone = crate::ALONE.lock().await;
    for (point, without_index) in RECOVERY {
        let dir = tempfile::tempdir().unwrap();
        run_child(dir.path(), "commit.after_sync:90");
        if *without_index {
            // As if made under other settings: it is removed.
            let index = sled::open(dir.path().join("spool/index")).unwrap();
            index.insert("xsettings", "others").unwrap();
            index.flush().unwrap();
        }
        run_child(dir.path(), point);
        check(dir.path(), &format!("row 17, {point}"), Either).await;
    }
}
