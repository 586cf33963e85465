//! Replies (RFC 5321 §4.2): reading a peer's, writing ours.
//!
//! The parser is lenient in form (LF alone ends a line, the text may be missing, empty lines are read over, the code of
//! the last line counts) and strict in what matters: a code is three digits from 200 to 599, and the lines of a reply
//! agree in the first of them. The text is kept as the peer wrote it, less control characters and less what is over
//! [`limits::PEER_REPLY_OCTETS_KEPT`]. What cannot be read can be told ([`Parser::unread`]).
//!
//! The writer cuts any text into lines of its own, so that no text can add a reply or a command.

use envelope::{Class, EnhancedStatus, Reply};

use crate::limits;

/// Puts replies together from bytes that come in any pieces. Bytes behind a reply stay for the next one.
#[derive(Debug, Default)]
pub struct Parser {
    /// The line that is coming in, up to the limit.
    line: Vec<u8>,
    reply: Option<Partial>,
    octets: usize,
    lines: usize,
}

#[derive(Debug)]
struct Partial {
    /// Of the line that came last.
    code: u16,
    /// Lines before had another one.
    codes_differ: bool,
    text: String,
    /// Text was left out: the next lines are not kept either.
    truncated: bool,
}

/// A peer that does not speak SMTP. There is no way on: where its next reply begins is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line without a code of three digits from 200 to 599, or with something else than a blank or hyphen behind it.
    #[error("not an SMTP reply")]
    NotAReply,
    /// Lines of one reply have codes that say different things: their first digits differ.
    #[error("reply lines with different codes")]
    CodesDiffer,
    /// More lines or octets than any honest peer sends.
    #[error("reply too long")]
    TooLong,
}

impl Parser {
    /// Takes bytes from the front of `input` until a reply is complete, and moves `input` behind it. `None`: all of
    /// it was used and more is to come. An error is the end.
    pub fn parse(&mut self, input: &mut &[u8]) -> Option<Result<Reply, ReplyError>> {
        while !input.is_empty() {
            let end = memchr::memchr(b'\n', input);
            let (part, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
            *input = rest;
            let room = limits::PEER_REPLY_OCTETS_KEPT.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            self.octets += part.len();
            if self.octets > limits::PEER_REPLY_OCTETS_MAX {
                return Some(Err(ReplyError::TooLong));
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                match self.add_line(&line) {
                    Ok(None) => {}
                    Ok(Some(reply)) => return Some(Ok(reply)),
                    Err(error) => {
                        self.line = line;
                        return Some(Err(error));
                    }
                }
            }
        }
        None
    }

    /// What has come of a reply that is not whole, or that cannot be read: escaped, on one line, and cut.
    pub fn unread(&self) -> Option<String> {
        let mut words = String::new();
        if let Some(Partial { code, text, .. }) = &self.reply {
            words = format!("{code} {text} ");
        }
        words.push_str(&String::from_utf8_lossy(&self.line));
        let shown = words.trim().chars().take(limits::PEER_UNREAD_SHOWN);
        let shown: String = shown.flat_map(char::escape_debug).collect();
        (!shown.is_empty()).then_some(shown)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        self.lines += 1;
        if self.lines > limits::PEER_REPLY_LINES_MAX {
            return Err(ReplyError::TooLong);
        }
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let (code, last, text) = split_line(line)?;
        let first = self.reply.is_none();
        let partial = self.reply.get_or_insert_with(|| Partial::new(code));
        if partial.code / 100 != code / 100 {
            return Err(ReplyError::CodesDiffer);
        }
        partial.codes_differ |= partial.code != code;
        partial.code = code;
        partial.add(first, text);
        if !last {
            return Ok(None);
        }
        self.octets = 0;
        self.lines = 0;
        Ok(self.reply.take().map(Partial::into_reply))
    }
}

impl Partial {
    fn new(code: u16) -> Self {
        Self {
            code,
            codes_differ: false,
            text: String::new(),
            truncated: false,
        }
    }

    fn add(&mut self, first: bool, text: &[u8]) {
        if self.truncated {
            return;
        }
        if !first {
            self.text.push('\n');
        }
        let printable = String::from_utf8_lossy(text);
        let printable = printable.trim_end();
        for c in printable.chars() {
            if self.text.len() + c.len_utf8() > limits::PEER_REPLY_OCTETS_KEPT {
                self.truncated = true;
                return;
            }
            // A control character could break a log line, a bounce or a terminal.
            self.text.push(if c.is_control() { ' ' } else { c });
        }
    }

    /// Takes the enhanced status out of the text: of the first line, or of the last where that has the code that counts;
    /// and of the others where it is the same.
    fn into_reply(self) -> Reply {
        let last = self.text.rsplit('\n').next().unwrap_or_default();
        let telling = if self.codes_differ { last } else { &self.text };
        let (status, _) = split_status(self.code, telling);
        let Some(status) = status else {
            return Reply {
                code: self.code,
                status: None,
                text: self.text,
            };
        };
        let lines = self
            .text
            .split('\n')
            .map(|line| match split_status(self.code, line) {
                (Some(other), rest) if other == status => rest,
                _ => line,
            });
        Reply {
            code: self.code,
            status: Some(status),
            text: lines.collect::<Vec<_>>().join("\n"),
        }
    }
}

/// Writes a reply: each line with the code and, except behind 3xx, the enhanced status (RFC 2034 §4).
///
/// Lines are cut at line breaks and at [`limits::REPLY_LINE_OCTETS_MAX`]; control characters become blanks; beyond
/// [`limits::REPLY_LINES_MAX`] lines the rest is left out. A code outside 200 to 599 is a bug of ours and becomes 451,
/// so that no peer is told more than "try again".
pub fn write_reply(reply: &Reply, out: &mut Vec<u8>) {
    let code = match reply.code {
        code @ 200..=599 => code,
        code => {
            debug_assert!(false, "reply code {code}");
            451
        }
    };
    let mut prefix = String::new();
    if let Some(status) = reply.status.filter(|_| !matches!(code, 300..=399)) {
        prefix = format!("{status} ");
    }
    let room = limits::REPLY_LINE_OCTETS_MAX - "250-\r\n".len() - prefix.len();
    let mut lines = reply
        .text
        .split(['\n', '\r'])
        .filter(|line| !line.is_empty())
        .flat_map(|line| pieces(line, room))
        .take(limits::REPLY_LINES_MAX)
        .peekable();
    if lines.peek().is_none() {
        write_line(code, ' ', &prefix, "", out);
    }
    while let Some(line) = lines.next() {
        let separator = if lines.peek().is_some() { '-' } else { ' ' };
        write_line(code, separator, &prefix, line, out);
    }
}

fn write_line(code: u16, separator: char, prefix: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(code.to_string().as_bytes());
    out.push(separator as u8);
    out.extend_from_slice(prefix.as_bytes());
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Cuts a line into pieces of at most `room` octets, between characters.
fn pieces(line: &str, room: usize) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at(rest.floor_char_boundary(room));
        rest = tail;
        Some(piece)
    })
}

/// A reply line without its end: code, whether it is the last, text.
fn split_line(line: &[u8]) -> Result<(u16, bool, &[u8]), ReplyError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some((&[a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'], rest)) =
        line.split_first_chunk()
    else {
        return Err(ReplyError::NotAReply);
    };
    let code = [a, b, c]
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest {
        [] => Ok((code, true, b"")),
        [b' ', text @ ..] => Ok((code, true, text)),
        [b'-', text @ ..] => Ok((code, false, text)),
        _ => Err(ReplyError::NotAReply),
    }
}

/// An enhanced status at the start of a line counts only when its class agrees with the code (RFC 2034 §4).
fn split_status(code: u16, line: &str) -> (Option<EnhancedStatus>, &str) {
    let word = line.split([' ', '\n']).next().unwrap_or_default();
    let class = match code {
        200..=299 => Class::Success,
        400..=499 => Class::Transient,
        500..=599 => Class::Permanent,
        _ => return (None, line),
    };
    let status = word.parse().ok();
    match status.filter(|status: &EnhancedStatus| status.class == class) {
        Some(status) => {
            let rest = &line[word.len()..];
            (Some(status), rest.strip_prefix(' ').unwrap_or(rest))
        }
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replies (as `code status text`) found in `input`, split at every point; an error ends the row with its text.
    #[track_caller]
    fn check(input: &[u8], expected: &[&str]) {
        for split in 0..=input.len() {
            let mut parser = Parser::default();
            let mut got = Vec::new();
            'parts: for mut part in [&input[..split], &input[split..]] {
                while let Some(reply) = parser.parse(&mut part) {
                    let text = match &reply {
                        Ok(reply) => {
                            let status = reply.status.map(|s| s.to_string()).unwrap_or_default();
                            format!("{} {status} {}", reply.code, reply.text)
                        }
                        Err(error) => error.to_string(),
                    };
                    got.push(text);
                    if reply.is_err() {
                        break 'parts;
                    }
                }
            }
            assert_eq!(
                got,
                expected,
                "{:?} split at {split}",
                String::from_utf8_lossy(input)
            );
        }
    }

    #[test]
    fn replies() {
        check(b"250 2.1.0 Ok\r\n", &["250 2.1.0 Ok"]);
        check(b"250 ok\r\n354 go\r\n", &["250  ok", "354  go"]);
        check(b"250-a\r\n250-b\r\n250 c\r\n", &["250  a\nb\nc"]);
        check(b"250\r\n", &["250  "]);
        check(b"250 \n", &["250  "]);
        check(b"250-2.1.5 a\r\n250 2.1.5 b\r\n", &["250 2.1.5 a\nb"]);
        check(b"250-2.1.5 a\r\n250 2.1.6 b\r\n", &["250 2.1.5 a\n2.1.6 b"]);
        check(b"550-5.7.509 No\r\n550 way\r\n", &["550 5.7.509 No\nway"]);
        check(b"550 4.1.1 liar\r\n", &["550  4.1.1 liar"]);
        check(b"354 2.0.0 go\r\n", &["354  2.0.0 go"]);
        check(b"250 2.0.0\r\n", &["250 2.0.0 "]);
        check(b"250 a\x1b[2Jb\0c\xff\r\n", &["250  a [2Jb c\u{fffd}"]);
        check(b"250 half", &[]);
        check(b"250-half\r\n", &[]);
        check(b"220 a\r\n\r\n250 b\r\n", &["220  a", "250  b"]);
        check(b"\r\n \r\n\n250-a\r\n\r\n250 b\r\n", &["250  a\nb"]);
        check(
            b"550-5.1.1 blocked\r\n554 5.7.1 go away\r\n",
            &["554 5.7.1 5.1.1 blocked\ngo away"],
        );
        check(b"451-4.3.0 a\r\n450 b\r\n", &["450  4.3.0 a\nb"]);
    }

    #[track_caller]
    fn check_unread(input: &str, expected: Option<&str>) {
        let mut parser = Parser::default();
        let mut rest = input.as_bytes();
        while parser.parse(&mut rest).is_some_and(|reply| reply.is_ok()) {}
        assert_eq!(parser.unread().as_deref(), expected, "{input:?}");
    }

    #[test]
    fn what_cannot_be_read_can_be_told() {
        check_unread("250 ok\r\n", None);
        check_unread("\r\n", None);
        check_unread("SSH-2.0-OpenSSH\r\nmore", Some("SSH-2.0-OpenSSH"));
        check_unread(
            "554 blocked, and no line end",
            Some("554 blocked, and no line end"),
        );
        check_unread("550-a\r\n550-b\r\n", Some("550 a\\nb"));
        check_unread("250-a\r\n550 no\r\n", Some("250 a 550 no"));
        check_unread("\x1b[2J\u{202e}x\r\n", Some("\\u{1b}[2J\\u{202e}x"));
        check_unread(
            &"x".repeat(100_000),
            Some(&"x".repeat(limits::PEER_UNREAD_SHOWN)),
        );
    }

    #[test]
    fn what_is_no_reply() {
        for input in [
            &b"hello\r\n"[..],
            b"25\r\n",
            b"2500 x\r\n",
            b"150 x\r\n",
            b"650 x\r\n",
            b"25x y\r\n",
            b"250_y\r\n",
        ] {
            check(input, &["not an SMTP reply"]);
        }
        check(b"250-a\r\n550 b\r\n", &["reply lines with different codes"]);
        check(
            b"250 a\r\n250-a\r\nSMTP\r\n",
            &["250  a", "not an SMTP reply"],
        );
    }

    #[test]
    fn limits_of_a_peer() {
        let mut parser = Parser::default();
        let long = format!("550 {}\r\n250 ok\r\n", "x".repeat(100_000));
        let mut input = long.as_bytes();
        let reply = parser.parse(&mut input).unwrap().unwrap();
        assert!(reply.text.len() > 8000 && reply.text.len() <= limits::PEER_REPLY_OCTETS_KEPT);
        assert_eq!(parser.parse(&mut input).unwrap().unwrap().text, "ok");

        let mut many = "250-x\r\n".repeat(10_000);
        assert_eq!(
            parser.parse(&mut many.as_bytes()),
            Some(Err(ReplyError::TooLong))
        );
        many = "x".repeat(1_000_000);
        assert_eq!(
            Parser::default().parse(&mut many.as_bytes()),
            Some(Err(ReplyError::TooLong))
        );
    }

    #[track_caller]
    fn check_write(reply: &Reply, expected: &str) {
        let mut out = Vec::new();
        write_reply(reply, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn writing() {
        let status = EnhancedStatus::permanent(1, 1);
        check_write(&Reply::new(550, status, "no"), "550 5.1.1 no\r\n");
        check_write(
            &Reply::new(550, status, "a\nb"),
            "550-5.1.1 a\r\n550 5.1.1 b\r\n",
        );
        check_write(
            &Reply::new(550, status, "a\r\n250 ok\0\r"),
            "550-5.1.1 a\r\n550 5.1.1 250 ok \r\n",
        );
        check_write(&Reply::new(550, status, ""), "550 5.1.1 \r\n");
        let go = Reply {
            code: 354,
            status: None,
            text: "go".to_owned(),
        };
        check_write(&go, "354 go\r\n");
    }

    #[test]
    fn long_lines_are_cut() {
        let reply = Reply::new(550, EnhancedStatus::permanent(1, 1), "ü".repeat(20_000));
        let mut out = Vec::new();
        write_reply(&reply, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.lines()
                .all(|line| line.len() + 2 <= limits::REPLY_LINE_OCTETS_MAX)
        );
        assert_eq!(text.lines().count(), limits::REPLY_LINES_MAX);
        assert!(
            text.lines()
                .rev()
                .skip(1)
                .all(|line| line.starts_with("550-5.1.1 ü"))
        );
        assert!(
            text.lines()
                .next_back()
                .is_some_and(|line| line.starts_with("550 5.1.1 ü"))
        );
        // What we write, we read.
        let parsed = Parser::default()
            .parse(&mut text.as_bytes())
            .unwrap()
            .unwrap();
        assert_eq!((parsed.code, parsed.status), (550, reply.status));
    }
}
