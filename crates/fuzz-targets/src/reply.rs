//! The reply parser against a hostile peer, and the writer: what is written is read back, and nothing more.

use arbitrary::Arbitrary;
use envelope::Reply;
use smtp::limits;
use smtp::reply::{Parser, ReplyError, write_reply};

use crate::input::{Pieces, assert_clean, plan};

#[derive(Debug, Arbitrary)]
struct Plan {
    split: u64,
}

/// `data` is how to split, and what a peer sends.
pub(crate) fn check(data: &[u8]) {
    let Some((Plan { split }, wire)) = plan(data) else {
        return;
    };
    let replies = parse(Pieces::new(wire, split));
    assert_eq!(replies, parse(Pieces::new(wire, 0)), "split changes it");
    for reply in replies.into_iter().flatten() {
        assert_reply(&reply);
        let mut written = Vec::new();
        write_reply(&reply, &mut written);
        assert_replies(&written);
        let again = parse(Pieces::new(&written, 0));
        let [Ok(again)] = &again[..] else {
            panic!("{reply:?} is read back as {again:?}")
        };
        assert_eq!(again.code, reply.code);
        if reply.status.is_some() {
            assert_eq!(again.status, reply.status);
        }
    }
}

/// Up to the first error: after it, the start of the next reply is unknown.
fn parse(pieces: Pieces<'_>) -> Vec<Result<Reply, ReplyError>> {
    let mut parser = Parser::default();
    let mut found = Vec::new();
    for mut piece in pieces {
        while let Some(reply) = parser.parse(&mut piece) {
            let failed = reply.is_err();
            found.push(reply);
            if failed {
                return found;
            }
        }
        assert!(piece.is_empty(), "bytes left without a reply");
    }
    found
}

/// What a peer's reply may hold when it reaches logs and notices.
#[track_caller]
pub(crate) fn assert_reply(reply: &Reply) {
    assert!((200..=599).contains(&reply.code), "{reply:?}");
    assert!(
        reply.text.len() <= limits::PEER_REPLY_OCTETS_KEPT,
        "{reply:?}"
    );
    reply.text.split('\n').for_each(assert_clean);
    assert_clean(&reply.to_string());
}

/// Whole reply lines only: CRLF, three digits, a blank or hyphen, within the length that RFC 5321 allows.
#[track_caller]
pub(crate) fn assert_replies(output: &[u8]) {
    let text = String::from_utf8_lossy(output);
    let Some(lines) = text.strip_suffix("\r\n") else {
        return assert!(output.is_empty(), "{text:?} does not end in CRLF");
    };
    for line in lines.split("\r\n") {
        assert_clean(line);
        assert!(line.len() + 2 <= limits::REPLY_LINE_OCTETS_MAX, "{line:?}");
        let bytes = line.as_bytes();
        let code = bytes.get(..3).unwrap_or_default();
        assert!(
            code.len() == 3
                && (b'2'..=b'5').contains(&code[0])
                && code.iter().all(u8::is_ascii_digit)
                && matches!(bytes.get(3), Some(b' ' | b'-')),
            "{line:?} in {text:?}"
        );
    }
}
