//! What this crate tells a client, in words.

use envelope::{EnhancedStatus, Reply};

pub(crate) fn target_unknown() -> Reply {
    Reply::new(
        550,
        EnhancedStatus::permanent(1, 1),
        "forwarded to an address that does not exist",
    )
}

pub(crate) fn table_loop() -> Reply {
    Reply::new(
        550,
        EnhancedStatus::permanent(4, 6),
        "forwarding of this address leads back to itself",
    )
}

pub(crate) fn chain_too_deep() -> Reply {
    Reply::new(
        550,
        EnhancedStatus::permanent(4, 6),
        "too many forwards one behind the other",
    )
}

pub(crate) fn too_many_targets() -> Reply {
    Reply::new(
        550,
        EnhancedStatus::permanent(2, 4),
        "forwarded to too many addresses",
    )
}
