//! What the operator has set, as far as rules follow it.

use std::sync::Arc;

use crate::measures::Name;

/// Settings that rules follow.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `connect.block`: lists whose clients are not served.
    pub blocks: Arc<[Name]>,
    /// `srs.accept_nonnull`: SRS addresses also take mail that is not a bounce.
    pub srs_accepts_nonnull: bool,
    /// The most targets that all recipients of one message may have together.
    pub targets_max: usize,
    /// `limits.received_headers`: more Received fields than this are a loop (RFC 5321 §6.3).
    pub hops_max: u32,
    /// Mail goes by tiers.
    pub tiers: bool,
    /// There are limits, or someone is frozen.
    pub limits: bool,
    /// A site or mailbox takes less than comes.
    pub pressure: bool,
    /// An operator drains the relay: it takes no mail.
    pub drained: bool,
}
