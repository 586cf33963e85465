//! `onward srs encode` and `onward srs decode`, for the command line and the control socket alike.
//!
//! Secrets and domain are enough, so that no daemon need run; only what a token stands for is in its spool.

use control::{Client, SrsAnswer};
use envelope::{LocalPart, Mailbox, Timestamp};
use forwarder::{Forwarder, SrsRecipient, SrsRefusal};
use spool::Spool;
use srs::Day;

use crate::cli;
use crate::config::Config;
use crate::log::now;
use crate::print::Printer;
use crate::routing::{self, Routing};

/// Why an address was not rewritten or taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("`{address}` is not an address: {source}")]
    NotAnAddress {
        address: String,
        source: envelope::AddressError,
    },
    #[error(
        "`{0}` is not an SRS address of ours\n\nhint: its domain must be `srs.domain`, or an `srs_domain=` of the forwards file"
    )]
    NotOurs(Mailbox),
    #[error("{0}")]
    Refused(SrsRefusal),
    #[error(
        "`{0}` does not fit into an SRS address\n\nhint: its mail gets a token, a new one each day; the log's `forwarded` lines show it"
    )]
    NeedsToken(Mailbox),
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error(transparent)]
    Routing(#[from] routing::Error),
    #[error("this is a token, and what it stands for is in the daemon's spool: {0}")]
    Daemon(#[from] control::ClientError),
}

/// Runs the command.
pub(crate) async fn run(config: &Config, command: &cli::Srs, print: Printer) -> Result<(), Error> {
    let routing = Routing::load(config)?;
    let (address, result) = match command {
        cli::Srs::Encode { address } => (address, encode(&routing.forwarder, address, now())?),
        cli::Srs::Decode { address } => {
            let result = match decode_without_spool(&routing, address, now())? {
                SrsRecipient::Token(_) => {
                    let mut daemon = Client::connect(&config.control.socket).await?;
                    daemon.srs_decode(address.clone()).await?.result
                }
                SrsRecipient::Decoded(sender) => sender.to_string(),
                SrsRecipient::NotOurs => return Err(Error::NotOurs(parse(address)?)),
                SrsRecipient::Refused(refusal) => return Err(Error::Refused(refusal)),
            };
            (address, result)
        }
    };
    let answer = SrsAnswer {
        address: address.clone(),
        result,
    };
    print.value(&answer, |print, answer| print.line(&answer.result));
    Ok(())
}

/// The address under which this sender's mail is forwarded. What does not fit gets a token, and only with real mail.
pub(crate) fn encode(
    forwarder: &Forwarder,
    address: &str,
    now: Timestamp,
) -> Result<String, Error> {
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
pub(crate) async fn decode<S: Spool>(
    routing: &Routing,
    spool: &S,
    address: &str,
    now: Timestamp,
) -> Result<String, Error> {
    match decode_without_spool(routing, address, now)? {
        SrsRecipient::Decoded(sender) => Ok(sender.to_string()),
        SrsRecipient::Token(token) => spool
            .recall(&token, now)
            .await?
            .ok_or(Error::Refused(SrsRefusal::TokenForgotten)),
        SrsRecipient::NotOurs => Err(Error::NotOurs(parse(address)?)),
        SrsRecipient::Refused(refusal) => Err(Error::Refused(refusal)),
    }
}

fn decode_without_spool(
    routing: &Routing,
    address: &str,
    now: Timestamp,
) -> Result<SrsRecipient, Error> {
    Ok(routing
        .forwarder
        .srs_recipient(&routing.table, &parse(address)?, now))
}

fn parse(address: &str) -> Result<Mailbox, Error> {
    address.parse().map_err(|source| Error::NotAnAddress {
        address: address.to_owned(),
        source,
    })
}
