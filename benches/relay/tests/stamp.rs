//! Checks of `stamp.rs`.

use crate::stamp::{LENGTH, Stamp};

const STAMP: Stamp = Stamp {
    run: 7,
    sequence: 1 << 40,
    intended_micros: 1_795_264_496_000_000,
    checksum: 0xdead_beef,
    octets: 10_240,
};

#[test]
fn what_is_written_is_read() {
    let mut line = Vec::new();
    STAMP.write(&mut line);
    assert_eq!(line.len(), LENGTH);
    assert_eq!(Stamp::read(&line), Some(STAMP));
}

#[track_caller]
fn refused(line: &str) {
    assert_eq!(Stamp::read(line.as_bytes()), None);
}

#[test]
fn other_lines_are_no_stamps() {
    refused("X-Bench: 1 2 3 4");
    refused("X-Bench: 1 2 3 4 5 6");
    refused("X-Bench: 100000000 2 3 4 5");
    refused("X-Bench: g 2 3 4 5");
    refused("X-Benches: 1 2 3 4 5");
}

#[test]
fn it_is_found_at_the_start_of_a_line_only() {
    assert_eq!(Stamp::find(b"X-Bench: 1"), Some(0));
    assert_eq!(Stamp::find(b"A: X-Bench: 1\r\nX-Bench: 2"), Some(15));
    assert_eq!(Stamp::find(b"A: X-Bench: 1\r\n"), None);
}
