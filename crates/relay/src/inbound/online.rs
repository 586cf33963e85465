//! Which messages are delivered while their client waits, so that the destination's verdict is its answer.

use std::hash::{DefaultHasher, Hasher};

use envelope::Envelope;
use forwarder::Plan;
use policy::Case;
use smtp_in::Client;
use spool::Spool;

use super::draft::Draft;
use crate::outbound::Print;

/// Why a message is queued first, whatever its destination may say.
pub(super) fn why_not(case: &Case, plan: &Plan) -> Option<&'static str> {
    let is_success_wanted = plan
        .legs
        .iter()
        .any(|planned| planned.leg.notify.is_some_and(|notify| notify.success));
    if case.client.user.is_some() {
        Some("a user's mail is queued")
    } else if case.transaction.online.is_none() {
        Some("not all of its targets are at one destination and have `answer=destination`")
    } else if !plan.discarded.is_empty() || plan.legs.is_empty() {
        Some("some of it is discarded")
    } else if plan.legs.len() > LEGS_MAX {
        Some("it has too many targets")
    } else if is_success_wanted {
        Some("its sender wants to be told of success")
    } else if case.settings.drained {
        Some("the relay is drained")
    } else {
        None
    }
}

impl<S: Spool> Draft<S> {
    /// Has it known again by its content.
    pub(super) fn hash(&mut self) {
        self.hasher = Some(DefaultHasher::new());
    }

    /// What it is known again by, if its client is to get the destination's verdict.
    pub(super) fn print(&self, client: &Client, envelope: &Envelope, case: &Case) -> Option<Print> {
        if why_not(case, &self.plan).is_some() || self.has_token || !self.held.is_empty() {
            return None;
        }
        let hash = self.hasher.as_ref().map(Hasher::finish);
        let content = self.scan.message_id().ok_or(hash);
        let recipients = envelope.recipients.iter();
        let mut recipients: Vec<_> = recipients.map(|to| to.forward_path.to_string()).collect();
        recipients.sort_unstable();
        let sender = envelope.reverse_path.to_string();
        Some(Print::new((client.peer.ip(), sender, recipients, content)))
    }
}

/// A client does not wait for more targets than these; each may be a transaction of its own.
const LEGS_MAX: usize = 20;
