//! Mail in: what the relay decides while a client is connected, from CONNECT to the 250.
//!
//! Each connection is a visit (`visit.rs`). It tells `policy` the case, which asks its questions (`deciding.rs`; a file for each
//! answer in `answers/`). Each refusal is logged with its rule (`refusals.rs`). What happens to the body is in `draft.rs`.

mod answers;
pub(crate) mod blocklists;
mod budget;
mod client_name;
mod deciding;
mod draft;
mod examined;
mod explain;
mod filtering;
mod guesses;
mod lines;
mod online;
mod passwords;
mod received;
mod refusals;
mod sender_tls;
mod strip;
#[cfg(test)]
mod tests;
mod tiers;
mod turned_away;
mod visit;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use control::{BlocklistCounts, FilterCounts};
use counters::{Key, Of};
use delivery::{Callouts, Foresight};
use envelope::{Destination, Mailbox};
use journal::{Journal, Recent};
use parking_lot::Mutex;
use policy::Standing;
use smtp_in::Client;
use spool::{Clock, IdSource, Spool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::counting::{Counting, counts};
use crate::dovecot::Dovecot;
use crate::filters::Health;
use crate::outbound::Outbound;
use crate::routing::Shared;
use crate::{Core, Settings};
use blocklists::Blocklists;
use budget::Budget;
use client_name::ClientNames;
use guesses::Guesses;
use passwords::Passwords;
use turned_away::TurnedAway;

pub use visit::Visit;

/// What all visits share.
pub struct Inbound<S: Spool> {
    routing: Shared,
    spool: Arc<S>,
    /// Has mail delivered while its client waits.
    outbound: Arc<Outbound<S>>,
    clock: Clock,
    ids: Arc<IdSource>,
    names: ClientNames,
    blocklists: Blocklists,
    budget: Budget,
    tarpitted: Arc<Semaphore>,
    turned_away: Arc<TurnedAway>,
    counting: Arc<Counting>,
    guesses: Guesses,
    callouts: Callouts<dns::Backend>,
    /// Of where mail would go.
    foresight: Foresight<dns::Backend>,
    pressure: OnceLock<(Arc<AtomicBool>, Pressure)>,
    passwords: Passwords,
    dovecot: Option<Dovecot>,
    resolver: dns::Backend,
    accept_nonnull: bool,
    filters: Health,
    /// No mail is taken.
    pub(crate) drained: AtomicBool,
    /// One clone for each open transaction.
    transactions: Arc<()>,
    journal: Journal,
    /// How long the spool took to commit.
    commits: Mutex<Recent>,
    /// Each visit holds it, so that it counts them.
    visits: Arc<()>,
}

impl<S: Spool> Inbound<S> {
    /// The inbound side of a relay.
    pub fn new(
        core: &Core<S>,
        settings: &Settings,
        resolver: dns::Backend,
        outbound: Arc<Outbound<S>>,
    ) -> Self {
        let core = core.clone();
        let callouts = settings.callouts.clone();
        let dovecot = settings.dovecot.clone();
        Self {
            callouts: Callouts::new(callouts, &settings.delivery, resolver.clone()),
            foresight: Foresight::new(&settings.delivery, resolver.clone(), core.sts.policies()),
            pressure: OnceLock::new(),
            routing: core.routing,
            spool: core.spool,
            outbound,
            clock: core.clock,
            ids: core.ids,
            names: ClientNames::new(resolver.clone()),
            blocklists: Blocklists::new(resolver.clone(), core.journal.clone()),
            passwords: Passwords::new(),
            dovecot: dovecot.map(|path| Dovecot::new(path, core.journal.clone())),
            resolver,
            budget: Budget::new(settings.bounces_per_day),
            counting: core.counting,
            turned_away: TurnedAway::new(core.journal.clone()),
            tarpitted: Arc::new(Semaphore::new(TARPITTED_MAX)),
            guesses: Guesses::default(),
            accept_nonnull: settings.accept_nonnull,
            filters: Health::new(core.journal.clone()),
            drained: AtomicBool::new(false),
            transactions: Arc::default(),
            journal: core.journal,
            commits: Mutex::default(),
            visits: Arc::default(),
        }
    }

    /// Sets who knows which targets take less than comes, and whether any does: delivery, which is built after this. Set once.
    pub fn ask_for_pressure(
        &self,
        pressed: Arc<AtomicBool>,
        share: impl Fn(&Mailbox, &Destination, f64) -> u8 + Send + Sync + 'static,
    ) {
        let _ = self.pressure.set((pressed, Box::new(share)));
    }

    fn is_pressed(&self) -> bool {
        let pressure = self.pressure.get();
        pressure.is_some_and(|(pressed, _)| pressed.load(Ordering::Relaxed))
    }

    /// The limit that so many more commands of a client are beyond. What the limit says comes then does not matter: the session
    /// ends, and a limit that freezes does that too.
    fn over_commands(&self, client: &policy::Client, commands: u64) -> Option<Box<str>> {
        let routing = self.routing.load();
        if client.is_trusted || !counts(&routing.limits, Of::Commands) {
            return None;
        }
        // A limit of commands has no other key.
        let client = Key::client(client.address?);
        let mut limits = routing
            .limits
            .iter()
            .filter(|limit| limit.of == Of::Commands);
        let now = self.clock.now();
        let beyond = limits.find(|limit| !self.counting.take(limit, &client, commands, now));
        beyond.map(|limit| limit.name.clone())
    }

    /// How late the replies to a client are, if it is known to be bad.
    fn tarpit(&self, client: &policy::Client) -> Option<(Duration, OwnedSemaphorePermit)> {
        let routing = self.routing.load();
        let connect = &routing.connect;
        let is_bad = client.standing == Standing::Stranger
            && !connect.tarpit.is_empty()
            && routing.is_on(&connect.tarpit, client.address?);
        if !is_bad {
            return None;
        }
        let permit = Arc::clone(&self.tarpitted).try_acquire_owned().ok()?;
        Some((connect.tarpit_delay, permit))
    }

    /// How many transactions are open.
    pub(crate) fn transactions(&self) -> usize {
        Arc::strong_count(&self.transactions) - 1
    }

    /// How each DNS blocklist did since the start.
    pub fn blocklist_counts(&self) -> BTreeMap<String, BlocklistCounts> {
        self.blocklists.counts()
    }

    /// How long the last commits took.
    pub fn commits(&self) -> Recent {
        self.commits.lock().clone()
    }

    /// Connections of clients.
    pub fn connections(&self) -> usize {
        Arc::strong_count(&self.visits) - 1
    }

    /// And each content filter.
    pub fn filter_counts(&self) -> BTreeMap<String, FilterCounts> {
        self.filters.counts()
    }
}

impl<S: Spool> smtp_in::Service for Inbound<S> {
    type Visit = Visit<S>;

    fn visit(self: &Arc<Self>) -> Visit<S> {
        Visit::new(Arc::clone(self))
    }

    fn authenticates(&self) -> bool {
        self.dovecot.is_some() || self.routing.load().users.count() > 0
    }

    fn trusts(&self, client: IpAddr) -> bool {
        self.routing.load().trusted.contains(client)
    }

    /// A client that is refused anyway need not wait, and holds no connection open.
    fn greet_wait(&self, client: IpAddr) -> Duration {
        let routing = self.routing.load();
        let wait = routing.connect.greet_wait;
        match wait.is_zero() || routing.is_on(&routing.connect.block, client) {
            true => Duration::ZERO,
            false => wait,
        }
    }
}

/// Percent of what comes for a target to put off; whether another has come.
type Pressure = Box<dyn Fn(&Mailbox, &Destination, f64) -> u8 + Send + Sync>;

/// Connections that are answered late at once. More are answered as any other: a tarpit must not fill up our own connections.
const TARPITTED_MAX: usize = 500;

/// The name in the last EHLO or HELO.
fn hello(client: &Client) -> Option<String> {
    let hello = client.hello.as_ref();
    hello.map(|hello| hello.name.to_string())
}
