//! Senders, private targets and mail are nobody else's to read, whatever the umask: folders 0700, files 0600.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use envelope::{Message, MessageId, ReversePath, Timestamp};
use queue::{LogSpool, Settings};
use spool::{Arrival, BodyWriter, Clock, Spool};
use testkit::nouns;

fn now() -> Timestamp {
    Timestamp::from_unix_millis(1_800_000_000_000)
}

/// Everything below a folder, and it, with its mode.
fn modes(dir: &Path, each: &mut impl FnMut(&Path, bool, u32)) {
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    each(dir, true, mode(dir));
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => modes(&path, each),
            false => each(&path, false, mode(&path)),
        }
    }
}

#[track_caller]
fn check(dir: &Path) {
    let mut files = 0;
    modes(dir, &mut |path, is_dir, mode| {
        let wanted = if is_dir { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{}: {mode:o}", path.display());
        files += u32::from(!is_dir);
    });
    assert!(files > 5, "{files} files are no spool");
}

async fn open_and_use(dir: &Path, nth: u128) -> LogSpool {
    let settings = Settings {
        segment_bytes: Settings::SEGMENT_BYTES_MIN,
        clock: Clock::real(),
        ..Settings::new(dir)
    };
    let spool = LogSpool::open(settings).unwrap();
    let id = MessageId::new(now(), nth);
    let mut writer = spool.begin(id).await.unwrap();
    writer.write(vec![b'x'; 10]).await.unwrap();
    let message = Message::new(id, now(), ReversePath::Null, 10);
    let leg = nouns::forward("a@x.example", "a@y.example");
    let committed = spool
        .commit(writer, Arrival::new(message, vec![leg], now()))
        .await;
    committed.unwrap();
    spool.checkpoint().await.unwrap();
    spool
}

#[tokio::test]
async fn a_spool_is_its_owners_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("spool");
    let spool = open_and_use(&dir, 1).await;
    check(&dir);
    drop(spool);
    // As an earlier version made it.
    let mut all = Vec::new();
    modes(&dir, &mut |path, is_dir, _| {
        all.push((path.to_owned(), is_dir))
    });
    for (path, is_dir) in all {
        let mode = if is_dir { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let spool = open_and_use(&dir, 2).await;
    check(&dir);
    spool.close();
    check(&dir);
}
