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
    /// Bring back what `spool export` wrote; what is queued already, has ended here, or was imported before is left
    Import {
        /// The folder that was exported to
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Carry the queue from a folder into PostgreSQL, or back, while no relay works on it; cut off, it is run again
    ///
    /// Each message is read back there and compared before it is removed here. The configuration is not changed.
    Move {
        /// Where to: `postgres://…`, or a folder
        #[arg(long, value_name = "URL|DIR")]
        to: String,
    },
    /// Copy the spool, also while the daemon runs: a copy that `serve` can start with
    ///
    /// All that was accepted before the command began is in the copy, or has ended. What ends after it is delivered again if
    /// the copy is brought back.
    Snapshot {
        /// The folder to make
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
    /// Put a new secret first, keep the old ones, and have the running daemon use it
    ///
    /// The old ones verify until the addresses made with them have expired: a comment in the file says when each may go. All
    /// hosts that take bounces for the same domain must have the same file.
    Rotate {
        /// Instead, remove the secrets of which the time is over
        #[arg(long)]
        prune: bool,
        /// Say what would be done; write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a rewritten address back to what it stands for, and say whether it is valid
    Decode {
        /// The SRS0 or SRS1 address
        address: String,
    },
}
