//! What would be decided on a mail, and why: rows, as they travel and as `--json` prints them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A mail that nobody has sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The recipient.
    pub to: String,
    /// The reverse path; empty when null.
    pub from: String,
    /// The client's address.
    pub ip: IpAddr,
    /// What the client says in EHLO.
    pub hello: String,
}

/// How it would be decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What the client is to us: `stranger`, `trusted` or `authenticated`.
    pub client: String,
    /// Every stage that it would come to, in order.
    pub stages: Vec<Stage>,
    /// Whether the message was there. If not, no rule of the last stage was asked.
    pub has_message: bool,
    /// None: it would be accepted.
    pub refusal: Option<Refusal>,
    /// Whether what is queued would be on hold, until an operator decides.
    pub is_held: bool,
    /// What would be queued for it; empty when it is refused, or accepted and discarded.
    pub ways: Vec<Way>,
}

/// Who would say no, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// At this stage.
    pub stage: String,
    /// The rule, as the mail log names it.
    pub rule: String,
    /// What the client would be told.
    pub reply: String,
}

/// One stage: what its rules wanted to know, and what they said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// `connect`, `hello`, `mail`, `rcpt`, `data` or `message`.
    pub stage: String,
    /// In the order in which it was asked.
    pub asked: Vec<Asked>,
    /// Every rule up to the one that decided.
    pub rules: Vec<Ruled>,
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What about.
    pub question: String,
    /// In words.
    pub answer: String,
}

/// A rule and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruled {
    /// Its name.
    pub rule: String,
    /// `pass`, `grant`, `object: …`, `close: …` or `note: …`.
    pub opinion: String,
}

/// Where the mail would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The target behind the forward.
    pub target: String,
    /// The reverse path as the next hop would see it, in angle brackets.
    pub sender: String,
    /// The options of its forward.
    pub options: String,
}
