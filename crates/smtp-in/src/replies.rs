//! All words that smtp-in itself says to a client, as bytes for the wire: a session does not exist yet, or no more.

use envelope::{EnhancedStatus, Reply};

use crate::caps::Cap;

/// The answer to a connection over a cap, before any session exists.
pub(crate) const fn over_cap(cap: Cap) -> &'static [u8] {
    match cap {
        Cap::Total => b"421 4.3.2 too many connections, try again later\r\n",
        Cap::PerAddress => b"421 4.7.0 too many connections from your network, try again later\r\n",
    }
}

/// The answer to a body whose draft is gone without a reply of its own.
pub(crate) fn no_draft() -> Reply {
    let status = EnhancedStatus::transient(3, 0);
    Reply::new(451, status, "internal error, try again later")
}
