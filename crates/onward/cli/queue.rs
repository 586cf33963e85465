//! `onward queue …`.

use clap::{Args, Subcommand};
use control::{LegState, Selector};
use envelope::{AddressGlob, IdPattern, MessageId, SenderPattern};

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List what is queued, oldest first
    List {
        #[command(flatten)]
        which: Which,
        /// Show at most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show one message: envelope, legs, what happened so far
    Show {
        /// The message id
        id: MessageId,
    },
    /// Print the bytes of one message
    Cat {
        /// The message id
        id: MessageId,
    },
    /// Try again now, also where the destination is down
    ///
    /// A destination that is down is probed at once, with one connection, and not only after its pause. When that fails the
    /// next pause is the longer one. What is held stays held.
    Retry(Which),
    /// Keep it, without trying, until released
    Hold(Which),
    /// Let what is held go again
    Release(Which),
    /// Delete without telling anyone
    Remove(Which),
    /// Give up now and tell the sender
    Bounce(Which),
}

/// Which legs. All that is given must match; for a change, something must be given.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Which {
    /// Message ids
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<IdPattern>,
    /// Every leg in the queue
    #[arg(long)]
    pub(crate) all: bool,
    /// Target address or domain
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    pub(crate) to: Option<AddressGlob>,
    /// Original sender, address or domain; `<>` for bounces
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    pub(crate) from: Option<SenderPattern<AddressGlob>>,
    /// Only legs in this state: waiting, active, held
    #[arg(long)]
    pub(crate) state: Option<LegState>,
    /// Only messages that came in longer ago than this, as in 2h
    #[arg(long, value_name = "SPAN")]
    pub(crate) older_than: Option<humantime::Duration>,
}

impl Which {
    pub(crate) fn selector(&self) -> Selector {
        Selector {
            ids: self.ids.clone(),
            all: self.all,
            to: self.to.clone(),
            from: self.from.clone(),
            state: self.state,
            older_than_secs: self.older_than.map(|span| span.as_secs()),
        }
    }
}
