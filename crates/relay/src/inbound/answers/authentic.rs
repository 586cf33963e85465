//! What the message proves of its sender: DKIM, ARC, DMARC.

use std::time::Duration;

use authentic::{Chain, Dmarc, Results, Signed, Verdict};
use envelope::DmarcPolicy;
use policy::DmarcFound;
use spool::Spool;
use tokio::time::timeout;

use super::Inquiry;
use crate::sender_policy::verify;

impl<S: Spool> Inquiry<'_, S> {
    /// The results are kept with the message, for what goes on top of it.
    pub(super) async fn dmarc(&self) -> DmarcFound {
        let Some(message) = self.sources.known.message else {
            return DmarcFound::TempError;
        };
        let spf = self.case.transaction.found.spf.as_ref();
        let now = self.inbound.clock.now().unix_secs();
        let verified = verify(&self.inbound.resolver, &message.parsed, spf, now);
        let results = timeout(WHOLE, verified).await;
        let results = results.unwrap_or_else(|_| unanswered());
        let found = dmarc(message.results.get_or_init(|| results));
        let problem = message.parsed.problem();
        problem.map_or(found, |_| DmarcFound::Unreadable)
    }
}

/// DNS took too long.
fn unanswered() -> Results {
    let (verdict, reason) = (Verdict::TempError, "time-out");
    Results {
        dkim: vec![Signed::unread(verdict, reason)],
        arc: Chain {
            verdict,
            reason,
            instance: 0,
            domain: None,
            is_closed: false,
        },
        dmarc: Dmarc {
            verdict,
            reason,
            from: None,
            policy: DmarcPolicy::None,
            owner: None,
        },
    }
}

/// What policy must know of it.
fn dmarc(results: &Results) -> DmarcFound {
    let dmarc = &results.dmarc;
    match (dmarc.verdict, &dmarc.owner) {
        (Verdict::Pass, _) => DmarcFound::Pass,
        (Verdict::Fail, Some(owner)) => DmarcFound::Fail {
            policy: dmarc.policy,
            owner: owner.to_string(),
        },
        (Verdict::TempError, _) => DmarcFound::TempError,
        (Verdict::PermError, _) => DmarcFound::PermError(dmarc.reason),
        _ => DmarcFound::None,
    }
}

/// For all look-ups together: the client waits.
const WHOLE: Duration = Duration::from_secs(10);
