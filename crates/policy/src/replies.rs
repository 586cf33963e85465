//! All words that policy says to a client, one row or function a reply.
//!
//! Each names a code, an enhanced status (RFC 3463, RFC 7372) and a text that helps the sender's operator.

use std::net::IpAddr;

use envelope::{EnhancedStatus, Mailbox, Reply, ReversePath};

use crate::sender::{Identity, SpfFound};

envelope::replies! {
    /// An operator drains the relay (RFC 3463 §3.4: X.3.2, system not accepting network messages).
    drained = 421 transient(3, 2) "no new mail is taken for now, try again later";
    /// The greeting must be waited for (RFC 5321 §4.3.1), and 554 is the one refusal that may stand in its place (§3.1): 521 would
    /// say that this host never takes mail (RFC 7504).
    talked_early = 554 permanent(5, 1) "wait for the greeting before you send commands";
    /// EHLO or HELO with an argument that no name looks like (RFC 5321 §4.1.1.1).
    hello_malformed = 501 permanent(5, 4) "the name after EHLO or HELO is malformed";

    /// Submission by someone we do not know (RFC 6409 §4.3).
    authentication_required = 530 permanent(7, 0) "authentication required: log in first (AUTH, under TLS)";
    /// RFC 4954 §6.
    credentials_wrong = 535 permanent(7, 8) "user name or password is wrong";
    /// RFC 4954 §6: a temporary failure of ours.
    credentials_unknown = 454 transient(7, 0) "logins cannot be checked now, try again later";

    /// A hosted domain, but no such address.
    no_such_address = 550 permanent(1, 1) "no such address here";
    /// Not for us, and not from us.
    relaying_denied = 550 permanent(7, 1) "relaying denied";
    /// A local part that asks the next hop to pass the mail on.
    untrusted_routing = 550 permanent(7, 1) "relaying denied: the address names a further host";
    /// Whose address it is could not be found out: ours to repair, so it is never permanent.
    lookup_failed = 451 transient(3, 0) "recipient cannot be looked up now, try again later";
    /// The recipients so far stand for as many targets as one message may have.
    too_many_targets = 452 transient(5, 3) "too many recipients behind these addresses, send to the rest separately";

    /// An SRS address with a tag that is not ours.
    srs_forged = 550 permanent(7, 1) "SRS address refused: signature does not match";
    /// An SRS address past its days.
    srs_expired = 550 permanent(1, 1) "SRS address refused: it has expired";
    /// An SRS address from a day to come.
    srs_future = 550 permanent(7, 1) "SRS address refused: its date is in the future";
    /// An SRS address that lacks parts.
    srs_damaged = 550 permanent(1, 1) "SRS address refused: it is damaged";
    /// An SRS token whose mapping is gone.
    srs_forgotten = 550 permanent(1, 1) "SRS address refused: it is no longer known";
    /// A valid SRS address, but the mail is no notification.
    srs_takes_notifications_only = 550 permanent(7, 1) "SRS address refused: it takes only notifications (MAIL FROM:<>)";
    /// The sender behind an SRS address has had enough for a day.
    srs_over_budget = 450 transient(7, 1) "too many messages to the sender behind this SRS address, try again later";

    /// Beside an SRS address that will be refused at DATA (RFC 5321 §4.5.3.1.10: the client sends to the rest in a transaction
    /// of its own).
    send_separately = 452 transient(5, 3) "an SRS address goes before, send to this recipient separately";
    /// Recipients before this one would have the answer at the end of the body decided otherwise.
    unlike_measures = 452 transient(5, 3) "this recipient's rules differ from those of the recipients before, send to it separately";
    /// The recipients before have their mail answered by another destination, or by us.
    unlike_answer = 452 transient(5, 3) "the answer for this recipient may differ from that for the recipients before, send to it separately";

    /// A header in which the author cannot be looked for, for a recipient that asks for that (RFC 3463: X.3.4).
    header_too_large = 552 permanent(3, 4) "the header is too large to see in it whose mail this is";
    /// A filter could not be asked, and mail is not to pass without it.
    filter_unavailable = 451 transient(7, 1) "the recipient's content filter cannot be asked now, try again later";
    /// It says nothing of where the mail would go.
    under_pressure = 451 transient(2, 1) "this recipient takes less mail at the moment than comes, try again later";
}

/// In place of the greeting (RFC 5321 §3.1).
pub(crate) fn client_blocked(list: &str) -> Reply {
    let text = format!("no mail is taken from your network: it is on the list `{list}`");
    permanent(554, (7, 1), &text)
}

/// A user who sends as somebody else.
pub(crate) fn sender_not_yours(sender: &ReversePath, user: &str) -> Reply {
    let text = format!("{user} may not send as {sender}: use an address of yours as the sender");
    permanent(553, (7, 1), &text)
}

/// On a list of the operator's, which may name senders and clients.
pub(crate) fn sender_blocked(list: &str) -> Reply {
    let text = format!(
        "refused: this sender, or the server that it came by, is on the list `{list}` of the recipient's provider"
    );
    permanent(550, (7, 1), &text)
}

/// RFC 7208 §8.4, RFC 7372 §3.2. Who reads it must see whose mistake it is, and what mends it.
pub(crate) fn spf_fail(found: &SpfFound, client: Option<IpAddr>) -> Reply {
    let SpfFound {
        identity,
        domain,
        explanation,
        ..
    } = found;
    let (client, mechanism) = match client.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => (address.to_string(), format!("ip4:{address}")),
        Some(IpAddr::V6(address)) => (address.to_string(), format!("ip6:{address}")),
        None => ("this client".to_owned(), "its address".to_owned()),
    };
    let does = match identity {
        Identity::MailFrom => "to send its mail",
        Identity::Hello => "to use its name in EHLO",
    };
    let mut text = format!(
        "SPF: the record of {domain} does not allow {client} {does}.\nIt is the sender's record that refuses, not the recipient's filter: if the mail is genuine, the owner of {domain} must add {mechanism} to the record."
    );
    if let Some(explanation) = explanation {
        text.push_str(&format!("\n{domain} says: \"{}\"", quoted(explanation)));
    }
    permanent(550, (7, 23), &text)
}

/// RFC 9989 §5.3; with a failed SPF too, more than one check has failed (RFC 7372 §3.3).
pub(crate) fn dmarc_fail(owner: &str, spf_failed: bool) -> Reply {
    let text = format!(
        "DMARC: {owner} asks that mail from its domain is refused unless SPF or DKIM proves it (p=reject), and here neither does.\nIt is the policy of {owner} that refuses, not the recipient's filter: if the mail is genuine, its owner must have the sending server sign it, or list it in SPF."
    );
    permanent(550, (7, if spf_failed { 26 } else { 1 }), &text)
}

/// Mail to the sender is refused by its own server, or nobody takes any (RFC 3463: X.1.8).
pub(crate) fn sender_unknown(sender: &Mailbox, server: Option<&str>, reason: &str) -> Reply {
    let said = quoted(reason);
    match server {
        Some(server) => {
            let text = format!(
                "sender refused: asked about <{sender}>, its mail server {server} says: \"{said}\""
            );
            permanent(550, (7, 1), &text)
        }
        None => {
            let text = format!("sender refused: no mail can be sent to <{sender}>: {said}");
            permanent(550, (1, 8), &text)
        }
    }
}

/// Who it is may have been cracked, and be honest again tomorrow: never permanent.
pub(crate) fn frozen(limit: &str) -> Reply {
    let text = format!("frozen by the limit `{limit}`, until the operator lifts it");
    Reply::new(450, EnhancedStatus::transient(7, 1), text)
}

/// More than a limit lets through, for now.
pub(crate) fn over_limit(limit: &str) -> Reply {
    let text = format!("too much for the limit `{limit}`, try again later");
    Reply::new(450, EnhancedStatus::transient(7, 1), text)
}

/// More than a limit lets through that refuses.
pub(crate) fn beyond_limit(limit: &str) -> Reply {
    permanent(550, (7, 1), &format!("too much for the limit `{limit}`"))
}

/// The same words before the greeting, which end the session. There they are never permanent: nothing has been asked for yet.
pub(crate) fn closing(reply: &Reply) -> Reply {
    Reply::new(421, EnhancedStatus::transient(7, 0), &reply.text)
}

/// The same words at AUTH.
pub(crate) fn no_login(reply: &Reply) -> Reply {
    Reply::new(454, EnhancedStatus::transient(7, 0), &reply.text)
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

/// Somebody else's words: short, and recognisable as such.
fn quoted(text: &str) -> String {
    let plain = |c: char| {
        if matches!(c, ' '..='~') && c != '"' {
            c
        } else {
            '?'
        }
    };
    text.chars().take(QUOTED_MAX).map(plain).collect()
}

/// Characters of somebody else's words in a reply of ours.
const QUOTED_MAX: usize = 300;
