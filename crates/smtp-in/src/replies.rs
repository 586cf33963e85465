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

/// The answer to a connection over a cap.
pub(crate) fn over_cap(cap: Cap) -> Reply {
    let (status, text) = match cap {
        Cap::Total => ((3, 2), "too many connections, try again later"),
        Cap::PerAddress => (
            (7, 0),
            "too many connections from your network, try again later",
        ),
    };
    Reply::new(421, EnhancedStatus::transient(status.0, status.1), text)
}
