//! `load` on the command line.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

/// What to send.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The server, as ADDRESS:PORT.
    #[arg(long)]
    to: SocketAddr,
}

/// Sends and reports. The exit code is 1 when not all was accepted.
pub(crate) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let _ = arguments.to;
    Err(io::Error::other("not built yet"))
}
