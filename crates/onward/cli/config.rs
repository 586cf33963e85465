//! `config`: the configuration, as it holds.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print every key with its value, and whether that comes from the file or is the default; no secrets
    Show,
    /// Print every key with its default and what it means, as a file that could be edited
    Defaults,
    /// Say what a reload would change in the running daemon, and which keys need a restart; the exit code is 1 if there is anything
    Diff,
}
