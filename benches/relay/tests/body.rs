//! Checks of `sink/body.rs`: the end of the data, the dots and the stamp are found however the octets are cut.

use crate::sink::body::{Arrived, Body};
use crate::stamp::Stamp;

const BELOW: &[u8] = b"Subject: dots\r\n\r\n.one\r\n.\rtwo\r\n..\r\nthree\r.\r\n";

fn stamp(below: &[u8]) -> Stamp {
    Stamp {
        run: 3,
        sequence: 42,
        intended_micros: 1,
        checksum: crc32fast::hash(below),
        octets: below.len() as u64,
    }
}

fn message(below: &[u8]) -> Vec<u8> {
    let mut message = b"Received: by a relay\r\n\tX-Bench: not this\r\n".to_vec();
    stamp(BELOW).write(&mut message);
    message.extend_from_slice(below);
    message
}

/// With its dots doubled and its end.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for line in message.split_inclusive(|b| *b == b'\n') {
        let is_line = data.is_empty() || data.ends_with(b"\r\n");
        if is_line && line.starts_with(b".") {
            data.push(b'.');
        }
        data.extend_from_slice(line);
    }
    data.extend_from_slice(b".\r\n");
    data
}

#[test]
fn a_message_is_whole_at_every_cut() {
    let mut data = stuffed(&message(BELOW));
    let length = data.len();
    data.extend_from_slice(b"MAIL FROM:<next@a.example>\r\n");
    let expected = Arrived::Stamped {
        stamp: stamp(BELOW),
        is_intact: true,
        is_proved: false,
    };
    for cut in 1..length {
        let mut body = Body::default();
        assert_eq!(body.data(&data[..cut]), (cut, false), "cut at {cut}");
        assert_eq!(
            body.data(&data[cut..]),
            (length - cut, true),
            "cut at {cut}"
        );
        assert_eq!(body.octets(), message(BELOW).len() as u64);
        assert_eq!(body.finish(false), expected, "cut at {cut}");
    }
    let mut body = Body::default();
    for (at, octet) in data[..length].iter().enumerate() {
        assert_eq!(body.data(&[*octet]), (1, at + 1 == length));
    }
    assert_eq!(body.finish(false), expected);
}

#[test]
fn chunks_need_no_dots() {
    let message = message(BELOW);
    for cut in 0..message.len() {
        let mut body = Body::default();
        body.chunk(&message[..cut]);
        body.chunk(&message[cut..]);
        let arrived = body.finish(false);
        assert!(
            matches!(
                arrived,
                Arrived::Stamped {
                    is_intact: true,
                    ..
                }
            ),
            "cut at {cut}: {arrived:?}"
        );
    }
}

#[track_caller]
fn check(message: &[u8], has_null_sender: bool, expected: Arrived) {
    let mut body = Body::default();
    body.chunk(message);
    assert_eq!(body.finish(has_null_sender), expected);
}

#[test]
fn damage_is_seen() {
    let damaged = Arrived::Stamped {
        stamp: stamp(BELOW),
        is_intact: false,
        is_proved: false,
    };
    let mut changed = BELOW.to_vec();
    changed[20] ^= 1;
    check(&message(&changed), false, damaged);
    check(&message(&BELOW[..BELOW.len() - 2]), false, damaged);
    check(&message(&[BELOW, b"\r\n"].concat()), false, damaged);
    check(
        &message(&[b"Added: by a relay\r\n", BELOW].concat()),
        false,
        damaged,
    );
}

#[test]
fn what_passed_is_read_above_the_stamp() {
    let proved = |is_proved| Arrived::Stamped {
        stamp: stamp(BELOW),
        is_intact: true,
        is_proved,
    };
    let told = |results: &str| {
        let field = format!("Authentication-Results: relay.example; {results}\r\n");
        [field.as_bytes(), &message(BELOW)].concat()
    };
    check(
        &told("dmarc=pass; spf=pass;\r\n\tdkim=pass"),
        false,
        proved(true),
    );
    check(
        &told("dmarc=pass; spf=pass; dkim=fail"),
        false,
        proved(false),
    );
}

#[test]
fn notices_name_the_message_they_are_about() {
    let notice = |fields: &str| {
        let mut notice = format!("Subject: failed\r\n\r\n{fields}").into_bytes();
        notice.extend_from_slice(&message(BELOW));
        notice
    };
    let about = stamp(BELOW);
    let expected = |failed| Arrived::Notice { about, failed };
    check(&notice(""), true, expected(1));
    let failed = "Final-Recipient: rfc822; a@b\r\nAction: failed\r\n";
    check(&notice(failed), true, expected(1));
    check(&notice(&failed.repeat(3)), true, expected(3));
    check(&notice("Action: delayed\r\n"), true, expected(0));
    // Not with a sender: then somebody wrote it.
    check(&notice(failed), false, Arrived::Stray);
    check(b"Subject: hello\r\n\r\nhello\r\n", true, Arrived::Stray);
}
