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
