//! A short run of every fuzz target: its corpus, and seeded mutations of it. The same inputs each time.
//!
//! It finds what a change breaks in a minute's work of a fuzzer; what takes longer is for cargo-fuzz (CONTRIBUTING.md).

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test: it fails and tells why"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz_targets::{TARGETS, Target, xorshift};

/// Mutations of the whole corpus of one target.
const MUTATIONS: usize = 1500;
/// All corpora together, in octets: they are in the repository.
const CORPUS_OCTETS_MAX: u64 = 300 * 1024;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz")
        .join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            path.file_stem().unwrap().to_string_lossy().into_owned()
        })
        .collect()
}

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder("corpus").join(target.name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    assert!(!files.is_empty(), "{}: no seeds", folder.display());
    files.sort();
    files
}

/// Tells which input it was when the target panics.
struct Told<'a> {
    target: &'a str,
    from: &'a str,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self {
                target,
                from,
                input,
            } = self;
            let text = input.escape_ascii();
            eprintln!("target `{target}`, input from {from}:\n{text}");
        }
    }
}

fn run(target: &Target, from: &str, input: &[u8]) {
    let _told = Told {
        target: target.name,
        from,
        input,
    };
    (target.check)(input);
}

/// One to four small changes: an octet changed, put in or taken out, a piece doubled, a piece of another file put in.
fn mutate(input: &mut Vec<u8>, other: &[u8], seed: &mut u64) {
    for _ in 0..=xorshift(seed) % 4 {
        let at = xorshift(seed) as usize % (input.len() + 1);
        let octets = xorshift(seed) as usize % 16;
        match xorshift(seed) % 6 {
            0 => input.insert(at, LIKELY[xorshift(seed) as usize % LIKELY.len()]),
            1 => input.insert(at, xorshift(seed) as u8),
            2 if at < input.len() => input[at] ^= 1 << (xorshift(seed) % 8),
            3 => drop(input.drain(at..(at + octets).min(input.len()))),
            4 => {
                let piece = input[at..(at + octets).min(input.len())].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let from = xorshift(seed) as usize % (other.len() + 1);
                let piece = &other[from..(from + 4 * octets).min(other.len())];
                input.splice(at..at, piece.iter().copied());
            }
        }
    }
}

/// What parsers look at.
const LIKELY: &[u8] = b"\r\n\0\t .:;<>@\"\\=+-0129,*[]\x80\xff";

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let files = corpus(target);
    for (path, input) in &files {
        run(target, path, input);
    }
    let mut seed = 0x006f_6e77_6172_6421;
    let mutations = if name == "spool" {
        MUTATIONS / 50
    } else {
        MUTATIONS
    };
    for number in 0..mutations {
        let (path, input) = &files[number % files.len()];
        let (_, other) = &files[xorshift(&mut seed) as usize % files.len()];
        let mut input = input.clone();
        mutate(&mut input, other, &mut seed);
        run(target, &format!("{path}, mutation {number}"), &input);
    }
}

/// One test a target, so that they run side by side.
macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replays! {
    authentic bounce client command dot forwards header mailbox milter proxy record reply segment server spf spool srs
}

#[test]
fn every_target_has_a_binary_a_corpus_and_a_replay() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    let replayed: BTreeSet<_> = REPLAYED.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(targets, replayed);
    assert_eq!(targets, names(&folder("fuzz_targets")));
    assert_eq!(targets, names(&folder("corpus")));
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in targets {
        let bin = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&bin), "fuzz/Cargo.toml has no {name}");
    }
}

#[test]
fn corpora_are_small() {
    let files = TARGETS.iter().flat_map(corpus);
    let octets: u64 = files.map(|(_, input)| input.len() as u64).sum();
    assert!(octets <= CORPUS_OCTETS_MAX, "{octets} octets of corpora");
}
