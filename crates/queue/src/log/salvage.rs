//! What can still be read of a commit record that is damaged: whose message it was, from whom, to whom.
//!
//! It proves *nothing* (see `repair` for what can be proved): it is for the words with which an operator is told of a loss.

use std::fmt;

use envelope::{Mailbox, MessageId, ReversePath};

use crate::log::codec::{COMMIT_LEG, COMMIT_MESSAGE, LegRow, MessageRow};
use crate::log::fields::FieldReader;
use crate::log::record::{Header, Position};

/// A message that a damaged record seems to have been of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    pub(crate) message: MessageId,
    pub(crate) sender: ReversePath,
    /// Its legs' numbers and recipients, as far as they can be read.
    pub(crate) recipients: Vec<(u32, Mailbox)>,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to ", self.sender)?;
        match self.recipients.is_empty() {
            true => f.write_str("recipients that cannot be read"),
            false => write_recipients(f, self.recipients.iter().map(|(_, recipient)| recipient)),
        }
    }
}

/// Recipients for a log line: some by name, the others by number.
pub(crate) fn write_recipients<'a>(
    out: &mut impl fmt::Write,
    recipients: impl ExactSizeIterator<Item = &'a Mailbox>,
) -> fmt::Result {
    let more = recipients.len().saturating_sub(NAMED_MAX);
    for (n, recipient) in recipients.take(NAMED_MAX).enumerate() {
        let comma = if n > 0 { "," } else { "" };
        write!(out, "{comma}{recipient}")?;
    }
    match more {
        0 => Ok(()),
        more => write!(out, " and {more} more"),
    }
}

/// The messages whose commit records seem to begin within a damaged piece, which lies at `position`.
pub(crate) fn salvage(piece: &[u8], position: Position) -> Vec<Hint> {
    let inside = memchr::memmem::find_iter(piece, &Header::MAGIC).filter(|at| *at > 0);
    let read = |at: usize| {
        let (head, payload) = piece.get(at..)?.split_at_checked(Header::OCTETS)?;
        let offset = position.offset().checked_add(u32::try_from(at).ok()?)?;
        let place = Position::new(position.segment(), offset);
        // What only looks like a record, in a body, does not name the place where it lies.
        let named = at == 0 || head[8..16] == place.0.to_le_bytes();
        named.then(|| front(payload))?
    };
    std::iter::once(0).chain(inside).filter_map(read).collect()
}

/// What the fields of a commit record say, up to the first that cannot be read.
fn front(payload: &[u8]) -> Option<Hint> {
    let (octets, rest) = payload.split_first_chunk::<4>()?;
    let fields = rest.get(..rest.len().min(u32::from_le_bytes(*octets) as usize))?;
    let mut hint: Option<Hint> = None;
    for field in FieldReader(fields).map_while(Result::ok) {
        match (field, &mut hint) {
            ((COMMIT_MESSAGE, value), _) => {
                let message = MessageRow::decode(value).ok()?.message;
                hint = Some(Hint {
                    message: message.id,
                    sender: message.reverse_path,
                    recipients: Vec::new(),
                });
            }
            ((COMMIT_LEG, value), Some(hint)) => {
                let row = LegRow::decode(value).ok();
                let recipient = row.map(|row| (row.number, row.leg.recipient));
                hint.recipients.extend(recipient);
            }
            _ => {}
        }
    }
    hint
}

/// Recipients that a log line names.
const NAMED_MAX: usize = 10;
