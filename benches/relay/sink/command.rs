//! `sink` on the command line.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Where to listen, and what to answer.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// An address to listen on, as ADDRESS:PORT; may stand many times.
    #[arg(long)]
    bind: Vec<SocketAddr>,
}

/// Receives until it is stopped, then reports.
pub(crate) fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let _ = &arguments.bind;
    Err(io::Error::other("not built yet"))
}
