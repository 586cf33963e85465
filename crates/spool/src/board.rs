//! What the nodes of one spool tell each other beside the mail: notes, which hold until another takes their place, and questions.
//!
//! It does *not* know what they mean.

use std::pin::Pin;

use envelope::{Share, Timestamp};

use crate::error::Error;

/// A fact that all nodes are to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Of which kind; who does not know it passes it by.
    pub kind: String,
    /// Of what: a kind has one note of a name.
    pub name: String,
    /// What holds; none: nothing any more.
    pub text: Option<String>,
    /// Whether it says nothing any more after a day.
    pub is_passing: bool,
    /// Whether this node has put it up, since it began. The board knows.
    pub is_own: bool,
}

/// What becomes of a note when one of its kind and name is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The new one takes its place.
    Replace,
    /// So, too; but where there is none, or none that holds, nothing is put up.
    IfUp,
    /// It stays.
    IfNew,
}

/// A question that another node has put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The engine's number for it.
    pub id: i64,
    /// As it was put.
    pub text: String,
}

/// What another node says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its name.
    pub node: String,
    /// None: it did not answer in time.
    pub text: Option<String>,
}

/// The board of a spool that several nodes share. One task of a node reads it.
pub trait Board: Send + Sync {
    /// The name of this node.
    fn name(&self) -> &str;

    /// Puts notes up. They are durable when it returns.
    fn put(&self, notes: Vec<Note>, rule: Rule) -> Boxed<'_, Result<(), Error>>;

    /// Waits for notes that were put up, and gives each once; the first time all that are up. One that was replaced meanwhile is
    /// passed over: what comes last of a kind and name is what holds.
    fn news(&self) -> Boxed<'_, Vec<Note>>;

    /// The time, by one clock for all.
    fn now(&self) -> Timestamp;

    /// Where this node stands among those at work.
    fn place(&self) -> Share;

    /// Asks all other nodes at work, and waits for their answers for some seconds at most.
    fn ask(&self, text: String) -> Boxed<'_, Result<Vec<Reply>, Error>>;

    /// Waits for a question of another node.
    fn question(&self) -> Boxed<'_, Question>;

    /// Answers one; the asker may have gone.
    fn answer(&self, question: i64, text: String) -> Boxed<'_, Result<(), Error>>;
}

impl Note {
    /// One that holds until another takes its place.
    pub fn new(kind: &str, name: String, text: Option<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            name,
            text,
            is_passing: false,
            is_own: false,
        }
    }

    /// The same, for a day.
    pub fn passing(self) -> Self {
        let is_passing = true;
        Self { is_passing, ..self }
    }
}

/// What a [`Board`] does in its time.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
