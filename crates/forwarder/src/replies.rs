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

pub(crate) fn too_many_hops(max: u32) -> Reply {
    let text = format!("over {max} hops: this message is going round in circles");
    Reply::new(554, EnhancedStatus::permanent(4, 6), text)
}

pub(crate) fn delivered_before(address: &dyn std::fmt::Display) -> Reply {
    let text = format!("mail loop: this message has passed {address} before");
    Reply::new(554, EnhancedStatus::permanent(4, 6), text)
}

pub(crate) fn srs_unknown(text: &str) -> Reply {
    Reply::new(550, EnhancedStatus::permanent(1, 1), text)
}

pub(crate) fn srs_forbidden(text: &str) -> Reply {
    Reply::new(550, EnhancedStatus::permanent(7, 1), text)
}
