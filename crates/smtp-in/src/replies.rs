//! All words that smtp-in itself says to a client.

use envelope::{EnhancedStatus, Reply};

use crate::caps::Cap;

/// AUTH, where nobody knows users.
pub(crate) fn no_logins() -> Reply {
    Reply::new(
        454,
        EnhancedStatus::transient(7, 0),
        "nobody can log in here",
    )
}

/// The answer to a connection over a cap, as bytes for the wire: no session exists yet.
pub(crate) const fn over_cap(cap: Cap) -> &'static [u8] {
    match cap {
        Cap::Total => b"421 4.3.2 too many connections, try again later\r\n",
        Cap::PerAddress => b"421 4.7.0 too many connections from your network, try again later\r\n",
    }
}
