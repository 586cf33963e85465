//! What the relay itself says: the answer to a whole message, and why one is held.

use envelope::{Diagnosis, EnhancedStatus, MessageId, Reply};
use policy::{DmarcFound, Filtered, Judgement, Name};

envelope::replies! {
    /// As many clients as may wait for the answer to a wrong password already do.
    too_many_failed_logins = 421 transient(7, 0) "too many failed logins, try again later";
    /// XCLIENT's LOGIN of a user whom we do not know.
    unknown_login = 535 permanent(7, 8) "the proxy has logged in a user who is not known here";
    /// The same, while there is no answer yet.
    still_asking = 451 transient(4, 5) "the destination is still being asked about this message, try again later";
    /// Space or inodes are short (RFC 3463 §3.4: X.3.1, mail system full).
    spool_full = 452 transient(3, 1) "insufficient storage, try again later";
    /// The spool could not take it. Never a 5xx: it is our trouble, and may be over soon.
    spool_trouble = 451 transient(3, 0) "cannot store the message now, try again later";
}

/// More commands than a limit lets through.
pub(crate) fn too_many_commands(limit: &str) -> Reply {
    let text = format!("too many commands for the limit `{limit}`, try again later");
    Reply::new(421, EnhancedStatus::transient(7, 0), text)
}

/// The promise: it is on stable storage.
pub(crate) fn queued(id: MessageId) -> Reply {
    Reply::new(
        250,
        EnhancedStatus::success(0, 0),
        format!("queued as {id}"),
    )
}

/// The promise in the other way: every copy is at its destination.
pub(crate) fn delivered(id: MessageId) -> Reply {
    let text = format!("accepted by its destination as {id}");
    Reply::new(250, EnhancedStatus::success(0, 0), text)
}

/// The client left before it read our answer to the same message.
pub(crate) fn known(id: MessageId) -> Reply {
    let text = format!("accepted before, and not again as {id}");
    Reply::new(250, EnhancedStatus::success(0, 0), text)
}

/// The destination's verdict, with its code and its words, as far as the sender may see those.
pub(crate) fn refused_there(diagnosis: &Diagnosis, words: &str) -> Reply {
    let theirs = diagnosis.reply.as_ref().filter(|reply| reply.code >= 500);
    let text = match theirs {
        Some(_) => format!("refused by the destination: {words}"),
        None => format!("cannot be delivered to its destination: {words}"),
    };
    Reply::new(
        theirs.map_or(550, |reply| reply.code),
        diagnosis.status,
        text,
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

/// For the operator, in the queue's listing.
pub(crate) fn held_by_dmarc(found: Option<&DmarcFound>) -> Diagnosis {
    let why = match found {
        Some(DmarcFound::Fail { owner, .. }) => format!(
            "{owner} wants mail that it has not sent refused or put aside, and neither SPF nor DKIM proves that it has"
        ),
        _ => "the header is too large to see in it whose mail it is".to_owned(),
    };
    let text = format!("held (dmarc=hold): {why}");
    Diagnosis::local(EnhancedStatus::transient(7, 1), text)
}

/// For the operator, in the queue's listing.
pub(crate) fn held_by_filter(said: &[(Name, Filtered)]) -> Diagnosis {
    let why = said.iter().find_map(|(name, said)| match &said.judgement {
        Judgement::Hold(why) => Some(format!("held by the filter `{name}`: {why}")),
        _ => None,
    });
    let text = why.unwrap_or_default();
    let text = text.trim_end_matches([':', ' ']);
    Diagnosis::local(EnhancedStatus::transient(7, 1), text)
}

/// For the operator, too.
pub(crate) fn held_by_limit(limit: Option<&Name>) -> Diagnosis {
    let limit = limit.map_or("", |limit| limit);
    let text = format!("held (limit): more than `{limit}` lets through");
    Diagnosis::local(EnhancedStatus::transient(7, 1), text)
}
