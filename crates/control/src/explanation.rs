//! What would be decided on a mail, and why: rows, as they travel and as `--json` prints them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A mail that nobody has sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// The recipient.
    pub to: String,
    /// The reverse path; empty when null.
    pub from: String,
    /// The client's address.
    pub ip: IpAddr,
    /// What the client says in EHLO.
    pub hello: String,
    /// Who has logged in, on a submission port.
    #[serde(default)]
    pub user: Option<String>,
}

/// How it would be decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What the client is to us: `stranger`, `trusted` or `authenticated`.
    pub client: String,
    /// The client's name: what its address points to, if that points back.
    pub name: Option<String>,
    /// What kind of listener it would come to: `mx` or `submission`.
    pub listener: String,
    /// Every stage that it would come to, in order.
    pub stages: Vec<Stage>,
    /// Whether the message was there. If not, no rule of the last stage was asked.
    pub has_message: bool,
    /// From the recipient through the lines of the forwards to the targets, as a tree: what has a greater depth belongs to what
    /// stands before it.
    pub expansion: Vec<Step>,
    /// None: it would be accepted.
    pub refusal: Option<Refusal>,
    /// Whether what is queued would be on hold, until an operator decides.
    pub is_held: bool,
    /// Whose verdict the client would get at the end of the message, and why; none when it is refused.
    #[serde(default)]
    pub answer: Option<String>,
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

/// An address on the way to the targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How many addresses lead to it.
    pub depth: usize,
    /// The address.
    pub address: String,
    /// The line that decides on it, as `file:line: text`; none: it is not hosted, or has none.
    pub line: Option<String>,
    /// The line of its domain, whose options hold where its own says nothing.
    pub domain_line: Option<String>,
    /// Why it leads nowhere.
    pub fault: Option<String>,
}

/// Where the mail would go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The target behind the forward.
    pub target: String,
    /// The reverse path as the next hop would see it, in angle brackets.
    pub sender: String,
    /// Whom a bounce to that sender comes back to, if it is an SRS address of ours.
    pub back: Option<String>,
    /// The options of its forward.
    pub options: String,
    /// The site that takes it, as logs call it.
    pub site: Option<String>,
    /// The [[egress]] that it would leave from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// The connections that would be tried, one after the other.
    pub hops: Vec<Hop>,
    /// How TLS is used on them: `opportunistic` or `never`.
    pub tls: Option<String>,
    /// The file with the name and password that its hosts are given.
    pub login: Option<String>,
    /// The MTA-STS policy of its domain, or why it cannot be had.
    pub sts: Option<String>,
    /// Why it cannot be sent there now.
    pub trouble: Option<String>,
}

/// A connection that would be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// To this host; none: only an address is known.
    pub host: Option<String>,
    /// To this address, or socket of this machine.
    pub to: String,
    /// From this one of ours, first of all; none: the system chooses.
    pub from: Option<IpAddr>,
    /// How TLS is used with it: as `Way::tls`, or `dane`.
    pub tls: String,
}
