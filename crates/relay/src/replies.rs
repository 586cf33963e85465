//! What the relay itself says to a client: the answer to a whole message.

use envelope::{EnhancedStatus, MessageId, Reply};

/// The promise: it is on stable storage.
pub(crate) fn queued(id: MessageId) -> Reply {
    Reply::new(
        250,
        EnhancedStatus::success(0, 0),
        format!("queued as {id}"),
    )
}

/// Every recipient's line says `:discard:`.
pub(crate) fn discarded(id: MessageId) -> Reply {
    Reply::new(
        250,
        EnhancedStatus::success(0, 0),
        format!("accepted as {id}"),
    )
}

/// Space or inodes are short (RFC 3463 §3.4: X.3.1, mail system full).
pub(crate) fn spool_full() -> Reply {
    Reply::new(
        452,
        EnhancedStatus::transient(3, 1),
        "insufficient storage, try again later",
    )
}

/// The spool could not take it. Never a 5xx: it is our trouble, and may be over soon.
pub(crate) fn spool_trouble() -> Reply {
    Reply::new(
        451,
        EnhancedStatus::transient(3, 0),
        "cannot store the message now, try again later",
    )
}
