//! The trait `Spool`: what the rest of Onward asks of a queue, whichever engine runs.
//!
//! One message has one body and n legs. A leg ends exactly once: by [`Spool::complete`] or by an operator's
//! [`Action::Remove`]; the last one takes the body with it. Work on a leg needs a [`Lease`]; whoever lost his is
//! told [`Error::Fenced`] and must not act on the outcome (somebody else does).
//!
//! It does *not* decide: when a leg is tried again, whether a sender is told, what a bounce says, is the caller's.
//! Nothing here names an engine, so that a replicated one can stand in its place.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envelope::{
    Claim, Host, Lease, Leg, LegId, Mailbox, Message, MessageId, ReversePath, Timestamp,
};
use tokio::sync::Notify;

/// A durable queue of messages and their legs.
pub trait Spool: Send + Sync + 'static {
    /// Takes a body in.
    type Writer: BodyWriter;
    /// Gives a body out.
    type Reader: BodyReader;

    /// Begins a message that stays invisible until [`Spool::commit`]; dropping the writer abandons it.
    /// [`Error::Full`] when space is short (answer 452 4.3.1).
    fn begin(&self, id: MessageId) -> impl Future<Output = Result<Self::Writer, Error>> + Send;

    /// Makes the message with its legs durable, the first attempt due at `first_due`. `Ok` means on stable storage:
    /// the 250 may be said. [`Error::Unknown`]: it may or may not be there after a restart (answer 451).
    /// Committing an id that is already in the queue does nothing and is `Ok`.
    ///
    /// `message.id` must be the writer's, and there must be at least one leg.
    fn commit(
        &self,
        writer: Self::Writer,
        message: Message,
        legs: Vec<Leg>,
        first_due: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Leases legs that are due at `now`, in order of their due time within a host, earliest host first. Costs what it
    /// gives, however many hosts are parked.
    fn claim(
        &self,
        want: &Want,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Claim>, Error>> + Send;

    /// Parks hosts (`true`): claims pass their legs by from now on. Or lets them in again (`false`). It holds for this
    /// handle alone (each node has its own view of who can be reached), and is forgotten with it.
    fn park(&self, hosts: &[(Host, bool)]) -> impl Future<Output = ()> + Send;

    /// Leases up to `max` legs for `lease` whose sender must be told something: past `warn_after` and not warned,
    /// past `expire`, or bounced by the operator. Parked hosts count too, so deadlines hold while a site is
    /// down. Legs that are on hold have no deadlines.
    fn overdue(
        &self,
        max: usize,
        lease: Duration,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Overdue>, Error>> + Send;

    /// Moves the end of the lease to `until`.
    fn extend(
        &self,
        lease: &mut Lease,
        until: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Gives the leg back, to be tried at `due`. Durable at once only when the update carries a DSN; otherwise it
    /// rides with the next commit, and a crash may forget it (the leg is then tried earlier).
    fn reschedule(
        &self,
        lease: Lease,
        due: Timestamp,
        update: Update,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends the leg. With a DSN: both in one durable transaction. Without: rides with the next commit, and a crash
    /// may forget it (the leg is then delivered again).
    fn complete(
        &self,
        lease: Lease,
        dsn: Option<Dsn>,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Gives the leg back as it was: it was not tried.
    fn release(&self, lease: Lease) -> impl Future<Output = Result<(), Error>> + Send;

    /// Opens the body of a queued message.
    fn open_body(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<Self::Reader, OpenError>> + Send;

    /// When, after `now`, a leg of a host that is not parked becomes due, or any leg loses its lease. What is due already
    /// is not counted: a claim would have had it, had it been wanted. Deadlines are not either.
    fn next_due(&self, now: Timestamp) -> impl Future<Output = Option<Timestamp>> + Send;

    /// Notified (`notify_one`) when something may have become due sooner than [`Spool::next_due`] said: a commit,
    /// an operator's action. A hint only.
    fn wakeups(&self) -> Arc<Notify>;

    /// Legs in the order of their ids, from behind `cursor`, at most `n`. A page may hold fewer and still not be the
    /// last: the end is where [`Page::next`] is `None`.
    fn list(
        &self,
        filter: &Filter,
        cursor: Option<LegId>,
        n: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// Legs counted by state, and by host.
    fn counts(&self, now: Timestamp) -> impl Future<Output = Result<Counts, Error>> + Send;

    /// Applies an operator's action to every leg the filter matches; says which it changed. Durable when it returns.
    fn admin(
        &self,
        selector: &Filter,
        action: Action,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Changed>, Error>> + Send;

    /// A name for `value`, to be kept with a message until `expires` ([`BodyWriter::keep`]); nothing is kept before, and a
    /// name that is not used does no harm. The same value with the same end mostly has the same name. Waits for nothing.
    fn token(&self, value: &str, expires: Timestamp) -> Token;

    /// The value that a message brought under this name, unless it has expired at `now`.
    fn recall(
        &self,
        name: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<String>, Error>> + Send;
}

/// Takes a body in, in order. Dropping it abandons the message.
pub trait BodyWriter: Send + 'static {
    /// Appends to the body.
    fn write(
        &mut self,
        chunk: impl Into<Bytes> + Send,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Keeps a token with the message: durable when that is committed, and independent of it from then on. Its value has at
    /// most [`TOKEN_OCTETS_MAX`] octets.
    fn keep(&mut self, token: Token);

    /// Octets written so far.
    fn len(&self) -> u64;

    /// Whether nothing was written yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Gives a body out, in order, checked against its checksum before it is given.
pub trait BodyReader: Send + 'static {
    /// The next piece (at most about 1 MiB), `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, OpenError>> + Send;
}

/// What a claim asks for.
#[derive(Debug, Clone, Default)]
pub struct Want {
    /// Legs in all.
    pub max: usize,
    /// Legs of one host.
    pub per_host: usize,
    /// How long the leases last.
    pub lease: Duration,
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
    /// What the last attempt came to, as the last [`Update`] said; empty when there was none.
    pub last: String,
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

/// What a reschedule changes.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Attempts made so far.
    pub attempts: u32,
    /// Whether the sender was told of the delay.
    pub warned: bool,
    /// What the last attempt came to, in words; cut to [`LAST_OCTETS_MAX`].
    pub last: String,
    /// A delay notice to queue in the same durable transaction.
    pub dsn: Option<Dsn>,
}

/// A notice to be queued together with the end (or the move) of the leg it speaks of.
#[derive(Debug, Clone)]
pub struct Dsn {
    /// The notice: a message with an id of its own.
    pub message: Message,
    /// Its legs; mostly one.
    pub legs: Vec<Leg>,
    /// Its body.
    pub body: Bytes,
    /// When its first attempt is due.
    pub first_due: Timestamp,
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
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Any of these messages; empty: any message.
    pub messages: Vec<MessageId>,
    /// Any of these legs; empty: any leg.
    pub legs: Vec<LegId>,
    /// Any of these hosts of a target; empty: any host.
    pub hosts: HashSet<Host>,
    /// The target, or the recipient as our client named it.
    pub recipient: Option<Mailbox>,
    /// The reverse path as it came in.
    pub sender: Option<ReversePath>,
    /// The state.
    pub state: Option<State>,
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
    /// Held by the operator, or because the message is damaged.
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
    /// Comes out of [`Spool::overdue`] as [`Why::Bounced`], as soon as no attempt runs.
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
    /// Attempts so far.
    pub attempts: u32,
    /// What the last came to.
    pub last: String,
    /// What an operator asked for that has not come about yet: [`Action::Hold`] while an attempt runs, or [`Action::Bounce`].
    pub pending: Option<Action>,
}

/// A leg that an operator's action changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Changed {
    /// Its name.
    pub leg: LegId,
    /// Whether an attempt runs: it is not stopped, and may still end the leg in its own way.
    pub active: bool,
}

/// A part of a listing.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The legs.
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

/// Why the spool did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Space or inodes are short: nothing new is taken, what is queued goes on (452 4.3.1).
    #[error("spool is full: {0}")]
    Full(String),
    /// It failed, and may or may not be found done after a restart (451 4.3.0).
    #[error("spool trouble: {0}")]
    Unknown(String),
    /// The lease is not the leg's any more, or the leg is gone.
    #[error("lease of {0} is lost: its leg has another owner, or is gone")]
    Fenced(LegId),
    /// Something in it is over a limit of the format.
    #[error("{what} over {max} octets")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// The spool is closing.
    #[error("spool is closed")]
    Closed,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No such message in the queue.
    #[error("no such message in the queue")]
    NotFound,
    /// It is there, but cannot be read now: try later.
    #[error("body cannot be read: {0}")]
    Unavailable(String),
    /// It is there, and its checksum says it is not what was taken in: it must not be sent.
    #[error("body is damaged: {0}")]
    Damaged(String),
}

/// How [`Entry::last`] begins when the leg is held because its message is damaged.
pub const DAMAGED: &str = "damaged: ";

/// The longest value of a token.
pub const TOKEN_OCTETS_MAX: usize = 1024;

/// The longest name of a token.
pub const TOKEN_NAME_OCTETS_MAX: usize = 24;

/// What is kept of the words of the last attempt.
pub const LAST_OCTETS_MAX: usize = 1024;

/// The hosts that [`Counts::hosts`] names.
pub const HOSTS_COUNTED_MAX: usize = 1000;
