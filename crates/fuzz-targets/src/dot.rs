//! The body of DATA: decoder and encoder against the plainest definition of both.

use arbitrary::Arbitrary;
use smtp::dot::{Decoder, Encoder, Passer};

use crate::input::{Pieces, find, has_bare_newline, plan};

#[derive(Debug, Arbitrary)]
struct Plan {
    split: u64,
}

/// `data` is how to split, and the bytes: first as a stream to decode, then as a body to encode.
pub(crate) fn check(data: &[u8]) {
    let Some((Plan { split }, bytes)) = plan(data) else {
        return;
    };
    check_decoder(bytes, split);
    check_encoder(bytes, split);
    check_passer(bytes, split);
}

fn check_passer(bytes: &[u8], split: u64) {
    for normalize in [false, true] {
        let mut passer = Passer::new(normalize);
        let mut out = Vec::new();
        Pieces::new(bytes, split).for_each(|piece| passer.pass(piece, &mut out));
        passer.finish(&mut out);
        let bare = passer.line_ends().first_bare().is_some();
        assert_eq!(bare, has_bare_newline(bytes));
        if normalize {
            assert!(!has_bare_newline(&out), "a bare newline got through");
            assert_eq!(without_newlines(&out), without_newlines(bytes));
        } else {
            assert_eq!(out, bytes);
        }
    }
}

fn without_newlines(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.retain(|byte| !b"\r\n".contains(byte));
    bytes
}

/// The stream ends at the same place, whether or not line ends are normalized.
fn check_decoder(stream: &[u8], split: u64) {
    decode(&mut Decoder::default(), stream, split, |out, whole| {
        out == whole
    });
    decode(&mut Decoder::new(true), stream, split, |out, whole| {
        !has_bare_newline(out) && without_newlines(out) == without_newlines(whole)
    });
}

fn decode(
    decoder: &mut Decoder,
    stream: &[u8],
    split: u64,
    is_right: impl Fn(&[u8], &[u8]) -> bool,
) {
    let mut out = Vec::new();
    let mut used = 0;
    let mut ended = false;
    for piece in Pieces::new(stream, split) {
        if let Some(octets) = decoder.decode(piece, &mut out) {
            used += octets;
            ended = true;
            break;
        }
        used += piece.len();
    }
    let end = end_of(stream);
    assert_eq!(ended.then_some(used), end, "the end");
    let body = end.map_or(stream, |end| &stream[..end - b".\r\n".len()]);
    let whole = undotted(body);
    if ended {
        assert!(is_right(&out, &whole), "the body");
        let bare = decoder.line_ends().first_bare().is_some();
        assert_eq!(bare, has_bare_newline(body));
    } else {
        // A CR is held back until the next octet is known.
        let held = &whole[..whole.len().saturating_sub(1)];
        assert!(is_right(&out, &whole) || is_right(&out, held), "so far");
    }
}

fn check_encoder(body: &[u8], split: u64) {
    let mut encoder = Encoder::default();
    let mut wire = Vec::new();
    let encoded = Pieces::new(body, split)
        .try_for_each(|piece| encoder.encode(piece, &mut wire))
        .and_then(|()| encoder.finish(&mut wire));
    assert_eq!(encoded.is_err(), has_bare_newline(body), "bare newlines");
    if encoded.is_err() {
        // What went out before did not end the message.
        return assert_eq!(end_of(&wire), None);
    }
    assert_eq!(end_of(&wire), Some(wire.len()), "ends once, at its end");
    let mut expected = body.to_vec();
    if !body.is_empty() && !body.ends_with(b"\r\n") {
        expected.extend_from_slice(b"\r\n");
    }
    assert_eq!(undotted(&wire[..wire.len() - 3]), expected);
}

/// Where the octets after the body begin (RFC 5321 §4.1.1.4), as if a CRLF stood before the first line.
pub(crate) fn end_of(stream: &[u8]) -> Option<usize> {
    let framed = [b"\r\n", stream].concat();
    find(&framed, b"\r\n.\r\n").map(|at| at + 3)
}

/// Takes one dot away from each line that begins with one.
pub(crate) fn undotted(body: &[u8]) -> Vec<u8> {
    let mut rest = &[b"\r\n", body].concat()[..];
    let mut out = Vec::new();
    while let Some(at) = find(rest, b"\r\n.") {
        out.extend_from_slice(&rest[..at + 2]);
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    out.split_off(2)
}
