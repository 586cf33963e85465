//! `onward queue …`.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use control::{LegState, Selector, SummaryBy};
use envelope::{AddressGlob, IdPart, SenderPattern};

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List what is queued, oldest first
    ///
    /// The exit code is 3 when something was selected and nothing matches.
    List {
        #[command(flatten)]
        which: Which,
        /// Show at most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Go on behind this leg: what the list before ended with (`next` in JSON)
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Count what is queued, with ages in minutes, as Postfix's qshape does
    Summary {
        /// What legs are told apart by: site, domain (of the target), sender (its domain), error
        #[arg(long, default_value = "site")]
        by: SummaryBy,
        #[command(flatten)]
        which: Which,
        /// Show at most this many, the busiest first
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one message: envelope, legs, what happened so far
    Show {
        /// The message's or leg's id, or the beginning of one
        id: IdPart,
    },
    /// Print the bytes of one message
    Cat {
        /// The message's or leg's id, or the beginning of one
        id: IdPart,
    },
    /// Try again now, also where the destination is down
    ///
    /// A destination that is down is probed at once, with one connection, and not only after its pause. When that fails the
    /// next pause is the longer one. What is held stays held.
    Retry(Act),
    /// Keep it, without trying, until released
    Hold(Act),
    /// Let what is held go again
    Release(Act),
    /// Delete without telling anyone
    ///
    /// The journal gets an event for each leg, with its addresses, who asked and why; `--json` prints the legs.
    Remove(Act),
    /// Give up now and tell the sender
    Bounce(Act),
}

/// What is changed, and how. The exit code is 3 when nothing matches.
#[derive(Debug, Clone, Args)]
pub(crate) struct Act {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Why, for the mail log
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    /// Do not ask before all is removed or bounced
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Which legs. All that is given must match; for a change, something must be given.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Which {
    /// Ids of messages or legs, or beginnings of such that no other has
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<IdPart>,
    /// Every leg in the queue
    #[arg(long)]
    pub(crate) all: bool,
    /// Target or recipient: address or domain, several with `*`
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    pub(crate) to: Option<AddressGlob>,
    /// Original sender: address or domain, several with `*`; `<>` for bounces
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    pub(crate) from: Option<SenderPattern<AddressGlob>>,
    /// Only legs in this state: waiting, active, held
    #[arg(long)]
    pub(crate) state: Option<LegState>,
    /// Only messages that came in longer ago than this, as in 2h
    #[arg(long, value_name = "SPAN")]
    pub(crate) older_than: Option<humantime::Duration>,
    /// Only messages that came in less long ago
    #[arg(long, value_name = "SPAN")]
    pub(crate) younger_than: Option<humantime::Duration>,
    /// Only legs whose last attempt came to this: a part of its words, or a name from `summary --by error`
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: Option<String>,
    /// Only legs to this site, as `site list` names it, or to this domain
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// Only messages with this Message-ID, as far as the history reaches
    #[arg(long, value_name = "MESSAGE-ID")]
    pub(crate) message_id: Option<String>,
    /// Only messages from the client with this address, as far as the history reaches
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<IpAddr>,
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
            younger_than_secs: self.younger_than.map(|span| span.as_secs()),
            error: self.error.clone(),
            site: self.site.clone(),
            message_id: self.message_id.clone(),
            client: self.client,
            ..Selector::default()
        }
    }
}
