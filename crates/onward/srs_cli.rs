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
use crate::{Exit, Failure};

/// Runs the command.
pub(crate) async fn run(
    config: &Config,
    command: &cli::Srs,
    print: Printer,
) -> Result<Exit, Failure> {
    let routing = || routing::load(config);
    let (address, result) = match command {
        cli::Srs::Encode { address } => (
            address,
            srs::encode(&routing()?.forwarder, address, Clock::real().now())?,
        ),
        cli::Srs::Rotate { prune, dry_run } => {
            return srs_rotate::run(config, *prune, *dry_run, print).await;
        }
        cli::Srs::Decode { address } => {
            let result = match srs::read(&routing()?, address, Clock::real().now())? {
                Meaning::Sender(sender) => sender.to_string(),
                Meaning::Token(_) => {
                    let (socket, address) = (&config.control.socket, address.clone());
                    let ask = async {
                        Client::connect(socket)
                            .await?
                            .ask(SrsDecode { address })
                            .await
                    };
                    ask.await.map_err(|error| format!("{TOKEN}{error}"))?.result
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
    Ok(Exit::Fine)
}

const TOKEN: &str = "this is a token, and what it stands for is in the daemon's spool: ";
