//! May this happen? A case and ordered rules in; questions out, and then a decision with the rule that made it.
//!
//! Each stage of a session has its list of rules (`rules/`): **objections** first, of which the first decides; then
//! **grounds** to accept. A rule that needs to know more asks, and the caller answers:
//!
//! ```text
//! step(stage, case) ─► Ask(questions) ─► the caller answers them, in parallel ─► case.learn(answer) ─► step again
//!                   └► Decide(decision)
//! ```
//!
//! The questions of independent rules are asked together. A rule after an objection is never reached and asks nothing.
//! The words of every refusal are in `replies.rs`.
//!
//! It does *not* look anything up, count anything, or know limits of the protocol (size, recipients, syntax of
//! commands): those are `smtp`'s. It never opens the relay: mail for a foreign domain is accepted from trusted
//! or authenticated clients alone, and at RCPT what no ground accepts is refused.

mod case;
mod decision;
mod filtered;
mod limited;
pub mod measures;
mod networks;
mod question;
mod replies;
mod rules;
mod sender;
mod settings;
mod user;
mod words;

pub use case::{Case, Client, Login, Message, Recipient, Role, Standing, Transaction};
pub use decision::{Decision, Effect, Opinion, Stage, Step, Tier, Trace, Why};
pub use filtered::{Filtered, Judgement};
pub use limited::{Beyond, Limited};
pub use measures::{Dmarc, Measures, Name, Profiles, Spf};
pub use networks::Networks;
pub use question::{Answer, CredentialsFound, Destination, Hosted, Question, Route, Srs};
pub use sender::{Blocklisted, Callout, DmarcFound, Findings, Identity, SpfFound, SpfResult};
pub use settings::Settings;
pub use user::{SenderOf, Senders, User};

/// The next step for a case at this stage: questions to answer, or the decision.
pub fn step(stage: Stage, case: &Case) -> Step {
    match rules::of(stage).decide(case) {
        Ok(decision) => Step::Decide(decision),
        Err(questions) => Step::Ask(questions),
    }
}

#[cfg(test)]
mod tests;
