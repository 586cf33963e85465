//! What the owner of a domain asks for, where nothing proves that mail in its name is its own.

/// The policy of a DMARC record (RFC 9989): `p=`, or the tag that takes its place for the author's domain. The strictest is the
/// greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DmarcPolicy {
    /// Do nothing.
    None,
    /// Put it aside.
    Quarantine,
    /// Refuse it.
    Reject,
}

impl DmarcPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Quarantine, Self::Reject];

    /// As the record has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}
