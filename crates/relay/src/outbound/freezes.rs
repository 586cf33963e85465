//! What follows a freeze: it is written down and logged, the user's mail in the queue is put on hold, the operator is told
//! (`alerts.rs`).
//!
//! The freeze holds from the moment it is in memory. A crash before it is on disk forgets it, and its key breaks the limit again.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use counters::{Freeze, Key, Kind, Of};
use envelope::{Claim, Message, Origin, Timestamp};
use journal::Event;
use spool::{Action, Filter, Spool, State};
use tokio_util::sync::CancellationToken;

use super::Outbound;
use crate::counting::{client_keys, counts, sender_keys};

impl<S: Spool> Outbound<S> {
    /// Follows up what is frozen until `shutdown`.
    pub async fn keep_freezes(self: Arc<Self>, shutdown: CancellationToken) {
        let follow = async {
            loop {
                self.counting.has_frozen.notified().await;
                self.follow_up(self.counting.take_new()).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow => {}
            () = self.keep_mailing() => {}
            () = self.keep_posting() => {}
        }
        self.write_freezes().await;
    }

    pub(crate) async fn follow_up(&self, new: Vec<Freeze>) {
        self.write_freezes().await;
        for Freeze { key, limit, .. } in &new {
            self.journal.record(Event::Frozen {
                key: key.to_string(),
                limit: limit.to_string(),
            });
        }
        self.to_mail.notify_one();
        self.to_post.notify_one();
        let users = users(new.iter().map(|freeze| &freeze.key));
        if !users.is_empty()
            && let Err(error) = self
                .hold(Filter {
                    users,
                    ..Filter::default()
                })
                .await
        {
            // They are not sent all the same: see `may_go`.
            tracing::error!(%error, "cannot put the mail of frozen users on hold");
        }
    }

    /// Has all changes of freezes on disk, if it can be.
    pub(super) async fn write_freezes(&self) {
        if let Err(error) = self.counting.sync().await {
            tracing::error!(%error, "cannot write the file of freezes; they hold until a restart\n\nhint: see to the disk of the spool");
        }
    }

    /// Whether a message may go out now: not while its user is frozen. What was claimed before is put on hold here.
    pub(super) async fn may_go(&self, message: &Message) -> bool {
        if !self.counting.is_frozen(message.user.as_deref()) {
            return true;
        }
        if let Err(error) = self.hold(Filter::only(message.id)).await {
            tracing::error!(%error, "cannot put the mail of a frozen user on hold");
        }
        false
    }

    /// Counts a leg that failed for good, if a user or a trusted client sent it to somebody who is not ours. What only passed
    /// through on its way to a customer's mailbox elsewhere is held against nobody; nor is a notice of our own.
    pub(super) fn count_failure(&self, claim: &Claim, now: Timestamp) {
        let (message, leg, routing) = (&claim.message, &claim.leg, self.routing.load());
        if !counts(&routing.limits, Of::Failures) {
            return;
        }
        let is_forwarded = leg.target != leg.recipient;
        let domain = leg.recipient.domain();
        if is_forwarded || domain.is_some_and(|domain| routing.table.hosts(domain)) {
            return;
        }
        let mut keys = match message.origin {
            // Its own address would shut out all that it sends for; so would that of one where users log in (webmail).
            Origin::TrustedClient => Vec::new(),
            Origin::Authenticated => {
                let address = message.peer.as_ref().map(|peer| peer.address);
                let address = address.filter(|address| !routing.trusted.contains(*address));
                client_keys(address, message.user.as_deref())
            }
            _ => return,
        };
        let sender = message.reverse_path.mailbox();
        keys.extend(sender.into_iter().flat_map(sender_keys));
        keys.extend(domain.map(|domain| Key::new(Kind::Site, domain.as_str())));
        self.counting
            .count(&routing.limits, Of::Failures, &keys, 1, now);
    }

    async fn hold(&self, filter: Filter) -> Result<(), spool::Error> {
        let waiting = vec![State::Ready, State::Deferred, State::Active];
        let filter = Filter {
            states: waiting,
            ..filter
        };
        spool::change_all(&*self.spool, &filter, Action::Hold, |entry| {
            self.journal.record(Event::Held {
                id: entry.id,
                recipient: entry.leg.recipient,
                target: entry.leg.target,
                reason: FROZEN.to_owned(),
            });
        })
        .await
        .map(|_| ())
    }
}

/// Those of the keys that are users, as [`Filter::users`] wants them.
pub(crate) fn users<'a>(keys: impl Iterator<Item = &'a Key>) -> HashSet<Box<str>> {
    let users = keys.filter(|key| key.kind() == Kind::User);
    users.map(|key| key.name().into()).collect()
}

/// Why mail is on hold.
pub(super) const FROZEN: &str = "its user is frozen";
