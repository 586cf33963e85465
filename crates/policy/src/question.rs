//! What a rule may ask for, and the answers.
//!
//! A new question is a variant here, one of [`Answer`], and a place in the [`Case`](crate::Case) to keep it in. The
//! driver finds the answer.

use std::sync::Arc;

use envelope::{Mailbox, Reply};

use crate::decision::Stage;
use crate::filtered::Filtered;
use crate::limited::Limited;
use crate::measures::{Measures, Name};
use crate::sender::{Blocklisted, Callout, DmarcFound, SpfFound};
use crate::user::User;

/// What is known, or the questions that must be answered first.
pub(crate) type Known<T> = Result<T, Vec<Question>>;

/// Something that a rule must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Are the credentials that AUTH gave right?
    Credentials,
    /// Where does mail for the recipient of the case go?
    Route,
    /// May this sender, who is behind an SRS address, get another message today?
    SrsBudget(Mailbox),
    /// Count one message against the daily budget of each of these senders.
    TakeSrsBudget(Vec<Mailbox>),
    /// Is anyone frozen that the case names at this stage, or over a limit?
    Limits(Stage),
    /// Count the message for all limits that it falls under.
    TakeLimits,
    /// Which of these lists name the sender or the client?
    Listed(Vec<Name>),
    /// May the client send for the sender's domain?
    Spf,
    /// Which of these blocklists name the client or the sender?
    Dnsbl(Vec<Name>),
    /// Does the sender's own mail server take mail for the sender?
    Callout,
    /// What do the signatures of the message prove, and what does the owner of its From domain ask for?
    Authentic,
    /// What do these filters say of the message?
    Filter(Vec<Name>),
    /// Do all targets of the recipient take less than comes for them, and is this one of the RCPTs to put off?
    Pressure,
}

impl Question {
    /// Whether asking uses something up, or is dear. Such a question is asked alone, and only when no earlier rule still waits
    /// for an answer.
    pub(crate) fn is_asked_alone(&self) -> bool {
        matches!(
            self,
            Self::TakeSrsBudget(_)
                | Self::TakeLimits
                | Self::Callout
                | Self::Credentials
                | Self::Filter(_)
                | Self::Pressure
        )
    }
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Credentials`].
    Credentials(CredentialsFound),
    /// To [`Question::Route`].
    Route(Route),
    /// To [`Question::SrsBudget`]: whether something is left.
    SrsBudgetLeft(bool),
    /// To [`Question::TakeSrsBudget`]: false when the budget of one of them was used up.
    SrsBudgetTaken(bool),
    /// To [`Question::Limits`].
    Limits(Limited),
    /// To [`Question::TakeLimits`].
    LimitsTaken(Limited),
    /// To [`Question::Listed`]: for each list.
    Listed(Vec<(Name, bool)>),
    /// To [`Question::Spf`].
    Spf(SpfFound),
    /// To [`Question::Dnsbl`]: for each blocklist.
    Dnsbl(Vec<(Name, Blocklisted)>),
    /// To [`Question::Callout`].
    Callout(Callout),
    /// To [`Question::Authentic`].
    Authentic(DmarcFound),
    /// To [`Question::Filter`]: for each filter.
    Filter(Vec<(Name, Filtered)>),
    /// To [`Question::Pressure`].
    Pressure {
        /// Percent of RCPTs that are put off.
        share: u8,
        /// This is one.
        put_off: bool,
    },
}

/// What the credentials of a user turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialsFound {
    /// This user's.
    Right(Arc<User>),
    /// One of the two is wrong; which of them, the client is not told.
    Wrong,
    /// They could not be checked, and why.
    Unknown(String),
}

/// Where mail for a recipient goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What the forward path is to us.
    pub destination: Destination,
    /// How many targets it stands for.
    pub targets: usize,
    /// The local part names a further host (`x%host`, `host!x`, `"x@host"`), and goes on as it is.
    pub names_further_host: bool,
    /// What the recipient's line and its domain's choose. None for an SRS address of ours: it proves that we sent the mail that
    /// this is an answer to.
    pub measures: Arc<Measures>,
    /// Where all of it goes, if the verdict of that is to be our answer (`answer=destination`).
    pub online: Option<envelope::Destination>,
}

impl Route {
    /// One target, and no measures.
    pub fn to(destination: Destination) -> Self {
        Self {
            destination,
            targets: 1,
            names_further_host: false,
            measures: Arc::default(),
            online: None,
        }
    }
}

/// What a forward path is to us. Whoever fills it in asks in this order, and takes the first that fits: an SRS address
/// of a domain of ours, the table of forwards, the relay domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A domain of ours, and the local part looks like SRS0 or SRS1 there.
    Srs(Srs),
    /// A hosted domain.
    Hosted(Hosted),
    /// A domain that we relay for by explicit configuration (as a higher MX).
    Relay,
    /// None of ours.
    Foreign,
    /// It could not be looked up now.
    Undecided,
}

/// What the table of forwards says of an address in a hosted domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosted {
    /// It has targets, or is accepted and thrown away.
    Found,
    /// The operator refuses it with this reply.
    Refused(Reply),
    /// No such address, and no catch-all.
    Unknown,
}

/// What an address that looks like one of our SRS addresses turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Srs {
    /// We made it for this sender, and it has not expired.
    Valid(Mailbox),
    /// Its tag is not ours.
    Forged,
    /// It was ours, but has expired.
    Expired,
    /// Its date is in the future.
    Future,
    /// It cannot be read: parts are missing or too long.
    Damaged,
    /// Its tag is ours, but what it stood for is not kept any more (short tokens).
    Forgotten,
}

/// Each name once that has no answer yet.
pub(crate) fn unasked<'a, T>(
    names: impl IntoIterator<Item = &'a Name>,
    known: &[(Name, T)],
) -> Vec<Name> {
    let mut missing: Vec<Name> = Vec::new();
    for name in names {
        let is_known = known.iter().any(|(known, _)| known == name);
        if !is_known && !missing.contains(name) {
            missing.push(Name::clone(name));
        }
    }
    missing
}
