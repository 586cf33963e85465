//! Freezes over restarts, and damage to their file.

use std::os::unix::fs::MetadataExt;

use super::*;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_unix_millis(secs * 1000)
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

#[test]
fn frozen_and_lifted() {
    let freezes = Freezes::in_memory();
    assert!(freezes.is_empty());
    assert!(freezes.freeze(&key("user:ann"), "cracked", at(1)));
    assert!(!freezes.freeze(&key("user:Ann"), "other", at(2)));
    assert_eq!(freezes.find(&key("user:ann")).as_deref(), Some("cracked"));
    freezes.hit(&key("user:ann"));
    assert_eq!(freezes.list(None, 9)[0].hits, 1);
    let lifted = freezes.lift(&key("user:ann")).unwrap();
    assert_eq!((lifted.since, lifted.hits), (at(1), 1));
    assert_eq!(freezes.lift(&key("user:ann")), None);
    assert!(freezes.is_empty());
    freezes.sync().unwrap();
}

#[test]
fn a_restart_keeps_what_was_synced() {
    let dir = tempfile::tempdir().unwrap();
    let id = MessageId::new(at(5), 7);
    let ann = key("user:ann b");
    {
        let freezes = Freezes::open(dir.path());
        freezes.freeze(&ann, "cracked", at(1));
        freezes.freeze(&key("client:2001:db8::1"), "flood", at(2));
        freezes.freeze(&key("client:192.0.2.1"), "flood", at(3));
        freezes.mark(&[ann.clone(), key("user:nobody")], Mark::Mailing(id));
        freezes.sync().unwrap();
        freezes.mark(std::slice::from_ref(&ann), Mark::Posted);
        freezes.lift(&key("client:192.0.2.1"));
        freezes.sync().unwrap();
        freezes.freeze(&key("user:unsynced"), "cracked", at(4));
    }
    // The second start reads what the first has written anew.
    for _ in 0..2 {
        let freezes = Freezes::open(dir.path());
        let all = freezes.list(None, 9);
        let keys: Vec<&str> = all.iter().map(|freeze| freeze.key.as_str()).collect();
        assert_eq!(keys, ["client:2001:db8::/64", "user:ann b"]);
        let told = Told {
            mail: Some(id),
            is_mailed: false,
            is_posted: true,
        };
        assert_eq!((all[1].since, all[1].told), (at(1), told));
        assert_eq!(all[0].told, Told::default());
        assert_eq!(freezes.len(), 2);
        assert_eq!(freezes.list(Some(&all[0].key), 1)[0].key, ann);
        let file = std::fs::metadata(dir.path().join("freezes")).unwrap();
        assert_eq!(file.mode() & 0o777, 0o600, "it names users");
    }
}

#[test]
fn what_is_told_of_all_makes_the_same_file() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let freezes = Freezes::open(here.path());
    freezes.freeze(&key("user:ann b"), "cracked", at(1));
    freezes.freeze(&key("client:192.0.2.1"), "flood", at(2));
    freezes.mark(&[key("user:ann b")], Mark::Posted);
    let before = Freezes::open(there.path());
    before.freeze(&key("user:old"), "cracked", at(1));
    before.sync().unwrap();
    let all = freezes.all();
    let told = all.iter().map(|(key, text)| (key.clone(), Some(&**text)));
    let lifted = (key("user:lifted"), None);
    Freezes::rewrite(there.path(), told.chain([lifted])).unwrap();
    let written = Freezes::open(there.path());
    assert_eq!(written.list(None, 9), freezes.list(None, 9));
}

#[test]
fn a_damaged_line_is_lost_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("freezes");
    let freezes = Freezes::open(dir.path());
    for name in ["a", "b", "c"] {
        freezes.freeze(&Key::new(crate::Kind::User, name), "cracked", at(1));
    }
    freezes.sync().unwrap();
    drop(freezes);
    let whole = std::fs::read(&path).unwrap();
    let line = whole.len() / 3;
    // Each octet of the second line damaged, and each place to be torn at.
    for n in 0..line - 1 {
        let mut damaged = whole.clone();
        damaged[line + n] ^= 0x80;
        std::fs::write(&path, &damaged).unwrap();
        let freezes = Freezes::open(dir.path());
        assert_eq!(freezes.len(), 2, "{n}");
        let kept = std::fs::read(path.with_extension("broken")).unwrap();
        assert_eq!(kept, damaged);
        std::fs::write(&path, &whole[..line * 2 + n]).unwrap();
        let freezes = Freezes::open(dir.path());
        assert_eq!(freezes.len(), 2, "{n}");
        freezes.freeze(&key("user:d"), "cracked", at(2));
        freezes.sync().unwrap();
        assert_eq!(Freezes::open(dir.path()).len(), 3, "{n}");
    }
}

#[test]
fn no_file_keeps_a_relay_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("freezes")).unwrap();
    let freezes = Freezes::open(dir.path());
    freezes.freeze(&key("user:a"), "cracked", at(1));
    assert!(freezes.sync().is_err());
    assert_eq!(freezes.len(), 1);
    // Once it can be written, nothing is missing.
    std::fs::remove_dir(dir.path().join("freezes")).unwrap();
    freezes.freeze(&key("user:b"), "cracked", at(1));
    freezes.sync().unwrap();
    assert_eq!(Freezes::open(dir.path()).len(), 2);
    std::fs::write(dir.path().join("freezes"), [0xff; 100_000]).unwrap();
    assert!(Freezes::open(dir.path()).is_empty());
}

#[test]
fn a_hundred_thousand() {
    let dir = tempfile::tempdir().unwrap();
    let freezes = Freezes::open(dir.path());
    for n in 0..100_000 {
        assert!(freezes.freeze(&Key::new(crate::Kind::User, &n.to_string()), "x", at(n)));
    }
    freezes.sync().unwrap();
    let freezes = Freezes::open(dir.path());
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = freezes.list(after.as_ref(), 1000);
        let Some(last) = page.last() else { break };
        seen += page.len();
        after = Some(last.key.clone());
    }
    assert_eq!(seen, 100_000);
    for n in 100_000..FROZEN_MAX as u64 + 9 {
        freezes.freeze(&Key::new(crate::Kind::User, &n.to_string()), "x", at(n));
    }
    assert_eq!(freezes.len(), FROZEN_MAX);
}

#[test]
fn nodes_tell_each_other_who_is_frozen() {
    let [one, two] = [Freezes::in_memory(), Freezes::in_memory()];
    let tell = |from: &Freezes, to: &Freezes| {
        let (until, changed) = from.unshared();
        for (key, unshared) in &changed {
            to.learn(key, unshared.text.as_deref());
        }
        from.shared(until);
        let marks = changed.into_values().map(|unshared| unshared.is_mark);
        marks.collect::<Vec<_>>()
    };
    let key: Key = "user:ann lee".parse().unwrap();
    one.freeze(&key, "cracked", Timestamp::from_unix_millis(1));
    assert_eq!(tell(&one, &two), [false]);
    assert_eq!(two.get(&key), one.get(&key));
    assert_eq!(tell(&one, &two), [] as [bool; 0]);
    // What is known of it here alone stays.
    two.hit(&key);
    one.mark(std::slice::from_ref(&key), Mark::Mailed);
    assert_eq!(tell(&one, &two), [true]);
    let learned = two.get(&key).unwrap();
    assert_eq!((learned.hits, learned.told.is_mailed), (1, true));
    two.lift(&key);
    // Not told yet: what the other says is older.
    one.mark(std::slice::from_ref(&key), Mark::Posted);
    tell(&one, &two);
    assert_eq!(two.len(), 0);
    assert_eq!(tell(&two, &one), [false]);
    assert_eq!((one.len(), two.len()), (0, 0));
    // Lines of another key, or of a later version.
    one.learn(
        &key,
        Some("frozen 2026-11-21T12:34:56.789Z x user:bob\nmelted user:ann lee\n"),
    );
    assert_eq!(one.len(), 0);
}
