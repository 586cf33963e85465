//! The nouns of the trait `Spool`: what is asked of a queue, and what it answers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envelope::{
    AddressGlob, Claim, Diagnosis, Glob, Host, IdPattern, Leg, LegId, Message, ReplyClass,
    SenderPattern, Timestamp,
};

use crate::schedule::Deadlines;

/// A message that comes into the queue; its body is the writer's.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The message.
    pub message: Message,
    /// Its legs; at least one.
    pub legs: Vec<Leg>,
    /// Legs that begin on hold, by number, and why: a listing shows it as what the last attempt came to.
    pub held: HashMap<u32, Diagnosis>,
    /// When the first attempt is due.
    pub first_due: Timestamp,
    /// When its sender is told, and when it is given up; none: as the engine's settings have it now.
    pub deadlines: Option<Deadlines>,
    /// The legs that are not on hold are given back leased for so long: whoever commits begins the first attempt at once.
    pub lease: Option<Duration>,
}

impl Arrival {
    /// With the deadlines of the engine's settings; the legs wait for a claim.
    pub fn new(message: Message, legs: Vec<Leg>, first_due: Timestamp) -> Self {
        Self {
            message,
            legs,
            held: HashMap::new(),
            first_due,
            deadlines: None,
            lease: None,
        }
    }

    /// Its legs as a listing shows them while nobody works on them.
    pub fn entries(mut self) -> Vec<Entry> {
        let message = Arc::new(self.message);
        let legs = (0..).zip(self.legs).map(|(number, leg)| {
            let last = self.held.remove(&number);
            Entry {
                id: LegId {
                    message: message.id,
                    number,
                },
                message: Arc::clone(&message),
                leg,
                state: last.as_ref().map_or(State::Deferred, |_| State::Held),
                due: self.first_due,
                deadlines: self.deadlines,
                attempts: 0,
                warned: false,
                last,
                pending: None,
            }
        });
        legs.collect()
    }
}

/// What a claim asks for.
#[derive(Debug, Clone, Default)]
pub struct Want {
    /// Legs in all.
    pub max: usize,
    /// Legs of one destination; see [`Want::choose`].
    pub per_host: usize,
    /// How long the leases last.
    pub lease: Duration,
}

impl Want {
    /// Which of a destination's due legs, given in order, are leased when there is room for so many: those that have been due for
    /// longest, but when not all fit, in one place of four those that are due since last. So who has a backlog there does not keep
    /// the new mail of others waiting behind all of it.
    pub fn choose<T>(mut due: impl DoubleEndedIterator<Item = T>, room: usize) -> Vec<T> {
        let newest = room / 4;
        let mut chosen: Vec<T> = due.by_ref().take(room - newest).collect();
        let oldest = chosen.len();
        chosen.extend(due.rev().take(newest));
        chosen[oldest..].reverse();
        chosen
    }
}

/// A leased leg whose sender must be told something.
#[derive(Debug, Clone)]
pub struct Overdue {
    /// The leg, leased.
    pub claim: Claim,
    /// Why it is here.
    pub why: Why,
    /// When its next attempt was due: what to reschedule it to after a warning.
    pub due: Timestamp,
    /// What the last attempt came to, as the last [`Update`] said.
    pub last: Option<Diagnosis>,
}

/// Why a leg is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Older than `warn_after`, and its sender was not told: send a delay notice, then reschedule with `warned`.
    Warn,
    /// Older than `expire`: give up.
    Expired,
    /// The operator wants it bounced: give up.
    Bounced,
}

/// What becomes of a leg that was worked on.
#[derive(Debug, Clone)]
pub enum Settlement {
    /// It ends: delivered, or given up. With the notice about it, if there is one.
    Complete(Option<Dsn>),
    /// It is tried again at this time.
    Reschedule(Timestamp, Update),
    /// It was not tried: it goes back as it was.
    Release,
}

/// What a reschedule changes.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Attempts made so far.
    pub attempts: u32,
    /// Whether the sender was told of the delay.
    pub warned: bool,
    /// What the last attempt came to; each of its texts is cut to [`LAST_OCTETS_MAX`].
    pub last: Option<Diagnosis>,
    /// A delay notice to queue in the same durable transaction.
    pub dsn: Option<Dsn>,
}

/// A notice to be queued together with the end (or the move) of the leg it speaks of.
#[derive(Debug, Clone)]
pub struct Dsn {
    /// The notice: a message with an id of its own, and its legs; mostly one.
    pub arrival: Arrival,
    /// Its body.
    pub body: Bytes,
}

/// A value that is kept under a short name until it expires, whatever becomes of the message that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The name: at most [`TOKEN_NAME_OCTETS_MAX`] capital letters and digits.
    pub name: Box<str>,
    /// The value.
    pub value: Box<str>,
    /// From when on it need not be there.
    pub expires: Timestamp,
}

/// Which legs; all conditions that are given must hold. The default matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these messages or legs; empty: any.
    pub ids: Vec<IdPattern>,
    /// Any of these hosts of a target; empty: any host.
    pub hosts: HashSet<Host>,
    /// The target, or a recipient as our client named it.
    pub to: Option<AddressGlob>,
    /// The reverse path as it came in.
    pub from: Option<SenderPattern<AddressGlob>>,
    /// Any of these users sent it; in lower case. Empty: anybody.
    pub users: HashSet<Box<str>>,
    /// Any of these states; empty: any.
    pub states: Vec<State>,
    /// Came in longer ago than this.
    pub older_than: Option<Duration>,
    /// Came in less long ago.
    pub younger_than: Option<Duration>,
    /// What the last attempt came to: the status and all words after it but for the host.
    pub error: Option<Glob>,
    /// What it was about; empty: anything.
    pub classes: Vec<ReplyClass>,
    /// Not those on hold since their arrival ([`Arrival::held`]): that was not done by whoever ends a hold of another kind.
    pub not_since_arrival: bool,
}

impl Filter {
    /// One message with all its legs, or one leg.
    pub fn only(id: impl Into<IdPattern>) -> Self {
        Self {
            ids: vec![id.into()],
            ..Self::default()
        }
    }

    /// Whether a leg is meant.
    pub fn matches(&self, entry: &Entry, now: Timestamp) -> bool {
        let Entry { message, leg, .. } = entry;
        let is_to = |to: &AddressGlob| {
            to.matches(&leg.target) || leg.recipients().any(|recipient| to.matches(recipient))
        };
        let is_about = |last: &Diagnosis| self.classes.contains(&last.class());
        let is_by = |user: &str| self.users.contains(&*user.to_lowercase());
        let is_from =
            |from: &SenderPattern<AddressGlob>| from.matches(message.reverse_path.mailbox());
        (self.ids.is_empty() || self.ids.iter().any(|id| id.names(entry.id)))
            && (self.hosts.is_empty() || self.hosts.contains(leg.target.host()))
            && self.to.as_ref().is_none_or(is_to)
            && self.from.as_ref().is_none_or(is_from)
            && (self.users.is_empty() || message.user.as_deref().is_some_and(is_by))
            && (self.states.is_empty() || self.states.contains(&entry.state))
            && !(self.not_since_arrival && entry.is_held_since_arrival())
            && self
                .older_than
                .is_none_or(|span| now.since(message.arrived) > span)
            && self
                .younger_than
                .is_none_or(|span| now.since(message.arrived) < span)
            && self
                .error
                .as_ref()
                .is_none_or(|error| entry.ended_in(error))
            && (self.classes.is_empty() || entry.last.as_ref().is_some_and(is_about))
    }
}

/// Where a leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Due now, waiting for a claim.
    Ready,
    /// Due later.
    Deferred,
    /// Leased.
    Active,
    /// Held: by the operator, since its arrival ([`Arrival::held`]), or because the message is damaged.
    Held,
}

/// What an operator does to legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// No more attempts and no deadlines until released. An attempt that runs is not stopped.
    Hold,
    /// Ends a hold; due at once.
    Release,
    /// Due at once, unless held or active.
    RetryNow,
    /// Ends it without telling anybody; fences an attempt that runs.
    Remove,
    /// Comes out of [`Spool::overdue`](crate::Spool::overdue) as [`Why::Bounced`], as soon as no attempt runs.
    Bounce,
}

/// One leg as a listing shows it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub id: LegId,
    /// Its message.
    pub message: Arc<Message>,
    /// The leg.
    pub leg: Leg,
    /// Where it stands.
    pub state: State,
    /// When its next attempt is due.
    pub due: Timestamp,
    /// When its sender is told, and when it is given up, unless it is on hold then; none: that is not known.
    pub deadlines: Option<Deadlines>,
    /// Attempts so far.
    pub attempts: u32,
    /// Whether its sender was told of the delay.
    pub warned: bool,
    /// What the last attempt came to.
    pub last: Option<Diagnosis>,
    /// What an operator asked for that has not come about yet: [`Action::Hold`] while an attempt runs, or [`Action::Bounce`].
    pub pending: Option<Action>,
}

impl Entry {
    /// Whether it stays on hold when no attempt runs.
    pub fn is_held(&self) -> bool {
        self.state == State::Held || self.pending == Some(Action::Hold)
    }

    /// Nobody has tried it, and it has a reason all the same.
    fn is_held_since_arrival(&self) -> bool {
        self.state == State::Held && self.attempts == 0 && self.last.is_some()
    }

    fn ended_in(&self, error: &Glob) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| error.matches(&format!("{} {}", last.status, last.words())))
    }

    /// What the last attempt came to, in words; empty before the first.
    pub fn last_words(&self) -> String {
        let last = self.last.as_ref();
        last.map(ToString::to_string).unwrap_or_default()
    }
}

/// A part of a listing.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The legs.
    pub entries: Vec<Entry>,
    /// Where to go on; `None`: that was all.
    pub next: Option<LegId>,
}

/// What an operator's action came to, as far as it went.
#[derive(Debug, Clone, Default)]
pub struct Changed {
    /// Legs that the filter matched.
    pub matched: u64,
    /// Those that the action changed, as they stood before. What was [`State::Active`] is still tried: the attempt is not
    /// stopped, and may yet end the leg in its own way.
    pub entries: Vec<Entry>,
    /// Where to go on; `None`: that was all.
    pub next: Option<LegId>,
}

/// How many legs there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// [`State::Ready`].
    pub ready: u64,
    /// [`State::Deferred`].
    pub deferred: u64,
    /// [`State::Active`].
    pub active: u64,
    /// [`State::Held`].
    pub held: u64,
    /// Legs by target host, held ones too; the busiest first, at most [`HOSTS_COUNTED_MAX`].
    pub hosts: Vec<(Host, u64)>,
}

impl Counts {
    /// All legs.
    pub fn legs(&self) -> u64 {
        self.ready + self.deferred + self.active + self.held
    }

    /// Keeps the busiest hosts.
    pub fn rank(&mut self, hosts: impl IntoIterator<Item = (Host, u64)>) {
        self.hosts = hosts.into_iter().collect();
        let order = |a: &(Host, u64), b: &(Host, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0));
        self.hosts.sort_unstable_by(order);
        self.hosts.truncate(HOSTS_COUNTED_MAX);
    }
}

/// The disk behind a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    /// Octets free; none: not known, or there is no disk.
    pub free: Option<u64>,
    /// Below so many, new mail is not taken.
    pub free_min: u64,
}

/// How the text of [`Entry::last`] begins when the leg is held because its message is damaged.
pub const DAMAGED: &str = "damaged: ";

/// The longest value of a token.
pub const TOKEN_OCTETS_MAX: usize = 1024;

/// The longest name of a token.
pub const TOKEN_NAME_OCTETS_MAX: usize = 24;

/// What is kept of each text of the last attempt.
pub const LAST_OCTETS_MAX: usize = 1024;

/// The hosts that [`Counts::hosts`] names.
pub const HOSTS_COUNTED_MAX: usize = 1000;
