//! Why an address cannot be rewritten, why one cannot be read back, and why settings make no sense.

/// Why a sender cannot be rewritten. It is never to be sent on as it was instead: see [`Srs::token`](crate::Srs::token).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The rewritten local part would be over 64 octets (RFC 5321 §4.5.3.1.1), even without quotes.
    #[error("rewritten local part over 64 octets")]
    TooLong,
    /// The domain is no plain name (an address literal, say), or the local part holds a control character.
    #[error("sender cannot be written inside another local part")]
    Inexpressible,
}

/// Why an address is not one of ours to read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReverseError {
    /// It begins with neither `SRS0` nor `SRS1` and a separator.
    #[error("not an SRS address")]
    NotSrs,
    /// It is longer than any address may be; nothing further was looked at.
    #[error("SRS address too long")]
    TooLong,
    /// A part is missing or is not what must stand there.
    #[error("malformed SRS address")]
    Malformed,
    /// No secret of ours has signed it: forged, damaged, or another forwarder's.
    #[error("SRS address not signed by us")]
    BadTag,
    /// It was valid once.
    #[error("SRS address expired: {days} days old")]
    Expired {
        /// Its age.
        days: u16,
    },
    /// Its day is yet to come, by more than the allowed skew.
    #[error("SRS address from the future")]
    Future,
}

/// Why settings make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Nothing to sign with.
    #[error("no SRS secret")]
    NoSecret,
    /// A secret is the empty string, and anybody could sign.
    #[error("empty SRS secret")]
    EmptySecret,
    /// A tag length is outside [`Settings::TAG_OCTETS`](crate::Settings::TAG_OCTETS), or the least accepted
    /// one is over the one that we write.
    #[error("SRS tag length out of range")]
    TagLength,
    /// Age and skew together would take up so much of the stamp's circle that past and future look alike.
    #[error("SRS maximum age out of range: at most 500 days, skew at most 10")]
    Age,
}
