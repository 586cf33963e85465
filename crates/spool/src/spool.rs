//! The trait `Spool`: what the rest of Onward asks of a queue, whichever engine runs.
//!
//! One message has one body and n legs. A leg ends exactly once: by [`Spool::settle`] or by an operator's
//! [`Action::Remove`]; the last one takes the body with it. Work on a leg needs a [`Lease`]. Leases are short, and renewed by
//! [`Spool::extend`] while the work goes on, so that a node that dies holds nothing up. A lease that ran out may have gone to
//! another node: its first owner gets [`Error::Fenced`], and must not act on the outcome.
//!
//! It does *not* decide: when a leg is tried again, whether a sender is told, what a bounce says, is the caller's.
//! Nothing here names an engine, so that a replicated one can stand in its place.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envelope::{Claim, Destination, Lease, LegId, MessageId, Timestamp};
use tokio::sync::watch;

use crate::board::Board;
use crate::error::{Error, OpenError};
use crate::nouns::{
    Action, Arrival, Changed, Counts, Disk, Dsn, Entry, Filter, Overdue, Page, Settlement, Token,
    Update, Want,
};
use crate::summary::{By, Summary};

/// A durable queue of messages and their legs.
///
/// Its clock is the engine's: several nodes may share one queue, and a lease must mean the same to all of them. What a caller
/// names is either a duration, or a moment that is hours off.
pub trait Spool: Send + Sync + 'static {
    /// Takes a body in.
    type Writer: BodyWriter<Reader = Self::Reader>;
    /// Gives a body out.
    type Reader: BodyReader;

    /// Begins a message that stays invisible until [`Spool::commit`]; dropping the writer abandons it.
    /// [`Error::Full`] when space is short (answer 452 4.3.1).
    fn begin(&self, id: MessageId) -> impl Future<Output = Result<Self::Writer, Error>> + Send;

    /// Makes the message with its legs durable. `Ok` means on stable storage: the 250 may be said. [`Error::Unknown`]: it may
    /// or may not be there after a restart (answer 451). An id that is in the queue already, since before a restart perhaps,
    /// changes nothing and is `Ok`. The claims are those of [`Arrival::lease`](crate::Arrival::lease).
    ///
    /// `message.id` must be the writer's, and there must be at least one leg.
    fn commit(
        &self,
        writer: Self::Writer,
        arrival: Arrival,
    ) -> impl Future<Output = Result<Vec<Claim>, Error>> + Send;

    /// Makes a message durable that was in a queue before, with its legs as a listing of there showed them: numbers, due times,
    /// attempts, holds, deadlines. Nobody works on them. One whose id is queued already is left as it is; says whether it was new.
    ///
    /// The legs are of one message, the writer's.
    fn bring_back(
        &self,
        writer: Self::Writer,
        legs: Vec<Entry>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Leases legs that are due, in order of their due time within a destination, the earliest destination first; which of a
    /// backlog, [`Want::choose`] says. Costs what it gives, however many destinations are parked.
    fn claim(&self, want: &Want) -> impl Future<Output = Result<Vec<Claim>, Error>> + Send;

    /// Parks destinations (`true`): claims pass their legs by from now on. Or lets them in again (`false`). It holds for this
    /// handle alone (each node has its own view of who can be reached), and is forgotten with it.
    fn park(&self, destinations: &[(Destination, bool)]) -> impl Future<Output = ()> + Send;

    /// Leases up to `max` legs for `lease` whose sender must be told something: past [`Deadlines::warn`](crate::Deadlines) and not
    /// warned, past its end, or bounced by the operator. Parked hosts count too, so deadlines hold while a site is
    /// down. Legs that are on hold have no deadlines.
    fn overdue(
        &self,
        max: usize,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Overdue>, Error>> + Send;

    /// Has leases end `lease` from now on: the heartbeat of who works on many legs. One result for each, in order.
    fn extend(
        &self,
        leases: &[Lease],
        lease: Duration,
    ) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// Where this node talks with the others; a spool that only one has does not have it.
    fn board(&self) -> Option<Arc<dyn Board>> {
        None
    }

    /// Whether what is leased may still be sent: not when this node could not renew its leases for so long that another may have
    /// the leg by now. Waits for nothing, and is asked before each message goes out.
    fn holds(&self, _lease: &Lease) -> bool {
        true
    }

    /// Takes back legs that were worked on. One result for each, in order; one that fails keeps no other from its end.
    ///
    /// What carries a DSN is durable when this returns, the leg and the notice in one transaction. The rest goes with the next
    /// commit, and a crash may forget it: the leg is then tried, or even delivered, again.
    fn settle(
        &self,
        legs: Vec<(Lease, Settlement)>,
    ) -> impl Future<Output = Vec<Result<(), Error>>> + Send;

    /// [`Spool::settle`] for one leg.
    fn settle_one(
        &self,
        lease: Lease,
        settlement: Settlement,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        async {
            let mut results = self.settle(vec![(lease, settlement)]).await;
            results.pop().unwrap_or(Err(Error::Closed))
        }
    }

    /// Ends the leg, with a notice perhaps.
    fn complete(
        &self,
        lease: Lease,
        dsn: Option<Dsn>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        self.settle_one(lease, Settlement::Complete(dsn))
    }

    /// Gives the leg back, to be tried at `due`.
    fn reschedule(
        &self,
        lease: Lease,
        due: Timestamp,
        update: Update,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        self.settle_one(lease, Settlement::Reschedule(due, update))
    }

    /// Gives the leg back as it was: it was not tried.
    fn release(&self, lease: Lease) -> impl Future<Output = Result<(), Error>> + Send {
        self.settle_one(lease, Settlement::Release)
    }

    /// Opens a queued message: its [`Message::trace`], then its body.
    fn open_body(
        &self,
        id: MessageId,
    ) -> impl Future<Output = Result<Self::Reader, OpenError>> + Send;

    /// How long until a leg of a host that is not parked becomes due, or any leg loses its lease; zero when one did since the
    /// last claim through this handle. What was due at that claim is not counted: the claim would have had it, had it been
    /// wanted. Deadlines are not either.
    fn next_due(&self) -> impl Future<Output = Option<Duration>> + Send;

    /// Changes when something may have become due sooner than [`Spool::next_due`] said: a commit, an operator's action. A hint
    /// only. Each waiter has a receiver of its own, which remembers what it has seen: mark it before a claim, and nothing that
    /// comes during the claim is waited past.
    fn changed(&self) -> watch::Receiver<()>;

    /// Legs in the order of their ids, from behind `cursor`, at most `n`. A page may hold fewer and still not be the
    /// last: the end is where [`Page::next`] is `None`.
    fn list(
        &self,
        filter: &Filter,
        cursor: Option<LegId>,
        n: usize,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// Legs counted by state, and by host.
    fn counts(&self) -> impl Future<Output = Result<Counts, Error>> + Send;

    /// The legs that the filter matches, counted by what they have in common: the `n` names with the most legs, and the rest
    /// together.
    fn summary(
        &self,
        filter: &Filter,
        by: By,
        n: usize,
    ) -> impl Future<Output = Result<Summary, Error>> + Send;

    /// How much room there is.
    fn disk(&self) -> Disk {
        Disk::default()
    }

    /// Applies an operator's action to the legs that the filter matches, from behind `cursor`, to at most `n`: in pieces, so that
    /// no action holds mail up. As with [`Spool::list`], the end is where [`Changed::next`] is `None`. Durable when it returns.
    fn admin(
        &self,
        filter: &Filter,
        action: Action,
        cursor: Option<LegId>,
        n: usize,
    ) -> impl Future<Output = Result<Changed, Error>> + Send;

    /// A name for `value`, to be kept with a message until `expires` ([`BodyWriter::keep`]); nothing is kept before, and a
    /// name that is not used does no harm. The same value with the same end mostly has the same name. Waits for nothing.
    fn token(&self, value: &str, expires: Timestamp) -> Token;

    /// The value that a message brought under this name, unless it has expired.
    fn recall(&self, name: &str) -> impl Future<Output = Result<Option<String>, Error>> + Send;
}

/// Does something to all legs that a filter matches, with a look at each that it changed; says how many those were.
pub async fn change_all(
    spool: &impl Spool,
    filter: &Filter,
    action: Action,
    mut look: impl FnMut(Entry),
) -> Result<u64, Error> {
    let (mut legs, mut cursor) = (0, None);
    loop {
        let changed = spool.admin(filter, action, cursor, CHANGED_AT_ONCE).await?;
        legs += changed.entries.len() as u64;
        changed.entries.into_iter().for_each(&mut look);
        cursor = changed.next;
        if cursor.is_none() {
            return Ok(legs);
        }
    }
}

/// Takes a body in, in order. Dropping it abandons the message.
pub trait BodyWriter: Send + 'static {
    /// Gives back what was taken in.
    type Reader: BodyReader;

    /// Appends to the body.
    fn write(
        &mut self,
        chunk: impl Into<Bytes> + Send,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Reads back what was written, before it is committed. It ends the body: nothing is written after it. The reader may outlive
    /// the writer.
    fn read_back(&mut self) -> impl Future<Output = Result<Self::Reader, Error>> + Send;

    /// Whether nothing of it is on a disk, so that dropping it costs nothing there.
    fn is_in_memory(&self) -> bool;

    /// Keeps a token with the message: durable when that is committed, and independent of it from then on. Its value has at
    /// most [`TOKEN_OCTETS_MAX`](crate::TOKEN_OCTETS_MAX) octets.
    fn keep(&mut self, token: Token);

    /// Octets written so far.
    fn len(&self) -> u64;

    /// Whether nothing was written yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Gives a body out, in order, checked against its checksum before it is given. A clone goes on from where it was made.
pub trait BodyReader: Clone + Send + Sync + 'static {
    /// The next piece (at most about 1 MiB), `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, OpenError>> + Send;
}

/// Legs changed in one go.
const CHANGED_AT_ONCE: usize = 1000;
