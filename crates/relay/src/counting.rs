//! What is counted, and what follows: one place for mail that comes in, mail that fails, and the operator.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counters::{Counters, Freeze, Freezes, Key, Kind, Limit, Mark, Of, Then, Told};
use envelope::{Mailbox, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::on_disk::on_disk;

/// The limits of now; a reload brings others, and those it leaves as they are keep their counts.
pub type Limits = Arc<[Limit]>;

/// All counts of a relay.
#[derive(Debug)]
pub struct Counting {
    /// Rates.
    pub counters: Counters,
    /// Who is frozen.
    pub freezes: Freezes,
    /// Called when a freeze is new: it is to be written down, logged and told.
    pub has_frozen: Notify,
    /// Those that are new.
    new: Mutex<Vec<Key>>,
    started: Instant,
}

impl Counting {
    /// Nothing is counted yet.
    pub fn new(freezes: Freezes) -> Self {
        Self {
            counters: Counters::new(),
            freezes,
            has_frozen: Notify::new(),
            new: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// The time for rates: it never jumps.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts what has happened to these keys: refusals, failures, octets. Those that go over a limit that freezes are frozen.
    pub fn count(&self, limits: &[Limit], of: Of, keys: &[Key], n: u64, now: Timestamp) {
        let elapsed = self.elapsed();
        for limit in limits.iter().filter(|limit| limit.of == of) {
            for key in keys.iter().filter(|key| key.kind() == limit.key) {
                let fits = self.counters.add(limit, key, n, elapsed);
                if !fits && limit.then == Then::Freeze {
                    self.freeze(key, limit, now);
                }
            }
        }
    }

    /// Counts what is about to happen, if it fits. If it does not, a limit that freezes has frozen the key.
    pub fn take(&self, limit: &Limit, key: &Key, n: u64, now: Timestamp) -> bool {
        let fits = self.counters.take(limit, key, n, self.elapsed());
        if !fits && limit.then == Then::Freeze {
            self.freeze(key, limit, now);
        }
        fits
    }

    /// Lifts a freeze. What was counted is forgotten, or the next message would bring it back.
    pub fn lift(&self, limits: &[Limit], key: &Key) -> Option<Freeze> {
        let lifted = self.freezes.lift(key)?;
        for limit in limits.iter().filter(|limit| limit.key == key.kind()) {
            self.counters.forget(limit, key);
        }
        Some(lifted)
    }

    /// Freezes a key that is over this limit.
    pub fn freeze(&self, key: &Key, limit: &Limit, now: Timestamp) {
        if self.freezes.freeze(key, &limit.name, now) {
            self.new.lock().push(key.clone());
            self.has_frozen.notify_one();
        }
    }

    /// What was frozen since the last time.
    pub fn take_new(&self) -> Vec<Freeze> {
        let new = std::mem::take(&mut *self.new.lock());
        new.iter().filter_map(|key| self.freezes.get(key)).collect()
    }

    /// Whether this user is frozen.
    pub fn is_frozen(&self, user: Option<&str>) -> bool {
        let is_frozen = |user| self.freezes.find(&Key::new(Kind::User, user)).is_some();
        !self.freezes.is_empty() && user.is_some_and(is_frozen)
    }

    /// All freezes of which so much was told, read a page at a time: nobody waits for it.
    pub fn frozen(&self, is_wanted: impl Fn(&Told) -> bool) -> Vec<Freeze> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.freezes.list(after.as_ref(), PAGE);
            after = page.last().map(|last| last.key.clone());
            all.extend(page.into_iter().filter(|freeze| is_wanted(&freeze.told)));
            if after.is_none() {
                return all;
            }
        }
    }

    /// Notes a step of telling the operator of these.
    pub fn mark(&self, freezes: &[Freeze], mark: Mark) {
        let keys: Vec<_> = freezes.iter().map(|freeze| freeze.key.clone()).collect();
        self.freezes.mark(&keys, mark);
    }

    /// Has all that was frozen and lifted on disk.
    pub async fn sync(self: &Arc<Self>) -> io::Result<()> {
        let counting = Arc::clone(self);
        on_disk(move || counting.freezes.sync()).await
    }
}

/// Whether any of these limits counts that.
pub fn counts(limits: &[Limit], of: Of) -> bool {
    limits.iter().any(|limit| limit.of == of)
}

/// The keys of who has connected.
pub fn client_keys(client: Option<IpAddr>, user: Option<&str>) -> Vec<Key> {
    let client = client.map(Key::client);
    let user = user.map(|user| Key::new(Kind::User, user));
    client.into_iter().chain(user).collect()
}

/// The keys of a sender.
pub fn sender_keys(sender: &Mailbox) -> [Key; 2] {
    let domain = sender.host().to_string();
    [
        Key::new(Kind::Sender, &sender.to_string()),
        Key::new(Kind::SenderDomain, &domain),
    ]
}

/// Freezes looked at in one go.
const PAGE: usize = 1000;
