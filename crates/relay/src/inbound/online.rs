//! Which messages are delivered while their client waits, so that the destination's verdict is its answer.

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
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
    /// Has it known again by its content: the same Message-ID may come with another.
    pub(super) fn hash(&mut self) {
        self.hasher = Some(Context::new(&SHA256));
    }

    /// What it is known again by, if its client is to get the destination's verdict.
    pub(super) fn print(&self, client: &Client, envelope: &Envelope, case: &Case) -> Option<Print> {
        if why_not(case, &self.plan).is_some() || self.has_token || !self.held.is_empty() {
            return None;
        }
        let id = self.scan.message_id().unwrap_or_default();
        // What says no time may be the same each night, and a message of its own each time.
        let no_date = || self.id.to_string().into();
        let date = self.scan.date().unwrap_or_else(no_date);
        let body = HEXLOWER.encode(self.hasher.clone()?.finish().as_ref());
        let recipients = envelope.recipients.iter();
        let mut recipients: Vec<_> = recipients.map(|to| to.forward_path.to_string()).collect();
        recipients.sort_unstable();
        let (client, sender) = (client.peer.ip(), &envelope.reverse_path);
        let recipients = recipients.join(" ");
        let all = format!("{client}\n{sender}\n{recipients}\n{id}\n{date}\n{body}");
        Some(Print::new(&all))
    }
}

/// A client does not wait for more targets than these; each may be a transaction of its own.
const LEGS_MAX: usize = 20;
