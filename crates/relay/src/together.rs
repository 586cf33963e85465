//! What the nodes of one spool have together beside the mail: what is ordered of sites, which are down, who is frozen, what is counted
//! against limits, and the answers to operators.
//!
//! Each of them is a kind of note on the board. A node puts up what it finds, and takes over what the others do. So a site that is down
//! is probed by the node that found it, and by no other, and an operator may ask any.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use counters::Freezes;
use delivery::{Dispatcher, Fact};
use envelope::{Share, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use spool::{Board, Error, Note, Rule, Spool};
use tokio_util::sync::CancellationToken;

use crate::counting::{self, Counting, FREEZE};
use crate::operator::{Operator, OrdersFile, orders};
use crate::outbound::Outbound;
use crate::routing;

/// What goes with a queue from the folder of one relay to the board of several, or back.
#[derive(Debug, Serialize)]
pub struct Beside {
    /// What is ordered of sites.
    pub orders: u64,
    /// Who is frozen.
    pub freezes: u64,
}

/// Puts up what the files of a folder say. What nodes have said of the same stays.
pub async fn put_up(folder: &Path, spool: &impl Spool, now: Timestamp) -> Result<Beside, Error> {
    let (notes, beside) = notes_of(folder, now);
    if let Some(board) = spool.board() {
        board.put(notes, Rule::IfNew).await?;
    }
    Ok(beside)
}

/// Writes what stands on the board into the files of a folder, in the place of what they say.
pub async fn write_down(folder: &Path, spool: &impl Spool, now: Timestamp) -> io::Result<Beside> {
    let notes = match spool.board() {
        Some(board) => board.news().await,
        None => Vec::new(),
    };
    // One without any was cleared by such a move before: the files have it.
    if !notes.is_empty() {
        let of = |kind| notes.iter().filter(move |note| note.kind == kind);
        let of = |kind| of(kind).map(|note| (&*note.name, note.text.as_deref()));
        let orders = of(orders::KIND).filter_map(|(name, text)| orders::told(name, text, now));
        OrdersFile::rewrite(folder, orders.collect(), now)?;
        let frozen = of(FREEZE).filter_map(|(name, text)| Some((name.parse().ok()?, text)));
        Freezes::rewrite(folder, frozen)?;
    }
    Ok(notes_of(folder, now).1)
}

fn notes_of(folder: &Path, now: Timestamp) -> (Vec<Note>, Beside) {
    let mut notes = OrdersFile::open(folder, now, false).notes();
    let orders = notes.len() as u64;
    let frozen = Freezes::open(folder).all().into_iter();
    notes.extend(frozen.map(|(key, text)| counting::note(&key, Some(text))));
    let freezes = notes.len() as u64 - orders;
    (notes, Beside { orders, freezes })
}

/// One of several nodes.
pub(crate) struct Together<S: Spool> {
    pub(crate) board: Arc<dyn Board>,
    pub(crate) dispatcher: Arc<Dispatcher<Outbound<S>, dns::Backend>>,
    pub(crate) counting: Arc<Counting>,
    pub(crate) routing: routing::Shared,
    pub(crate) operator: Arc<Operator<S>>,
    /// The counts that were learned last, by the names of their notes: one whose answer was lost is put up twice.
    pub(crate) counted: Mutex<HashMap<String, String>>,
}

impl<S: Spool> Together<S> {
    /// Takes over what holds already. Before that, no mail is taken or sent.
    pub(crate) async fn begin(&self) {
        let mut notes = self.board.news().await;
        // All of that is past.
        notes.retain(|note| note.kind != COUNTS);
        self.learn(notes).await;
        self.share().await;
    }

    /// Tells and learns until `stopped`.
    pub(crate) async fn keep(&self, stopped: CancellationToken) {
        tokio::select! {
            () = stopped.cancelled() => {}
            () = self.keep_learning() => {}
            () = self.tell_of_sites() => {}
            () = self.tell_counts() => {}
            () = self.answer() => {}
        }
    }

    async fn keep_learning(&self) {
        loop {
            let notes = self.board.news().await;
            self.learn(notes).await;
        }
    }

    /// Orders and freezes of this node are learned, too: of what two nodes say at once, all keep what was put up last.
    async fn learn(&self, notes: Vec<Note>) {
        let now = self.operator.clock.now();
        let limits = Arc::clone(&self.routing.load().limits);
        let mut facts = Vec::new();
        for note in notes {
            let Note {
                kind, name, text, ..
            } = note;
            match &*kind {
                SITE | COUNTS if note.is_own => {}
                SITE => facts.push(Fact {
                    site: name,
                    down: text,
                }),
                FREEZE => {
                    if let Ok(key) = name.parse() {
                        self.counting.learn_freeze(&limits, &key, text.as_deref());
                    }
                }
                COUNTS => {
                    let text = text.unwrap_or_default();
                    let before = self.counted.lock().insert(name, text.clone());
                    if before.as_ref() != Some(&text) {
                        self.counting.learn(&limits, &text);
                    }
                }
                orders::KIND => {
                    if let Some(change) = orders::told(&name, text.as_deref(), now) {
                        self.dispatcher.order(change, now).await;
                    }
                }
                // A later version may tell more.
                _ => {}
            }
        }
        self.dispatcher.learn(&facts, self.board.now()).await;
    }

    /// What is ordered of sites holds for all nodes together. Of fewer connections than there are nodes, each has one in turn: the first
    /// may be the one that cannot reach the site.
    async fn share(&self) {
        let Share { number, nodes } = self.board.place();
        let turn = self.board.now().unix_millis() / TURN.as_millis() as u64;
        let number = (u64::from(number) + turn) % u64::from(nodes.max(1));
        let number = number as u32;
        self.dispatcher.share(Share { number, nodes }).await;
    }

    async fn tell_of_sites(&self) {
        loop {
            let facts = self.dispatcher.news(|| self.board.now()).await;
            let note = |fact: Fact| Note::new(SITE, fact.site, fact.down).passing();
            let notes: Vec<_> = facts.into_iter().map(note).collect();
            // A site that is up again must not stay closed elsewhere.
            while !self.put(notes.clone()).await {
                tokio::time::sleep(COUNTS_EVERY).await;
            }
            // When all goes down, many are told of in one go.
            tokio::time::sleep(SITES_EVERY).await;
        }
    }

    /// Each note stands for a while, so that nobody misses one.
    async fn tell_counts(&self) {
        let mut waiting = None;
        for round in (0..COUNTS_KEPT).cycle() {
            tokio::time::sleep(COUNTS_EVERY).await;
            self.share().await;
            if waiting.is_none() {
                let untold = self.counting.take_untold();
                waiting = untold.map(|counts| {
                    // The first line tells notes apart, and counts nothing.
                    let text = format!("{}\n{counts}", self.board.now());
                    Note::new(COUNTS, format!("{} {round}", self.board.name()), Some(text))
                });
            }
            if let Some(note) = waiting.clone()
                && self.put(vec![note.passing()]).await
            {
                waiting = None;
            }
            // What could not be put up when it was new.
            if let Err(error) = self.counting.sync().await {
                tracing::debug!(%error, "cannot tell the other nodes who is frozen");
            }
        }
    }

    async fn answer(&self) {
        loop {
            let question = self.board.question().await;
            let (board, operator) = (Arc::clone(&self.board), Arc::clone(&self.operator));
            // One that takes long holds no other up.
            tokio::spawn(async move {
                let answer = operator.answer_node(&question.text).await;
                if let Err(error) = board.answer(question.id, answer).await {
                    tracing::debug!(%error, "cannot answer another node");
                }
            });
        }
    }

    /// Whether they are up.
    async fn put(&self, notes: Vec<Note>) -> bool {
        let put = self.board.put(notes, Rule::Replace).await;
        if let Err(error) = &put {
            tracing::warn!(%error, "cannot tell the other nodes what this one has found");
        }
        put.is_ok()
    }
}

/// Kinds of notes: a site that is down, by its name; what a node has counted.
const SITE: &str = "site";
const COUNTS: &str = "counts";
/// How long a node has what is too little for all.
const TURN: Duration = Duration::from_mins(5);
/// How often counts are told, and how many of those notes stand at a time.
const COUNTS_EVERY: Duration = Duration::from_secs(2);
const SITES_EVERY: Duration = Duration::from_millis(500);
const COUNTS_KEPT: u32 = 15;
