//! Messages whose client waits for the destination's verdict. They are in memory only; delivery works on their legs as on any.
//!
//! ```text
//!             all legs have one verdict: it is the answer
//!   Waiting ───────────────────────────────────────────────► gone
//!      │ │ late, put off, shut down     committed, leased
//!      │ └────────────────► TakenBack ─────────────────────► gone: the queue's, with what came meanwhile
//!      │ the client left        │ the spool failed
//!      └──────────► Left ◄──────┘
//!                    └─► gone with its last leg; what was delivered is remembered (`unread.rs`)
//! ```
//!
//! One lock guards the states, so that an outcome at the very moment of a change counts on one side of it, and once.

use std::collections::HashMap;
use std::sync::Arc;

use envelope::{Claim, MessageId, Outcome, Trip};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::unread::Print;

/// The messages of now.
#[derive(Debug)]
pub(super) struct Online<R> {
    letters: Mutex<Letters<R>>,
    octets_max: u64,
}

#[derive(Debug)]
struct Letters<R> {
    by_id: HashMap<MessageId, Letter<R>>,
    /// Octets of all, with what each costs besides.
    octets: u64,
}

#[derive(Debug)]
pub(super) struct Letter<R> {
    body: R,
    octets: u64,
    pub(super) print: Print,
    /// Legs that have not come back.
    out: usize,
    pub(super) back: Vec<Back>,
    state: State,
    /// Tells the visit that it need not wait any more.
    decided: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    TakenBack,
    Left,
}

/// Legs of one message that delivery gave back.
#[derive(Debug)]
pub(super) struct Back {
    pub(super) claims: Vec<Claim>,
    /// One outcome a leg, if they were tried.
    pub(super) tried: Option<(Trip, Vec<Outcome>)>,
}

/// What became of a message, as far as its client is concerned.
#[derive(Debug)]
pub(super) enum Verdict {
    /// All legs are delivered.
    Delivered(Vec<Back>),
    /// All are refused for good.
    Refused(Vec<Back>),
    /// The queue's; and why its destination was not asked, if it was not.
    Open(&'static str),
    /// The same message is here already: its client has lost patience, and come back.
    Again,
}

impl Back {
    /// What became of each leg that was tried.
    pub(super) fn settled(&self) -> impl Iterator<Item = (&Claim, &Trip, &Outcome)> {
        let tried = self.tried.iter();
        tried.flat_map(|(trip, outcomes)| {
            let legs = self.claims.iter().zip(outcomes);
            legs.map(move |(claim, outcome)| (claim, trip, outcome))
        })
    }

    /// Whether all its legs have an outcome like this.
    fn all(&self, is_like: fn(&Outcome) -> bool) -> bool {
        let tried = self.tried.as_ref();
        tried.is_some_and(|(_, outcomes)| outcomes.iter().all(is_like))
    }
}

impl<R: Clone> Online<R> {
    /// None yet, and never more than so many octets.
    pub(super) fn new(octets_max: u64) -> Self {
        let (by_id, octets) = (HashMap::new(), 0);
        Self {
            letters: Mutex::new(Letters { by_id, octets }),
            octets_max,
        }
    }

    /// Takes a message in. What it gives back is notified when there is a verdict, or will be none.
    pub(super) fn begin(
        &self,
        id: MessageId,
        print: Print,
        legs: usize,
        octets: u64,
        body: R,
    ) -> Result<Arc<Notify>, Verdict> {
        let mut letters = self.letters.lock();
        let octets = octets + LETTER_OCTETS;
        // There are some thousands at most, and each client waits for a network.
        if letters.by_id.values().any(|letter| letter.print == print) {
            return Err(Verdict::Again);
        }
        if letters.octets + octets > self.octets_max {
            return Err(Verdict::Open("answer_memory is used up"));
        }
        letters.octets += octets;
        let decided = Arc::new(Notify::new());
        let letter = Letter {
            body,
            octets,
            print,
            out: legs,
            back: Vec::new(),
            state: State::Waiting,
            decided: Arc::clone(&decided),
        };
        letters.by_id.insert(id, letter);
        Ok(decided)
    }

    /// Whether the message is here; one that is not never will be.
    pub(super) fn has(&self, claim: &Claim) -> bool {
        self.letters.lock().by_id.contains_key(&claim.message.id)
    }

    /// Its body, while it is here.
    pub(super) fn body(&self, id: MessageId) -> Option<R> {
        let letters = self.letters.lock();
        letters.by_id.get(&id).map(|letter| letter.body.clone())
    }

    /// Keeps what came back of a message that is here. It is given back if the message is not; and all of it comes back with the
    /// last leg of a message that nobody waits for.
    #[expect(clippy::result_large_err, reason = "it is given back as it came")]
    pub(super) fn keep(&self, back: Back) -> Result<Option<(MessageId, Letter<R>)>, Back> {
        let mut letters = self.letters.lock();
        let id = back.claims.first().map(|claim| claim.message.id);
        let Some((id, letter)) = id.and_then(|id| Some((id, letters.by_id.get_mut(&id)?))) else {
            return Err(back);
        };
        letter.out = letter.out.saturating_sub(back.claims.len());
        let is_open = !back.all(is_delivered) && !back.all(is_failed);
        letter.back.push(back);
        if letter.out == 0 || is_open {
            letter.decided.notify_one();
        }
        let is_over = letter.out == 0 && letter.state == State::Left;
        let over = is_over.then(|| letters.take(id)).flatten();
        Ok(over.map(|over| (id, over)))
    }

    /// The visit waits no more: the message is gone with its verdict, or taken back.
    pub(super) fn end_wait(&self, id: MessageId) -> Verdict {
        let mut letters = self.letters.lock();
        let Some(letter) = letters.by_id.get_mut(&id) else {
            return Verdict::Open("");
        };
        letter.state = State::TakenBack;
        let verdict = match (letter.all(is_delivered), letter.all(is_failed)) {
            (true, _) => Verdict::Delivered,
            (_, true) => Verdict::Refused,
            _ => return Verdict::Open(""),
        };
        letters
            .take(id)
            .map_or(Verdict::Open(""), |letter| verdict(letter.back))
    }

    /// It is the queue's: what came back meanwhile is to be settled there.
    pub(super) fn queued(&self, id: MessageId) -> Vec<Back> {
        let mut letters = self.letters.lock();
        letters.take(id).map_or_else(Vec::new, |letter| letter.back)
    }

    /// Nobody waits for it any more, and it is not in the queue. What its legs come to is still of interest.
    pub(super) fn leave(&self, id: MessageId) -> Option<Letter<R>> {
        let mut letters = self.letters.lock();
        let letter = letters.by_id.get_mut(&id)?;
        letter.state = State::Left;
        (letter.out == 0).then(|| letters.take(id)).flatten()
    }
}

impl<R> Letter<R> {
    /// Whether all legs have come back, each with an outcome like this.
    pub(super) fn all(&self, is_like: fn(&Outcome) -> bool) -> bool {
        self.out == 0 && self.back.iter().all(|back| back.all(is_like))
    }
}

impl<R> Letters<R> {
    fn take(&mut self, id: MessageId) -> Option<Letter<R>> {
        let letter = self.by_id.remove(&id)?;
        self.octets -= letter.octets;
        Some(letter)
    }
}

pub(super) fn is_delivered(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Delivered(_))
}

fn is_failed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(_))
}

/// What a message costs beside its body: its claims, and the waiting visit.
const LETTER_OCTETS: u64 = 8 << 10;
