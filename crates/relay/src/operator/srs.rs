//! SRS addresses, made and decoded for operators.
//!
//! Secrets and domain are enough; only what a token stands for is in the spool.

use envelope::{LocalPart, Mailbox, Timestamp};
use forwarder::{Forwarder, SrsRecipient, SrsRefusal};
use spool::Spool;
use srs::Day;

use crate::routing::Routing;

/// Why an address was not rewritten or taken back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be parsed.
    #[error("`{address}` is not an address: {source}")]
    NotAnAddress {
        /// As it was typed.
        address: String,
        /// What is wrong with it.
        source: envelope::AddressError,
    },
    /// It is in no SRS domain of ours.
    #[error(
        "`{0}` is not an SRS address of ours\n\nhint: its domain must be `srs.domain`, or an `srs_domain=` of the forwards file; or it must be of the form of a user's `return_path`, or of one in `srs.return_paths`"
    )]
    NotOurs(Mailbox),
    /// Forged, expired, or forgotten.
    #[error("{0}")]
    Refused(SrsRefusal),
    /// It is too long for an SRS address.
    #[error(
        "`{0}` does not fit into an SRS address\n\nhint: its mail gets a token, a new one each day; the log's `forwarded` lines show it"
    )]
    NeedsToken(Mailbox),
    /// The spool cannot say what a token stands for.
    #[error(transparent)]
    Spool(#[from] spool::Error),
}

/// The address under which this sender's mail is forwarded. What does not fit gets a token, and only with real mail.
pub fn encode(forwarder: &Forwarder, address: &str, now: Timestamp) -> Result<String, Error> {
    let sender = parse(address)?;
    let (srs, domain) = (forwarder.srs(), &forwarder.settings().srs_domain);
    let (local, host) = (sender.local_part().as_str(), sender.host().to_string());
    let today = Day::from_unix_secs(now.unix_secs());
    let rewritten = srs
        .forward(local, &host, today)
        .ok()
        .and_then(|local| LocalPart::from_unquoted(&local).ok());
    match rewritten {
        Some(local) => Ok(format!("{local}@{domain}")),
        None => Err(Error::NeedsToken(sender)),
    }
}

/// The sender behind an SRS address of ours, tokens looked up in the spool.
pub async fn decode<S: Spool>(
    routing: &Routing,
    spool: &S,
    address: &str,
    now: Timestamp,
) -> Result<String, Error> {
    match read(routing, address, now)? {
        Meaning::Sender(sender) => Ok(sender.to_string()),
        Meaning::Token(token) => spool
            .recall(&token)
            .await?
            .ok_or(Error::Refused(SrsRefusal::TokenForgotten)),
    }
}

/// What an SRS address of ours says by itself.
pub enum Meaning {
    /// The sender.
    Sender(Mailbox),
    /// The name that the spool knows the sender by.
    Token(String),
}

/// Reads an SRS address of ours.
pub fn read(routing: &Routing, address: &str, now: Timestamp) -> Result<Meaning, Error> {
    let address = parse(address)?;
    match routing
        .forwarder
        .srs_recipient(&routing.table, &address, now)
    {
        SrsRecipient::Decoded(sender) => Ok(Meaning::Sender(sender)),
        SrsRecipient::Token(token) => Ok(Meaning::Token(token)),
        SrsRecipient::NotOurs => Err(Error::NotOurs(address)),
        SrsRecipient::Refused(refusal) => Err(Error::Refused(refusal)),
    }
}

fn parse(address: &str) -> Result<Mailbox, Error> {
    address.parse().map_err(|source| Error::NotAnAddress {
        address: address.to_owned(),
        source,
    })
}
