//! What a sink answers: for each phase a wait and shares of refusals, and some limits.

use std::time::Duration;

/// The answers of a site; the default accepts all at once.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// What happens at each phase; see [`Script::at`].
    pub(crate) rules: [Rule; PHASES],
    /// 451 to the first attempt of a client, sender and recipient, until this long after it.
    pub(crate) greylist: Option<Duration>,
    /// Whether every RCPT is answered as by a provider that has enough of us.
    pub(crate) throttles: bool,
    /// Octets per second that are read of one connection: a slow reader.
    pub(crate) read_rate: Option<u64>,
    /// Connections at the same time; one more gets 421 for its greeting.
    pub(crate) connections_max: Option<u64>,
    /// Messages of one connection; at the next MAIL it gets 421 and is closed.
    pub(crate) messages_max: Option<u64>,
    /// Recipients of one message; the next gets 452.
    pub(crate) recipients_max: Option<usize>,
    /// Whether PIPELINING is offered.
    pub(crate) pipelining: bool,
    /// Whether CHUNKING is offered.
    pub(crate) chunking: bool,
    /// Whether STARTTLS is offered.
    pub(crate) starttls: bool,
}

/// One phase's odds. The shares are tried in the order of the fields; each is 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rule {
    /// Time before the answer.
    pub(crate) wait: Duration,
    /// Share of connections cut instead of an answer.
    pub(crate) drop: f64,
    /// Share of 4xx.
    pub(crate) defer: f64,
    /// Share of 5xx.
    pub(crate) refuse: f64,
}

/// A moment of the dialog at which a sink may answer as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A connection was made.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, before the message.
    Data,
    /// The end of the data, or the last BDAT.
    Dot,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            rules: [Rule::default(); PHASES],
            greylist: None,
            throttles: false,
            read_rate: None,
            connections_max: None,
            messages_max: None,
            recipients_max: None,
            pipelining: true,
            chunking: true,
            starttls: false,
        }
    }
}

impl Script {
    /// The rule of a phase.
    pub(crate) fn at(&self, phase: Phase) -> &Rule {
        &self.rules[phase as usize]
    }

    /// The rule of a phase, to change it.
    pub(crate) fn at_mut(&mut self, phase: Phase) -> &mut Rule {
        &mut self.rules[phase as usize]
    }

    /// Every message takes `wait` from the end of its data to its answer.
    pub(crate) fn slow(wait: Duration) -> Self {
        let mut script = Self::default();
        script.at_mut(Phase::Dot).wait = wait;
        script
    }

    /// `share` of what comes at `phase` gets a 4xx.
    pub(crate) fn deferring(phase: Phase, share: f64) -> Self {
        let mut script = Self::default();
        script.at_mut(phase).defer = share;
        script
    }

    /// `share` of what comes at `phase` gets a 5xx.
    pub(crate) fn refusing(phase: Phase, share: f64) -> Self {
        let mut script = Self::default();
        script.at_mut(phase).refuse = share;
        script
    }
}

const PHASES: usize = 6;
