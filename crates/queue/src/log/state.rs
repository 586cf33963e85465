//! What changes about a leg in its life: its state, as tagged fields.

use envelope::Timestamp;

use crate::log::fields::{FieldReader, FieldWriter, Malformed, number, number32, text};
use crate::log::rows::decode_time;

/// What changes about a leg in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegState {
    pub(crate) due: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) warned: bool,
    pub(crate) held: bool,
    /// The operator wants it bounced.
    pub(crate) bounced: bool,
    /// Held because the message is damaged; `last` says how. Ends with the hold.
    pub(crate) damaged: bool,
    pub(crate) last: Box<str>,
}

impl LegState {
    pub(super) fn write(&self, out: &mut FieldWriter) {
        out.number(STATE_DUE, self.due.unix_millis());
        let flags = [self.warned, self.held, self.bounced, self.damaged];
        let flags: u64 = (0u64..)
            .zip(flags)
            .map(|(n, bit)| u64::from(bit) << n)
            .sum();
        if self.attempts != 0 {
            out.number(STATE_ATTEMPTS, u64::from(self.attempts));
        }
        if flags != 0 {
            out.number(STATE_FLAGS, flags);
        }
        if !self.last.is_empty() {
            out.text(STATE_LAST, &self.last);
        }
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let (mut due, mut attempts, mut flags, mut last) = (None, 0, 0, "");
        for field in FieldReader(value) {
            match field? {
                (STATE_DUE, value) => due = Some(decode_time(value)?),
                (STATE_ATTEMPTS, value) => attempts = number32(value)?,
                (STATE_FLAGS, value) => flags = number(value)?,
                (STATE_LAST, value) => last = text(value)?,
                _ => {}
            }
        }
        Ok(Self {
            due: due.ok_or(Malformed("state without a due time"))?,
            attempts,
            warned: flags & 1 != 0,
            held: flags & 2 != 0,
            bounced: flags & 4 != 0,
            damaged: flags & 8 != 0,
            last: last.into(),
        })
    }
}

const STATE_DUE: u8 = 1;
const STATE_ATTEMPTS: u8 = 2;
const STATE_FLAGS: u8 = 3;
const STATE_LAST: u8 = 4;
