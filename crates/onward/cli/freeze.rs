//! `onward freeze …`.

use clap::{Args, Subcommand};
use control::ask::FreezeLift;

#[derive(Debug, Subcommand)]
pub(crate) enum Freeze {
    /// List what is frozen, by which limit and since when
    List,
    /// End a freeze
    ///
    /// Mail is taken again. What was put on hold of a frozen user stays on hold, for you to look at.
    Lift(Lifted),
}

/// Which freezes end, and what becomes of the mail.
#[derive(Debug, Args)]
pub(crate) struct Lifted {
    /// A user, a client's address, a sender, a domain, as the list shows it; `user:NAME` if a name is frozen in several ways
    #[arg(
        value_name = "KEY",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    key: Option<String>,
    /// Everything that is frozen
    #[arg(long)]
    all: bool,
    /// Let the user's mail go that the freeze has put on hold; what a filter or a limit has put aside stays
    #[arg(long)]
    release: bool,
}

impl Lifted {
    pub(crate) fn lift(&self) -> FreezeLift {
        FreezeLift {
            key: self.key.clone(),
            all: self.all,
            release: self.release,
        }
    }
}
