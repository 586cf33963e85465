//! What the owner of a domain asks for, where nothing proves that mail in its name is its own.

named! {
    /// The policy of a DMARC record (RFC 9989): `p=`, or the tag that takes its place for the author's domain. The strictest is the
    /// greatest.
    pub enum DmarcPolicy {
        /// Do nothing.
        None = "none",
        /// Put it aside.
        Quarantine = "quarantine",
        /// Refuse it.
        Reject = "reject",
    }
}
