//! Whether the client may send for the sender's domain.

use envelope::ReversePath;
use policy::{Identity, SpfFound, SpfResult};
use spf::Query;
use spool::Spool;

use super::Inquiry;
use crate::sender_policy::{check, evaluate, query, result};

impl<S: Spool> Inquiry<'_, S> {
    /// By the reverse path. The name in EHLO is looked at beside it, and alone where there is none.
    pub(super) async fn spf(&self) -> SpfFound {
        let (case, resolver) = (self.case, &self.inbound.resolver);
        let Some(client) = case.client.address else {
            return nobody();
        };
        let sender = case.transaction.reverse_path.as_ref();
        let sender = sender.unwrap_or(&ReversePath::Null);
        let receiver = &self.sources.routing.forwarder.settings().hostname;
        let now = self.inbound.clock.now().unix_secs();
        let query = query(client, &case.hello, sender).received_by(receiver.as_str(), now);
        let by_hello = async {
            if sender.is_null() {
                return None;
            }
            let query = Query::helo(client, &case.hello);
            Some(result(evaluate(resolver, query).await.verdict))
        };
        let (found, hello) = tokio::join!(check(resolver, query, sender), by_hello);
        SpfFound { hello, ..found }
    }
}

/// For an explanation that names no client.
fn nobody() -> SpfFound {
    SpfFound {
        result: SpfResult::None,
        identity: Identity::MailFrom,
        domain: String::new(),
        reason: "no client address is given".to_owned(),
        explanation: None,
        hello: None,
    }
}
