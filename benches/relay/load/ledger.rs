//! What a load knows of each message after the run: how many recipients were accepted, and whether an answer is missing.
//!
//! The sink's copies are held against it: an accepted recipient without a copy is a loss, a second copy is a duplicate, unless an answer
//! was missing: then the sender had to send again, and the receiver could not know better.

/// All messages of a run, by sequence number.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
}

/// One message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Recipients that were accepted with the message.
    pub(crate) accepted: u16,
    /// Recipients whose fate is unknown: the connection broke after the end of the data and before its answer.
    pub(crate) uncertain: u16,
}

impl Ledger {
    /// `recipients` more were accepted with message `sequence`.
    pub(crate) fn accept(&mut self, sequence: u64, recipients: u16) {
        self.entry(sequence).accepted += recipients;
    }

    /// The answer for `recipients` of message `sequence` is missing.
    pub(crate) fn doubt(&mut self, sequence: u64, recipients: u16) {
        self.entry(sequence).uncertain += recipients;
    }

    /// Message `sequence`; all zero when it was never accepted.
    pub(crate) fn of(&self, sequence: u64) -> Entry {
        let at = usize::try_from(sequence).unwrap_or(usize::MAX);
        self.entries.get(at).copied().unwrap_or_default()
    }

    /// All messages with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Entry)> {
        (0..).zip(self.entries.iter().copied())
    }

    /// Accepted recipients: the copies that must arrive.
    pub(crate) fn copies(&self) -> u64 {
        let accepted = self.entries.iter().map(|entry| u64::from(entry.accepted));
        accepted.sum()
    }

    fn entry(&mut self, sequence: u64) -> &mut Entry {
        let Ok(at) = usize::try_from(sequence) else {
            unreachable!("sequence numbers are below `Load::messages`, which had to fit memory")
        };
        if self.entries.len() <= at {
            self.entries.resize(at + 1, Entry::default());
        }
        &mut self.entries[at]
    }
}
