//! Whether the targets of the recipient take what comes for them.

use envelope::{Destination, Leg, Mailbox};
use forwarder::{Plan, Route};
use policy::{Answer, Case, Standing};
use rand::RngExt;
use spool::Spool;

use super::Inquiry;
use crate::inbound::Inbound;

impl<S: Spool> Inquiry<'_, S> {
    /// What counts is the target that takes best: its copy is not to wait for the others. An explanation puts nothing off.
    pub(super) fn pressure(&self) -> Answer {
        let Some((_, share)) = self.inbound.pressure.get() else {
            return Answer::Pressure {
                share: 0,
                put_off: false,
            };
        };
        let share_of = |target: &Mailbox, to| share(target, &to, 0.0);
        let named = self.case.recipient.path.as_ref();
        let share = match self.route {
            Some(Route::Forward(expansion)) => {
                let shares = expansion.targets.iter().map(|target| {
                    let (host, way) = (target.mailbox.host().clone(), target.options.noun().way());
                    share_of(&target.mailbox, Destination { host, way })
                });
                shares.min()
            }
            // To a relay domain.
            _ => named
                .and_then(|path| path.mailbox())
                .map(|mailbox| share_of(mailbox, mailbox.host().clone().into())),
        };
        let share = share.unwrap_or(0);
        let put_off = self.counts && rand::rng().random_range(0..100) < share;
        Answer::Pressure { share, put_off }
    }
}

impl<S: Spool> Inbound<S> {
    /// Counts a message that was let in: commands alone, which cost nobody anything, put nothing off.
    pub(in crate::inbound) fn count_pressure(&self, case: &Case, plan: &Plan) {
        let is_stranger = case.client.standing == Standing::Stranger;
        let may_be_put_off = is_stranger
            && case
                .transaction
                .reverse_path
                .as_ref()
                .is_some_and(|path| !path.is_null());
        let Some((_, share)) = self
            .pressure
            .get()
            .filter(|_| case.settings.pressure && may_be_put_off)
        else {
            return;
        };
        let legs = || plan.legs.iter().map(|planned| &planned.leg);
        let share_of = |leg: &Leg, messages| share(&leg.target, &leg.destination(), messages);
        let put_off = legs().map(|leg| share_of(leg, 0.0)).min().unwrap_or(0);
        for leg in legs() {
            share_of(leg, 100.0 / f64::from(100 - put_off.min(99)));
        }
    }
}
