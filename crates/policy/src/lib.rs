//! May this happen? Facts in, a verdict out, and the name of the rule that gave it.
//!
//! Each stage of a session (connect, hello, mail, rcpt, data) has its own facts ([`facts`]) and its own ordered list
//! of rules (`rules/`); the first rule with an opinion decides. The words of every refusal are in `replies.rs`.
//! Pure: whoever calls has looked everything up before, so a rule can be tested as a row of a table.
//!
//! It does *not* look anything up, count anything, or know limits of the protocol (size, recipients, syntax of
//! commands): those are `smtp`'s. It never opens the relay: mail for a foreign domain is accepted from trusted
//! or authenticated clients alone, and the last rule of `rules/rcpt.rs` refuses whatever no rule before it named.

pub mod facts;
mod replies;
mod rules;

use envelope::Verdict;

pub use facts::Networks;

/// What was decided, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer for the session.
    pub verdict: Verdict,
    /// The rule's name, for the log: stable, in kebab-case; [`NO_OBJECTION`] when none had an opinion.
    pub rule: &'static str,
}

/// The rule's name in a [`Decision`] when every rule of the stage was silent, and the answer is yes for that.
pub const NO_OBJECTION: &str = "no-objection";

/// Whether this client may talk to us at all.
pub fn connect(facts: &facts::Connect) -> Decision {
    rules::decide(rules::connect::RULES, facts)
}

/// Whether EHLO or HELO may name itself so.
pub fn hello(facts: &facts::Hello) -> Decision {
    rules::decide(rules::hello::RULES, facts)
}

/// Whether this client may begin a transaction.
pub fn mail(facts: &facts::Mail) -> Decision {
    rules::decide(rules::mail::RULES, facts)
}

/// Whether we take mail for this recipient from this client.
pub fn rcpt(facts: &facts::Rcpt) -> Decision {
    rules::decide(rules::rcpt::RULES, facts)
}

/// Whether the body may be sent.
pub fn data(facts: &facts::Data) -> Decision {
    rules::decide(rules::data::RULES, facts)
}
