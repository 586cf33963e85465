//! `onward node …`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List the nodes that share the spool, and what each works on
    List,
    /// Have a node take no more work: before it is stopped for good, or for long
    ///
    /// It ends what it has begun; the others deliver the rest. It goes on taking mail: `onward drain` there ends that. A restart of the
    /// node ends it.
    Drain(Drained),
    /// Take a node from the list that is gone for good
    ///
    /// What it worked on is free at once. One that is at work is refused; one that comes back all the same is listed again.
    Forget {
        /// As `onward node list` names it
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Drained {
    /// As `onward node list` names it
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Have it take work again
    #[arg(long)]
    pub(crate) end: bool,
}
