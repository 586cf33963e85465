//! What is counted, and what follows: one place for mail that comes in, mail that fails, and the operator.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counters::{Counters, Freeze, Freezes, Key, Kind, Limit, Mark, Of, Then, Told, Unshared};
use envelope::{Mailbox, Timestamp};
use parking_lot::Mutex;
use spool::{Board, Note, Rule};
use tokio::sync::Notify;

use crate::on_disk::on_disk;

/// The limits of now; a reload brings others, and those it leaves as they are keep their counts.
pub type Limits = Arc<[Limit]>;

/// All counts of a relay.
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
    /// Other nodes count with us.
    board: Option<Arc<dyn Board>>,
    /// One at a time tells them of freezes.
    telling: tokio::sync::Mutex<()>,
    /// What they are to count too, by limit and key.
    untold: Mutex<HashMap<(Box<str>, Key), u64>>,
}

impl Counting {
    /// Nothing is counted yet. Nodes that share a board share what is counted, and who is frozen.
    pub fn new(freezes: Freezes, board: Option<Arc<dyn Board>>) -> Self {
        Self {
            counters: Counters::new(),
            freezes,
            has_frozen: Notify::new(),
            new: Mutex::default(),
            started: Instant::now(),
            board,
            telling: tokio::sync::Mutex::default(),
            untold: Mutex::default(),
        }
    }

    /// The time for rates: it never jumps.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts what has happened to these keys: refusals, failures, octets. Those that go over a limit that freezes are frozen.
    pub fn count(&self, limits: &[Limit], of: Of, keys: &[Key], n: u64, now: Timestamp) {
        for limit in limits.iter().filter(|limit| limit.of == of) {
            for key in keys.iter().filter(|key| key.kind() == limit.key) {
                let fits = self.add(limit, key, n);
                if !fits && limit.then == Then::Freeze {
                    self.freeze(key, limit, now);
                }
            }
        }
    }

    /// Counts what is about to happen, if it fits. If it does not, a limit that freezes has frozen the key.
    pub fn take(&self, limit: &Limit, key: &Key, n: u64, now: Timestamp) -> bool {
        let fits = self.try_take(limit, key, n);
        if !fits && limit.then == Then::Freeze {
            self.freeze(key, limit, now);
        }
        fits
    }

    /// Counts so much if it fits; false if it does not.
    pub fn try_take(&self, limit: &Limit, key: &Key, n: u64) -> bool {
        let fits = self.counters.take(limit, key, n, self.elapsed());
        if fits {
            self.note(limit, key, n);
        }
        fits
    }

    /// Counts what has happened, whether it fits or not; false if it was too much.
    pub fn add(&self, limit: &Limit, key: &Key, n: u64) -> bool {
        let fits = self.counters.add(limit, key, n, self.elapsed());
        self.note(limit, key, n);
        fits
    }

    /// The others are to count it too. Not what is far from its limit, which is most: however it comes in, less than an eighth of the
    /// limit is overlooked.
    fn note(&self, limit: &Limit, key: &Key, n: u64) {
        let Some(board) = &self.board else {
            return;
        };
        // Who starts just now is not there yet, but will count.
        let nodes = f64::from(board.place().nodes.max(2));
        let used = self.counters.used(limit, key, self.elapsed());
        if used * 8.0 * nodes <= 1.0 {
            return;
        }
        let mut untold = self.untold.lock();
        let is_full = untold.len() >= UNTOLD_MAX;
        match untold.entry((limit.name.clone(), key.clone())) {
            Entry::Occupied(mut entry) => *entry.get_mut() += n,
            Entry::Vacant(entry) if !is_full => drop(entry.insert(n)),
            Entry::Vacant(_) => {}
        }
    }

    /// What was counted here since the last time, a line each; none: nothing.
    pub(crate) fn take_untold(&self) -> Option<String> {
        let untold = std::mem::take(&mut *self.untold.lock()).into_iter();
        let lines: String = untold
            .map(|((limit, key), n)| format!("{n} {limit} {key}\n"))
            .collect();
        Some(lines).filter(|lines| !lines.is_empty())
    }

    /// Takes over how another node has left a key.
    pub(crate) fn learn_freeze(&self, limits: &[Limit], key: &Key, text: Option<&str>) {
        self.freezes.learn(key, text);
        if self.freezes.find(key).is_none() {
            self.forget(limits, key);
        }
    }

    /// Counts what another node has counted. Who is over a limit by it is frozen with the next message.
    pub(crate) fn learn(&self, limits: &[Limit], lines: &str) {
        for line in lines.lines() {
            let mut parts = line.splitn(3, ' ');
            let mut next = || parts.next();
            let (n, name, key) = (next(), next(), next());
            let n = n.and_then(|n| n.parse::<u64>().ok());
            let key = key.and_then(|key| key.parse::<Key>().ok());
            let limit = limits.iter().find(|limit| Some(&*limit.name) == name);
            if let (Some(n), Some(key), Some(limit)) = (n, key, limit) {
                self.counters.add(limit, &key, n, self.elapsed());
            }
        }
    }

    /// Lifts a freeze. What was counted is forgotten, or the next message would bring it back.
    pub fn lift(&self, limits: &[Limit], key: &Key) -> Option<Freeze> {
        let lifted = self.freezes.lift(key)?;
        self.forget(limits, key);
        Some(lifted)
    }

    fn forget(&self, limits: &[Limit], key: &Key) {
        for limit in limits.iter().filter(|limit| limit.key == key.kind()) {
            self.counters.forget(limit, key);
        }
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

    /// Has all that was frozen and lifted on disk, or with the other nodes.
    pub async fn sync(self: &Arc<Self>) -> io::Result<()> {
        if let Some(board) = &self.board {
            return self.share(&**board).await.map_err(io::Error::other);
        }
        let counting = Arc::clone(self);
        on_disk(move || counting.freezes.sync()).await
    }

    async fn share(&self, board: &dyn Board) -> Result<(), spool::Error> {
        let _one = self.telling.lock().await;
        let (until, changed) = self.freezes.unshared();
        if until == 0 {
            return Ok(());
        }
        let notes = changed
            .into_iter()
            .map(|(key, Unshared { text, is_mark })| (is_mark, note(&key, text)));
        let (marks, notes): (Vec<_>, Vec<_>) = notes.partition(|(is_mark, _)| *is_mark);
        let of = |notes: Vec<(bool, Note)>| notes.into_iter().map(|(_, note)| note).collect();
        board.put(of(notes), Rule::Replace).await?;
        // That the operator was told brings no freeze back that was lifted meanwhile.
        board.put(of(marks), Rule::IfUp).await?;
        self.freezes.shared(until);
        Ok(())
    }
}

/// How a key stands, as the board has it.
pub(crate) fn note(key: &Key, text: Option<String>) -> Note {
    Note::new(FREEZE, key.to_string(), text)
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

/// The kind of notes that tell who is frozen, by key.
pub(crate) const FREEZE: &str = "freeze";
/// What one node counts in the time between two notes; more is not told.
const UNTOLD_MAX: usize = 10_000;
/// Freezes looked at in one go.
const PAGE: usize = 1000;
