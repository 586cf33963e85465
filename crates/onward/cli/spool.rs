//! `onward spool …` and `onward srs …`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Spool {
    /// Read every record and every body, and say what is queued and what is damaged; changes nothing
    Verify,
    /// Rebuild the index from the log (`serve` does so by itself when it cannot use the old one)
    Rebuild,
    /// Write every queued message as ID.eml and ID.json into a folder, also from a damaged spool; changes nothing
    Export {
        /// The folder to write into; it is made if need be, and nothing in it is overwritten
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Srs {
    /// Rewrite a sender as a forward would
    Encode {
        /// The original sender
        address: String,
    },
    /// Take a rewritten address back to what it stands for, and say whether it is valid
    Decode {
        /// The SRS0 or SRS1 address
        address: String,
    },
}
