//! The header of a message on its way in: how many Received, which Delivered-To; and its Message-ID.
//!
//! Fed with the body as it arrives, in chunks split anywhere; stops at the first empty line. What it remembers is
//! bounded, whatever it is fed: one field of [`FIELD_OCTETS_MAX`] octets and [`DELIVERED_MAX`] addresses.
//!
//! It does *not* judge the header's grammar: a line that is no field is passed over.

use std::collections::HashSet;
use std::sync::Arc;

use envelope::Mailbox;

use crate::fold::fold;
use crate::trace::ascii_form;

/// Reads a header for signs of a loop.
#[derive(Debug, Clone, Default)]
pub struct HeaderScan {
    /// The field being read, unfolded, cut at [`FIELD_OCTETS_MAX`].
    field: Vec<u8>,
    line: Line,
    received: u32,
    delivered: HashSet<String>,
    overflowed: bool,
    non_ascii: bool,
    date: Option<Arc<str>>,
    message_id: Option<Arc<str>>,
    tls_not_required: bool,
    done: bool,
}

/// How much of the current line was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Line {
    #[default]
    Start,
    /// A CR alone, perhaps the end of the empty line.
    Cr,
    Text,
}

impl HeaderScan {
    /// Takes in the next chunk of the message; gives what of it stands behind the header.
    pub fn feed<'a>(&mut self, mut chunk: &'a [u8]) -> &'a [u8] {
        while !self.done && !chunk.is_empty() {
            let Some(end) = memchr::memchr(b'\n', chunk) else {
                self.text(chunk);
                return &[];
            };
            self.text(&chunk[..end]);
            self.line_end();
            chunk = &chunk[end + 1..];
        }
        chunk
    }

    /// The message is over; it may have had no empty line.
    pub fn finish(&mut self) {
        self.field_end();
        self.done = true;
    }

    /// How many relays the message has passed, by its Received fields. More Delivered-To than are remembered count as too
    /// many for anybody: no honest way is so long.
    pub fn hops(&self) -> u32 {
        if self.overflowed {
            u32::MAX
        } else {
            self.received
        }
    }

    /// Whether the header has octets over 127: only such a one needs SMTPUTF8 (RFC 6531 §3.4), whatever MAIL said.
    pub fn non_ascii(&self) -> bool {
        self.non_ascii
    }

    /// Whether there is a Date.
    pub fn has_date(&self) -> bool {
        self.date.is_some()
    }

    /// The first Date, if it says anything: as it is written, cut to the octets of a line.
    pub fn date(&self) -> Option<Arc<str>> {
        self.date.clone().filter(|date| !date.is_empty())
    }

    /// Whether there is a Message-ID.
    pub fn has_message_id(&self) -> bool {
        self.message_id.is_some()
    }

    /// The first Message-ID, likewise.
    pub fn message_id(&self) -> Option<Arc<str>> {
        self.message_id.clone().filter(|id| !id.is_empty())
    }

    /// Whether its sender would rather have it sent in clear than not at all: `TLS-Required: No` (RFC 8689 §3).
    pub fn tls_not_required(&self) -> bool {
        self.tls_not_required
    }

    /// Whether the message has been delivered to this address before; case does not matter.
    pub fn was_delivered_to(&self, address: &Mailbox) -> bool {
        ascii_form(address).is_some_and(|form| self.delivered.contains(&fold(&form.to_string())))
    }

    /// Part of a line, without its LF.
    fn text(&mut self, text: &[u8]) {
        let Some(first) = text.first() else {
            return;
        };
        self.non_ascii |= !text.is_ascii();
        if self.line == Line::Start {
            if text == b"\r" {
                self.line = Line::Cr;
                return;
            }
            // A line that begins with a blank goes on with the field before it.
            if !matches!(first, b' ' | b'\t') {
                self.field_end();
            }
        } else if self.line == Line::Cr {
            // The CR was bare and begins a line of text, wherever the chunks were split.
            self.field_end();
            self.field.push(b'\r');
        }
        self.line = Line::Text;
        let room = FIELD_OCTETS_MAX.saturating_sub(self.field.len());
        self.field.extend_from_slice(&text[..text.len().min(room)]);
    }

    fn line_end(&mut self) {
        if self.line != Line::Text {
            self.finish();
        }
        self.line = Line::Start;
    }

    fn field_end(&mut self) {
        let field = std::mem::take(&mut self.field);
        let Some(colon) = field.iter().position(|b| *b == b':') else {
            return;
        };
        let name = field[..colon].trim_ascii_end();
        if name.eq_ignore_ascii_case(b"received") {
            self.received = self.received.saturating_add(1);
        } else if name.eq_ignore_ascii_case(b"delivered-to") {
            self.delivered_to(field[colon + 1..].trim_ascii());
        } else if name.eq_ignore_ascii_case(b"tls-required") {
            self.tls_not_required |= field[colon + 1..].trim_ascii().eq_ignore_ascii_case(b"no");
        } else if name.eq_ignore_ascii_case(b"date") {
            self.date.get_or_insert_with(|| line(&field[colon + 1..]));
        } else if name.eq_ignore_ascii_case(b"message-id") {
            let value = || line(&field[colon + 1..]);
            self.message_id.get_or_insert_with(value);
        }
        self.field = field;
        self.field.clear();
    }

    fn delivered_to(&mut self, value: &[u8]) {
        if self.delivered.len() >= DELIVERED_MAX {
            self.overflowed = true;
            return;
        }
        let Ok(text) = std::str::from_utf8(value) else {
            return;
        };
        let text = text
            .strip_prefix('<')
            .and_then(|t| t.strip_suffix('>'))
            .unwrap_or(text);
        // As we write it ourselves: parsing first makes `"alice"@` and `alice@` the same.
        let address = text.parse::<Mailbox>().ok();
        let form = address.as_ref().and_then(ascii_form);
        self.delivered
            .extend(form.map(|form| fold(&form.to_string())));
    }
}

/// A value, cut to the octets of a line.
fn line(value: &[u8]) -> Arc<str> {
    let value = String::from_utf8_lossy(value.trim_ascii());
    value[..value.floor_char_boundary(LINE_OCTETS_MAX)].into()
}

/// Whether a message begins with a header of its own, as far as its first octets tell; `None`: not yet.
///
/// A field is a name and a colon (RFC 5322 §2.2), perhaps with blanks between (§4.5). An empty line is an empty header. The
/// `From ` line of an mbox counts too: it stands in front of a header, which an empty line would turn into text.
pub fn has_header(start: &[u8]) -> Option<bool> {
    let of_name = |b: &&u8| b.is_ascii_graphic() && **b != b':';
    let (name, rest) = start.split_at(start.iter().take_while(of_name).count());
    let behind = rest.iter().find(|b| !matches!(b, b' ' | b'\t'));
    match (name, rest, behind) {
        ([], [] | [b'\r'], _) => None,
        ([], _, _) => Some(rest.starts_with(b"\r\n")),
        (b"From" | b">From", [b' ', ..], _) => Some(true),
        (_, _, None) => (start.len() >= LINE_OCTETS_MAX).then_some(false),
        (_, _, Some(b)) => Some(*b == b':'),
    }
}

/// RFC 5322 §2.1.1: what has gone on for so long is no name.
const LINE_OCTETS_MAX: usize = 998;
/// A name, an address of 900 octets, and folding.
const FIELD_OCTETS_MAX: usize = 1024;
/// Over this many different addresses is a loop in itself.
const DELIVERED_MAX: usize = 100;

#[cfg(test)]
mod tests;
