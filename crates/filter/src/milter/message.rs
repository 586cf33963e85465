//! A message in the pieces that a milter wants: field by field, then its body.

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::TryStreamExt as _;

use super::command::DATA_OCTETS_MAX;
use crate::facts::Body;
use crate::opinion::Failed;

/// What is still to come of a message.
pub(super) struct Message {
    body: Body,
    pending: BytesMut,
    is_ended: bool,
}

/// What stands at the beginning of what is pending.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// More is needed to tell.
    More,
    /// A field: where its colon is, and where it ends.
    Field(usize, usize),
    /// The header is over, behind so many octets.
    Body(usize),
}

impl Message {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            pending: BytesMut::new(),
            is_ended: false,
        }
    }

    /// The name and the value of the next field; none: the header is over.
    pub(super) async fn field(&mut self) -> Result<Option<(Bytes, Bytes)>, Failed> {
        loop {
            match next(&self.pending, self.is_ended) {
                Next::More => self.read().await?,
                Next::Field(colon, end) => {
                    let mut name = self.pending.split_to(end).freeze();
                    let value = name.split_off(colon).slice(1..);
                    name.truncate(name.trim_ascii_end().len());
                    return Ok(Some((name, value)));
                }
                Next::Body(start) => {
                    self.pending.advance(start);
                    return Ok(None);
                }
            }
        }
    }

    /// The next piece of the body.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Failed> {
        while self.pending.is_empty() && !self.is_ended {
            self.read().await?;
        }
        let octets = self.pending.len().min(DATA_OCTETS_MAX);
        Ok((octets > 0).then(|| self.pending.split_to(octets).freeze()))
    }

    async fn read(&mut self) -> Result<(), Failed> {
        match self.body.try_next().await {
            Ok(Some(chunk)) => self.pending.extend_from_slice(&chunk),
            Ok(None) => self.is_ended = true,
            Err(error) => return Err(Failed(format!("the message cannot be read: {error}"))),
        }
        Ok(())
    }
}

/// A line that is no field ends the header as an empty one does, and so does a field that no packet holds: nothing is kept from
/// the milter, it comes as body.
fn next(pending: &[u8], is_ended: bool) -> Next {
    let mut lines = memchr::memchr_iter(b'\n', pending).map(|at| at + 1);
    let first = match lines.next() {
        None if !is_ended && pending.len() < FIELD_OCTETS_MAX => return Next::More,
        first => first.unwrap_or(pending.len()),
    };
    let line = &pending[..first];
    if line == b"\r\n" {
        return Next::Body(first);
    }
    let is_fold = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    let colon = match memchr::memchr(b':', line) {
        Some(colon) if colon > 0 && !is_fold(line.first()) => colon,
        _ => return Next::Body(0),
    };
    let ends = [first].into_iter().chain(lines);
    let end = ends
        .filter(|end| *end < pending.len())
        .find(|end| !is_fold(pending.get(*end)));
    match end {
        Some(end) if end <= FIELD_OCTETS_MAX => Next::Field(colon, end),
        None if pending.len() <= FIELD_OCTETS_MAX && is_ended => Next::Field(colon, pending.len()),
        None if pending.len() <= FIELD_OCTETS_MAX => Next::More,
        _ => Next::Body(0),
    }
}

/// With NUL behind name and value, less its colon, it fits a packet.
const FIELD_OCTETS_MAX: usize = DATA_OCTETS_MAX - 1;

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _, stream};

    use super::*;

    /// What it is taken apart to: the fields, and the body.
    fn apart(chunks: Vec<Vec<u8>>) -> (Vec<(String, String)>, Vec<u8>) {
        let chunks = chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)));
        let mut message = Message::new(stream::iter(chunks).boxed());
        let (mut fields, mut body) = (Vec::new(), Vec::new());
        let text = |octets: Bytes| String::from_utf8_lossy(&octets).into_owned();
        while let Some((name, value)) = message.field().now_or_never().unwrap().unwrap() {
            fields.push((text(name), text(value)));
        }
        while let Some(piece) = message.piece().now_or_never().unwrap().unwrap() {
            assert!(piece.len() <= DATA_OCTETS_MAX);
            body.extend_from_slice(&piece);
        }
        (fields, body)
    }

    /// Split at every point, and in single octets.
    #[track_caller]
    fn check(message: &str, fields: &[(&str, &str)], body: &str) {
        let message = message.as_bytes();
        let fields = fields
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let expected = (fields.collect(), body.as_bytes().to_vec());
        assert_eq!(
            apart(message.chunks(1).map(<[u8]>::to_vec).collect()),
            expected
        );
        for at in 0..=message.len() {
            let (one, other) = message.split_at(at);
            assert_eq!(
                apart(vec![one.to_vec(), other.to_vec()]),
                expected,
                "at {at}"
            );
        }
    }

    #[test]
    fn messages() {
        check(
            "A: b\r\nC:d\r\n\te\r\n \r\n\r\nbody\r\n\r\n",
            &[("A", " b\r\n"), ("C", "d\r\n\te\r\n \r\n")],
            "body\r\n\r\n",
        );
        check("Subject \t:  x\r\n\r\n", &[("Subject", "  x\r\n")], "");
        check("A: b", &[("A", " b")], "");
        check("A: b\r\n", &[("A", " b\r\n")], "");
        check("A:\r\n\r\n", &[("A", "\r\n")], "");
        check("", &[], "");
        check("\r\nbody", &[], "body");
        check(
            "A: b\r\nno field\r\nC: d\r\n\r\nx",
            &[("A", " b\r\n")],
            "no field\r\nC: d\r\n\r\nx",
        );
        check(": x\r\n\r\n", &[], ": x\r\n\r\n");
        check(" A: x\r\n\r\n", &[], " A: x\r\n\r\n");
        check("A: \r b\n c\r\n\n", &[("A", " \r b\n c\r\n")], "\n");
    }

    #[test]
    fn a_field_that_no_packet_holds_is_body() {
        for (octets, is_field) in [(65_534, true), (65_535, false), (9_000_000, false)] {
            let field = format!("A:{}\r\n", "x".repeat(octets - 4));
            let message = format!("{field}B: c\r\n\r\nbody").into_bytes();
            let (fields, body) = apart(message.chunks(30_000).map(<[u8]>::to_vec).collect());
            match is_field {
                true => assert_eq!((fields.len(), &body[..]), (2, &b"body"[..])),
                false => assert_eq!((fields.len(), body), (0, message)),
            }
        }
    }
}
