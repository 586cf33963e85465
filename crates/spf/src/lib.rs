//! The Sender Policy Framework, RFC 7208: may this client send mail for this domain?
//!
//! An [`Evaluation`] is `check_host()` of the RFC without the DNS: it says what it must know ([`Step::Ask`]), the caller looks
//! that up, in parallel if it likes, hands the answers in, and steps again, until [`Step::Done`].
//!
//! ```
//! use spf::{Answer, Evaluation, Lookup, Query, Step, Verdict};
//!
//! let client = "192.0.2.7".parse()?;
//! let query = Query::mail_from(client, "mx.example.org", "alice", "example.org");
//! let mut evaluation = Evaluation::new(query);
//! let output = loop {
//!     match evaluation.step() {
//!         Step::Done(output) => break output,
//!         Step::Ask(lookups) => {
//!             for lookup in lookups {
//!                 // Here DNS would be asked.
//!                 let answer = match &lookup {
//!                     Lookup::Txt(name) if name == "example.org" => {
//!                         Answer::Txt(vec![b"v=spf1 ip4:192.0.2.0/24 -all".to_vec()])
//!                     }
//!                     _ => Answer::Nothing,
//!                 };
//!                 evaluation.answer(lookup, answer);
//!             }
//!         }
//!     }
//! };
//! assert_eq!(output.verdict, Verdict::Pass);
//! assert_eq!(output.to_string(), "`ip4:192.0.2.0/24` in the record of example.org matches 192.0.2.7");
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! Whatever a record holds, an evaluation asks for a bounded number of things (RFC 7208 §4.6.4) and does a bounded amount
//! of work. It has no clock: a limit on the whole time (§4.6.4 wants at least 20 seconds) is the caller's.
//!
//! It does *not* decide what to do with a result, and it takes domains as A-labels.

mod evaluation;
mod expand;
mod lint;
mod macros;
mod output;
mod query;
mod record;
mod run;
#[cfg(test)]
mod tests;

pub use evaluation::{Answer, Answers, Evaluation, Lookup, Question, Step};
pub use lint::{Entry, Finding, Level, Lint, Node, Place, Report};
pub use output::{Hop, Output, Problem, Verdict};
pub use query::Query;
pub use record::SyntaxError;
