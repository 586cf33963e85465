//! Answers to the questions that `policy` asks, from the stages that know them: a file for each.

mod authentic;
mod callout;
mod credentials;
mod dnsbl;
mod filter;
pub(super) mod limits;
mod lists;
mod pressure;
mod route;
mod spf;

use forwarder::Route;
use policy::{Answer, Case, Question};
use spool::Spool;

use super::Inbound;
use super::deciding::Sources;

/// What an answer is found from.
pub(super) struct Inquiry<'a, S: Spool> {
    pub(super) inbound: &'a Inbound<S>,
    pub(super) sources: &'a Sources<'a>,
    pub(super) case: &'a Case,
    /// Of the recipient, if it was found.
    pub(super) route: Option<&'a Route>,
    /// Whether the mail is real: nothing is counted for an explanation.
    pub(super) counts: bool,
}

impl<S: Spool> Inquiry<'_, S> {
    /// Finds the answer. A route is also returned as it is: if the recipient is accepted, the mail takes it.
    pub(super) async fn find(&self, question: &Question) -> (Answer, Option<Route>) {
        let budget = &self.inbound.budget;
        let answer = match question {
            Question::Credentials => Answer::Credentials(self.credentials().await),
            Question::Route => return self.route().await,
            Question::SrsBudget(sender) => Answer::SrsBudgetLeft(!budget.is_used_up(sender)),
            Question::TakeSrsBudget(senders) => {
                let mut senders = senders.iter();
                Answer::SrsBudgetTaken(match self.counts {
                    true => senders.all(|sender| budget.take(sender)),
                    false => !senders.any(|sender| budget.is_used_up(sender)),
                })
            }
            Question::Limits(stage) => Answer::Limits(self.limited(*stage)),
            Question::TakeLimits => Answer::LimitsTaken(self.limits_taken()),
            Question::Listed(lists) => Answer::Listed(self.listed(lists)),
            Question::Spf => Answer::Spf(self.spf().await),
            Question::Dnsbl(zones) => Answer::Dnsbl(self.dnsbl(zones).await),
            Question::Callout => Answer::Callout(self.callout().await),
            Question::Authentic => Answer::Authentic(self.dmarc().await),
            Question::Filter(filters) => Answer::Filter(self.filtered(filters).await),
            Question::Pressure => self.pressure(),
        };
        (answer, None)
    }
}
