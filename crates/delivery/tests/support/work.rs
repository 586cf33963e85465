//! Work in memory: legs that are due, and what became of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use delivery::{Body, BodyError, SiteEvent, Want, Work};
use envelope::{
    BodyKind, Claim, Destination, Diagnosis, Leg, Message, MessageId, Outcome, ReversePath,
    Timestamp, Trip,
};
use testkit::nouns;
use tokio::sync::Notify;

use super::within;

#[derive(Default)]
pub(crate) struct Memory {
    due: Mutex<VecDeque<Claim>>,
    parked: Mutex<HashSet<Destination>>,
    bodies: Mutex<HashMap<MessageId, Vec<Bytes>>>,
    settled: Mutex<Vec<(String, Outcome)>>,
    events: Mutex<Vec<SiteEvent>>,
    added: Notify,
    changed: Notify,
    pub(crate) claims: AtomicUsize,
    pub(crate) released: AtomicUsize,
    messages: AtomicUsize,
    broken: Mutex<Option<&'static str>>,
}

pub(crate) struct Pieces(VecDeque<Bytes>);

/// A message to be delivered.
#[derive(Clone)]
pub(crate) struct Mail<'a> {
    pub(crate) to: &'a [&'a str],
    pub(crate) body: &'a str,
    pub(crate) trace: &'a str,
    pub(crate) kind: BodyKind,
    pub(crate) smtputf8: bool,
}

impl Default for Mail<'_> {
    fn default() -> Self {
        Self {
            to: &["a@to.test"],
            body: "Subject: x\r\n\r\nhello\r\n",
            trace: "",
            kind: BodyKind::SevenBit,
            smtputf8: false,
        }
    }
}

impl Memory {
    pub(crate) fn add(&self, mail: &Mail<'_>) {
        let number = self.messages.fetch_add(1, Ordering::Relaxed) as u128;
        let id = MessageId::new(now(), number);
        let message = std::sync::Arc::new(Message {
            body: mail.kind,
            smtputf8: mail.smtputf8,
            ..Message::new(id, now(), ReversePath::Null, mail.body.len() as u64)
        });
        // In pieces, as a spool would give it.
        let pieces = mail.body.as_bytes().chunks(100_000);
        let pieces = pieces.map(Bytes::copy_from_slice).collect();
        self.bodies.lock().unwrap().insert(id, pieces);
        for (number, to) in mail.to.iter().enumerate() {
            let leg = Leg {
                trace: mail.trace.into(),
                reverse_path: ReversePath::Mailbox(nouns::mailbox("sender@from.test")),
                ..nouns::leg(to)
            };
            let claim = nouns::claim(&message, number as u32, leg);
            self.due.lock().unwrap().push_back(claim);
        }
        self.added.notify_one();
    }

    /// From here on, the next call of this name panics, once; `body` is reading one.
    pub(crate) fn break_next(&self, call: &'static str) {
        *self.broken.lock().unwrap() = Some(call);
    }

    fn break_at(&self, call: &str) {
        let next = self.broken.lock().unwrap().take_if(|next| *next == call);
        assert!(next.is_none(), "as the test wants it");
    }

    pub(crate) fn lose_bodies(&self) {
        self.bodies.lock().unwrap().clear();
    }

    /// Waits for `n` legs to be settled, and gives them as lines: `to: outcome status text | reply`.
    pub(crate) async fn outcomes(&self, n: usize) -> Vec<String> {
        let settled = self.until(|m| {
            let settled = m.settled.lock().unwrap();
            (settled.len() >= n).then(|| settled.clone())
        });
        settled.await.iter().map(|(to, o)| line(to, o)).collect()
    }

    /// Waits for `n` events, and gives their names.
    pub(crate) async fn events(&self, n: usize) -> Vec<SiteEvent> {
        self.until(|m| {
            let events = m.events.lock().unwrap();
            (events.len() >= n).then(|| events.clone())
        })
        .await
    }

    pub(crate) fn waiting(&self) -> usize {
        self.due.lock().unwrap().len()
    }

    async fn until<T>(&self, look: impl Fn(&Self) -> Option<T>) -> T {
        within(async {
            loop {
                let changed = self.changed.notified();
                if let Some(found) = look(self) {
                    return found;
                }
                changed.await;
            }
        })
        .await
    }
}

impl Work for Memory {
    type Body = Pieces;

    async fn claim(&self, want: &Want) -> Vec<Claim> {
        self.claims.fetch_add(1, Ordering::Relaxed);
        self.break_at("claim");
        let mut parked = self.parked.lock().unwrap();
        for (host, park) in &want.park {
            match park {
                true => parked.insert(host.clone()),
                false => parked.remove(host),
            };
        }
        let mut due = self.due.lock().unwrap();
        let mut taken = Vec::new();
        let mut by_host: HashMap<_, usize> = HashMap::new();
        let mut left = VecDeque::new();
        for claim in due.drain(..) {
            let host = claim.leg.destination();
            let count = by_host.entry(host.clone()).or_default();
            if taken.len() < want.max && *count < want.per_host && !parked.contains(&host) {
                *count += 1;
                taken.push(claim);
            } else {
                left.push_back(claim);
            }
        }
        *due = left;
        taken
    }

    async fn open(&self, message: &Message) -> Result<Pieces, BodyError> {
        self.break_at("open");
        let bodies = self.bodies.lock().unwrap();
        let pieces = bodies
            .get(&message.id)
            .ok_or_else(|| io::Error::other("it is lost"))?;
        Ok(Pieces(pieces.iter().cloned().collect()))
    }

    async fn settle(&self, attempt: &[Claim], _: &Trip, outcomes: Vec<Outcome>) {
        assert_eq!(attempt.len(), outcomes.len());
        self.break_at("settle");
        for (claim, outcome) in attempt.iter().zip(outcomes) {
            let to = claim.leg.target.to_string();
            self.settled.lock().unwrap().push((to, outcome));
        }
        self.changed.notify_waiters();
    }

    async fn release(&self, claims: Vec<Claim>) {
        self.released.fetch_add(claims.len(), Ordering::Relaxed);
        let mut due = self.due.lock().unwrap();
        for claim in claims.into_iter().rev() {
            due.push_front(claim);
        }
        self.changed.notify_waiters();
    }

    async fn wait(&self) {
        let due = |m: &Self| {
            let (parked, due) = (m.parked.lock().unwrap(), m.due.lock().unwrap());
            due.iter()
                .any(|claim| !parked.contains(&claim.leg.destination()))
        };
        loop {
            if due(self) {
                return;
            }
            self.added.notified().await;
        }
    }

    fn site_changed(&self, event: &SiteEvent) {
        self.events.lock().unwrap().push(event.clone());
        self.changed.notify_waiters();
    }
}

impl Body for Pieces {
    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.pop_front())
    }
}

fn line(to: &str, outcome: &Outcome) -> String {
    let word = match outcome {
        Outcome::Delivered(_) => "delivered",
        Outcome::Deferred(_) => "deferred",
        Outcome::Failed(_) => "failed",
    };
    let Diagnosis {
        status,
        text,
        reply,
        ..
    } = outcome.diagnosis();
    match reply {
        Some(reply) => format!("{to}: {word} {status} | {reply}"),
        None => format!("{to}: {word} {status} {text}"),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_unix_millis(since.as_millis() as u64)
}
