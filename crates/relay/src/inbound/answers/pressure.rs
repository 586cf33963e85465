//! Whether the targets of the recipient take what comes for them.

use envelope::{Destination, Mailbox};
use forwarder::Route;
use policy::Answer;
use rand::RngExt;
use spool::Spool;

use super::Inquiry;

impl<S: Spool> Inquiry<'_, S> {
    /// What counts is the target that takes best: its copy is not to wait for the others. An explanation puts nothing off.
    pub(super) fn pressure(&self) -> Answer {
        let Some((_, share)) = self.inbound.pressure.get() else {
            return Answer::Pressure {
                share: 0,
                put_off: false,
            };
        };
        let share_of = |target: &Mailbox, to| share(target, &to, self.counts);
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
