//! `onward srs encode` and `onward srs decode`, on the command line.
//!
//! Secrets and domain are enough for most addresses; a daemon must run only for a token, whose sender is in its spool.

use control::ask::SrsDecode;
use control::{Client, SrsAnswer};
use relay::operator::srs::{self, Meaning};
use spool::Clock;

use crate::cli;
use crate::config::Config;
use crate::print::Printer;
use crate::routing;
use crate::srs_rotate;

/// Why an address was not rewritten or taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Address(#[from] srs::Error),
    #[error(transparent)]
    Routing(#[from] routing::Error),
    #[error(transparent)]
    Rotate(#[from] srs_rotate::Error),
    #[error("this is a token, and what it stands for is in the daemon's spool: {0}")]
    Daemon(#[from] control::ClientError),
}

/// Runs the command.
pub(crate) async fn run(config: &Config, command: &cli::Srs, print: Printer) -> Result<(), Error> {
    let routing = || routing::load(config);
    let (address, result) = match command {
        cli::Srs::Encode { address } => (
            address,
            srs::encode(&routing()?.forwarder, address, Clock::real().now())?,
        ),
        cli::Srs::Rotate { prune, dry_run } => {
            return Ok(srs_rotate::run(config, *prune, *dry_run, print).await?);
        }
        cli::Srs::Decode { address } => {
            let result = match srs::read(&routing()?, address, Clock::real().now())? {
                Meaning::Sender(sender) => sender.to_string(),
                Meaning::Token(_) => {
                    let mut daemon = Client::connect(&config.control.socket).await?;
                    let address = address.clone();
                    daemon.ask(SrsDecode { address }).await?.result
                }
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
