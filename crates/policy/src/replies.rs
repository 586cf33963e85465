//! All words that policy says to a client, one function a reply.
//!
//! Each names a code, an enhanced status (RFC 3463, RFC 7372) and a text that helps the sender's operator.

use envelope::{EnhancedStatus, Mailbox, Reply};

/// EHLO or HELO with an argument that no name looks like (RFC 5321 §4.1.1.1).
pub(crate) fn hello_malformed() -> Reply {
    permanent(501, (5, 4), "the name after EHLO or HELO is malformed")
}

/// Submission by someone we do not know (RFC 6409 §4.3).
pub(crate) fn authentication_required() -> Reply {
    permanent(530, (7, 0), "authentication required")
}

/// A hosted domain, but no such address.
pub(crate) fn no_such_address() -> Reply {
    permanent(550, (1, 1), "no such address here")
}

/// Not for us, and not from us.
pub(crate) fn relaying_denied() -> Reply {
    permanent(550, (7, 1), "relaying denied")
}

/// A local part that asks the next hop to pass the mail on.
pub(crate) fn untrusted_routing() -> Reply {
    permanent(
        550,
        (7, 1),
        "relaying denied: the address names a further host",
    )
}

/// Whose address it is could not be found out: ours to repair, so it is never permanent.
pub(crate) fn lookup_failed() -> Reply {
    let text = "recipient cannot be looked up now, try again later";
    Reply::new(451, EnhancedStatus::transient(3, 0), text)
}

/// The recipients so far stand for as many targets as one message may have.
pub(crate) fn too_many_targets() -> Reply {
    let text = "too many recipients behind these addresses, send to the rest separately";
    Reply::new(452, EnhancedStatus::transient(5, 3), text)
}

/// An SRS address with a tag that is not ours.
pub(crate) fn srs_forged() -> Reply {
    permanent(550, (7, 1), "SRS address refused: signature does not match")
}

/// An SRS address past its days.
pub(crate) fn srs_expired() -> Reply {
    permanent(550, (1, 1), "SRS address refused: it has expired")
}

/// An SRS address from a day to come.
pub(crate) fn srs_future() -> Reply {
    permanent(
        550,
        (7, 1),
        "SRS address refused: its date is in the future",
    )
}

/// An SRS address that lacks parts.
pub(crate) fn srs_damaged() -> Reply {
    permanent(550, (1, 1), "SRS address refused: it is damaged")
}

/// An SRS token whose mapping is gone.
pub(crate) fn srs_forgotten() -> Reply {
    permanent(550, (1, 1), "SRS address refused: it is no longer known")
}

/// A valid SRS address, but the mail is no notification.
pub(crate) fn srs_takes_notifications_only() -> Reply {
    let text = "SRS address refused: it takes only notifications (MAIL FROM:<>)";
    permanent(550, (7, 1), text)
}

/// The sender behind an SRS address has had enough for a day.
pub(crate) fn srs_over_budget() -> Reply {
    let text = "too many messages to the sender behind this SRS address, try again later";
    Reply::new(450, EnhancedStatus::transient(7, 1), text)
}

/// Beside an SRS address that will be refused at DATA (RFC 5321 §4.5.3.1.10: the client sends to the rest in a transaction
/// of its own).
pub(crate) fn send_separately() -> Reply {
    let text = "an SRS address goes before, send to this recipient separately";
    Reply::new(452, EnhancedStatus::transient(5, 3), text)
}

/// More Received fields than honest mail has.
pub(crate) fn too_many_hops(max: u32) -> Reply {
    let text = format!("over {max} hops: this message is going round in circles");
    permanent(554, (4, 6), &text)
}

/// The address is no secret: the message names it.
pub(crate) fn delivered_before(address: &Mailbox) -> Reply {
    let text = format!("mail loop: this message has passed {address} before");
    permanent(554, (4, 6), &text)
}

fn permanent(code: u16, (subject, detail): (u16, u16), text: &str) -> Reply {
    Reply::new(code, EnhancedStatus::permanent(subject, detail), text)
}
