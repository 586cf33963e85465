//! The part of the original message that a notice gives back: its header, or all of it.

use std::borrow::Cow;

use memchr::memmem;

use crate::field::{LINE_OCTETS_MAX, quoted_printable};

/// The beginning of the message as it lies in the spool, or all of it.
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a> {
    /// Octets from the start of the message: as many as a notice may carry, which the caller's settings say.
    pub bytes: &'a [u8],
    /// Whether `bytes` are the whole message; if not, only its header is given back.
    pub complete: bool,
}

/// Of a header, no more than this is given back; it is cut between two lines.
pub const HEADER_OCTETS_MAX: usize = 32 * 1024;

/// A finished body part.
pub(crate) struct Part<'a> {
    pub(crate) content_type: &'static str,
    pub(crate) description: &'static str,
    pub(crate) encoding: &'static str,
    /// Borrowed when it is the whole message, which may be large.
    pub(crate) bytes: Cow<'a, [u8]>,
}

impl<'a> Excerpt<'a> {
    /// The last part of the notice (RFC 6522 §3, RFC 6533 §4). `full` asks for the whole message; it is given when
    /// it is here and can go by mail without a byte changed.
    pub(crate) fn part(self, full: bool, utf8: bool) -> Part<'a> {
        if full && self.complete && is_sendable(self.bytes) {
            return whole(self.bytes, utf8);
        }
        header_only(self.header(), utf8)
    }

    /// The header's lines in a safe form: bounded, ended by CRLF, no NUL, none too long.
    fn header(self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut header = header_of(self.bytes);
        if !self.complete && header.len() == self.bytes.len() {
            // Cut off within the header: half a line would say something else than the whole.
            let end = header
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
            header = &header[..end];
        }
        for line in header.split(|b| *b == b'\n') {
            let line: Vec<u8> = line
                .iter()
                .copied()
                .filter(|b| !matches!(b, b'\r' | 0))
                .collect();
            if line.is_empty() || out.len() + line.len() > HEADER_OCTETS_MAX {
                break;
            }
            push_folded(&mut out, &line);
        }
        out
    }

    /// The message's own Message-ID, if it has a sound one (RFC 5322 §3.6.4).
    pub(crate) fn message_id(self) -> Option<String> {
        let header = self.header();
        let header = str::from_utf8(&header)
            .ok()?
            .replace("\r\n ", " ")
            .replace("\r\n\t", " ");
        let id = header.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim_end()
                .eq_ignore_ascii_case("Message-ID")
                .then(|| value.trim())
        })?;
        let inner = id.strip_prefix('<')?.strip_suffix('>')?;
        let sound = inner.contains('@')
            && inner
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>".contains(&b));
        (sound && id.len() <= MESSAGE_ID_OCTETS_MAX).then(|| id.to_owned())
    }
}

fn whole(bytes: &[u8], utf8: bool) -> Part<'_> {
    let international = utf8 && !header_of(bytes).is_ascii();
    Part {
        content_type: if international {
            "message/global"
        } else {
            "message/rfc822"
        },
        description: "Your message",
        // No other encoding is allowed for a message within a message (RFC 2046 §5.2.1).
        encoding: if bytes.is_ascii() { "7bit" } else { "8bit" },
        bytes: bytes.into(),
    }
}

/// 8-bit text that no UTF-8 notice may carry goes as quoted-printable, which RFC 6522 §4 allows here.
fn header_only(header: Vec<u8>, utf8: bool) -> Part<'static> {
    let (content_type, encoding) = match header.is_ascii() {
        true => ("text/rfc822-headers", "7bit"),
        false if utf8 && str::from_utf8(&header).is_ok() => ("message/global-headers", "8bit"),
        false => ("text/rfc822-headers", "quoted-printable"),
    };
    let encode = encoding == "quoted-printable";
    Part {
        content_type,
        description: "The header of your message",
        encoding,
        bytes: if encode {
            quoted_printable(&header).into_bytes().into()
        } else {
            header.into()
        },
    }
}

/// All before the empty line; the whole excerpt when there is none.
fn header_of(bytes: &[u8]) -> &[u8] {
    let end = memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 2);
    &bytes[..end]
}

/// Only CRLF line ends, no NUL, no line too long (RFC 5322 §2.3, RFC 2045 §2.8).
fn is_sendable(bytes: &[u8]) -> bool {
    let sound =
        |line: &[u8]| line.len() <= LINE_OCTETS_MAX && !line.iter().any(|b| b"\r\0".contains(b));
    let mut lines = bytes.split(|b| *b == b'\n');
    let last = lines.next_back().unwrap_or_default();
    sound(last) && lines.all(|line| line.strip_suffix(b"\r").is_some_and(sound))
}

/// A line too long goes on in the next, which begins with a space; never cut within a UTF-8 character.
fn push_folded(out: &mut Vec<u8>, line: &[u8]) {
    let mut rest = line;
    while rest.len() > LINE_OCTETS_MAX {
        let is_continuation = |at: usize| rest[at] & 0xC0 == 0x80;
        let limit = LINE_OCTETS_MAX - 1;
        let end = (limit - 3..=limit)
            .rev()
            .find(|at| !is_continuation(*at))
            .unwrap_or(limit);
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\r\n ");
        rest = &rest[end..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\r\n");
}

/// Longer ones are made up by somebody who wants to know what we do with them.
const MESSAGE_ID_OCTETS_MAX: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        full: bool,
        utf8: bool,
        message: &[u8],
        content_type: &str,
        encoding: &str,
        bytes: &[u8],
    ) {
        let excerpt = Excerpt {
            bytes: message,
            complete: true,
        };
        let part = excerpt.part(full, utf8);
        assert_eq!((part.content_type, part.encoding), (content_type, encoding));
        assert_eq!(
            part.bytes.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        );
    }

    const HEADERS: &str = "text/rfc822-headers";

    #[test]
    fn whole_messages() {
        let message = b"A: b\r\n\r\nbody\r\n";
        check(true, false, message, "message/rfc822", "7bit", message);
        let message = b"A: b\r\n\r\nb\xFCdy";
        check(true, false, message, "message/rfc822", "8bit", message);
        let message = "A: bücher\r\n\r\nbody\r\n".as_bytes();
        check(true, true, message, "message/global", "8bit", message);
        check(true, false, message, "message/rfc822", "8bit", message);
    }

    #[test]
    fn headers() {
        check(
            false,
            false,
            b"A: b\r\n\r\nbody\r\n",
            HEADERS,
            "7bit",
            b"A: b\r\n",
        );
        check(
            false,
            false,
            b"A: b\xFC\r\n",
            HEADERS,
            "quoted-printable",
            b"A: b=FC\r\n",
        );
        let message = "A: ü\r\n\r\n".as_bytes();
        check(
            false,
            true,
            message,
            "message/global-headers",
            "8bit",
            "A: ü\r\n".as_bytes(),
        );
        check(
            false,
            true,
            b"A: b\xFC\r\n",
            HEADERS,
            "quoted-printable",
            b"A: b=FC\r\n",
        );
        check(false, false, b"", HEADERS, "7bit", b"");
    }

    #[test]
    fn what_cannot_go_whole_goes_as_header() {
        let long = [b"A: b\r\n\r\n".as_slice(), &[b'x'; 999], b"\r\n"].concat();
        check(true, false, &long, HEADERS, "7bit", b"A: b\r\n");
        for body in ["a\nb", "a\rb", "a\0b", "a\r"] {
            let message = format!("A: b\r\n\r\n{body}");
            check(
                true,
                false,
                message.as_bytes(),
                HEADERS,
                "7bit",
                b"A: b\r\n",
            );
        }
        let excerpt = Excerpt {
            bytes: b"A: b\r\n\r\ncut",
            complete: false,
        };
        assert_eq!(excerpt.part(true, false).content_type, HEADERS);
    }

    #[test]
    fn a_hostile_header_is_made_safe() {
        check(
            false,
            false,
            b"A: \0b\rc\nD: e",
            HEADERS,
            "7bit",
            b"A: bc\r\nD: e\r\n",
        );
        let line = "ü".repeat(2000);
        let folded = Excerpt {
            bytes: line.as_bytes(),
            complete: true,
        }
        .header();
        let folded = String::from_utf8(folded).unwrap();
        assert!(
            folded
                .split("\r\n")
                .all(|line| line.len() <= LINE_OCTETS_MAX)
        );
        assert_eq!(folded.replace("\r\n ", "").trim_end(), line);
        let many = b"A: b\r\n".repeat(10_000);
        let bounded = Excerpt {
            bytes: &many,
            complete: true,
        }
        .header();
        assert!(bounded.len() <= HEADER_OCTETS_MAX && bounded.ends_with(b"A: b\r\n"));
    }

    #[test]
    fn a_header_cut_short_ends_with_a_whole_line() {
        let cut = |bytes| {
            Excerpt {
                bytes,
                complete: false,
            }
            .header()
        };
        assert_eq!(cut(b"A: b\r\nBcc: someb"), b"A: b\r\n");
        assert_eq!(cut(b"A: b"), b"");
        assert_eq!(cut(b"A: b\r\n\r\nbod"), b"A: b\r\n");
        assert_eq!(cut(b"A: b\r\n"), b"A: b\r\n");
    }

    #[track_caller]
    fn check_id(header: &str, expected: Option<&str>) {
        let excerpt = Excerpt {
            bytes: header.as_bytes(),
            complete: true,
        };
        assert_eq!(excerpt.message_id().as_deref(), expected, "{header}");
    }

    #[test]
    fn message_ids() {
        check_id("A: b\r\nmessage-id: <a@b>\r\n\r\n", Some("<a@b>"));
        check_id("Message-ID:\r\n <a@b>\r\n", Some("<a@b>"));
        check_id("Message-ID: a@b\r\n", None);
        check_id("Message-ID: <a b@c>\r\n", None);
        check_id("Message-ID: <a@b> <c@d>\r\n", None);
        check_id("A: b\r\n\r\nMessage-ID: <a@b>\r\n", None);
        check_id(&format!("Message-ID: <{}@b>\r\n", "a".repeat(250)), None);
    }
}
