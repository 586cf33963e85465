//! Callouts, for sender verify: does the MX of a sender's domain take mail for the sender?
//!
//! ```text
//! sender ─► known? ─► site (DNS) ─► exempt? ─► a turn ─► MAIL FROM:<> · RCPT TO:<sender> · RSET · QUIT
//! ```
//!
//! A callout uses another's server, and some operators list those who do it often. So it comes from addresses of its own,
//! is made once for all who ask at the same time, and is remembered; a site gets few (`site`), and one that is exempt gets
//! none. It never sends DATA. Only a clear "no such address" is held against a sender (`verdict`).
//!
//! It cannot loop: its own sender is `<>`, which nobody verifies. A route for all domains (`*`) is not followed, because a
//! smarthost takes any recipient.

mod site;
mod verdict;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dns::Resolver;
use envelope::{
    BodyKind, Diagnosis, Domain, EnhancedStatus, HostPattern, Mailbox, Outcome, ReversePath,
};
use moka::sync::Cache;
use smtp::client::{Timeouts, Transaction, TransactionRecipient};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::connection::{Connection, Delivery};
use crate::patience::Patience;
use crate::plan::{Planner, SiteKey};
use crate::reach::{Reached, Reacher};
use crate::settings::Settings;
use site::Site;

/// How senders are verified.
#[derive(Debug, Clone, PartialEq)]
pub struct CalloutSettings {
    /// The pool that callouts come from; none: from where mail does.
    pub egress: Option<Arc<str>>,
    /// For all of one: DNS, its turn, connections, replies. RCPT waits meanwhile.
    pub timeout: Duration,
    /// How long it is believed that an address exists.
    pub kept: Duration,
    /// Sites with an MX of such a name are never asked.
    pub exempt_mx: Vec<HostPattern>,
}

/// What is known of a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Its MX takes mail for it.
    Exists(Diagnosis),
    /// There is no such address, or its domain takes no mail at all.
    Refused(Diagnosis),
    /// It could not be found out, and why. Nobody is refused for that.
    Unknown(Diagnosis),
    /// The MX of its domain is not to be asked.
    Exempt,
}

/// Makes callouts, and remembers what came of them.
#[derive(Debug)]
pub struct Callouts<R> {
    settings: CalloutSettings,
    reacher: Reacher<R>,
    known: Cache<Mailbox, Arc<OnceCell<Kept>>>,
    sites: Cache<SiteKey, Arc<Site>>,
    running: Arc<Semaphore>,
}

/// A finding, and until when it is believed.
type Kept = (Finding, Instant);

impl<R: Resolver> Callouts<R> {
    /// Callouts that are made as mail is delivered, as far as `settings` does not say otherwise.
    pub fn new(settings: CalloutSettings, delivery: &Settings, resolver: R) -> Self {
        let as_callout = Arc::new(settings.applied_to(delivery));
        let planner = Planner::new(Arc::clone(&as_callout), Arc::new(resolver), None);
        Self {
            reacher: Reacher::new(as_callout, planner),
            known: Cache::builder()
                .max_capacity(KNOWN_MAX)
                .time_to_live(settings.kept.max(REFUSED_KEPT))
                .build(),
            sites: Cache::builder()
                .max_capacity(SITES_MAX)
                .time_to_idle(SITE_KEPT)
                .build(),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            settings,
        }
    }

    /// What is known of `sender`, after a callout if need be; and whether one was made now.
    pub async fn verify(&self, sender: &Mailbox) -> (Finding, bool) {
        let entry = self.known.entry_by_ref(sender);
        let cell = entry
            .or_insert_with_if(Arc::default, |cell| is_over(cell))
            .into_value();
        let mut asked = false;
        // Also of one who waits for another's callout first.
        let until = Instant::now() + self.settings.timeout;
        let look = async {
            let finding = self.find(sender, until, &mut asked).await?;
            let until = Instant::now() + self.lifetime(&finding);
            Ok((finding, until))
        };
        match cell.get_or_try_init(|| look).await.cloned() {
            Ok((finding, _)) | Err(finding) => (finding, asked),
        }
    }

    /// What is known of `sender` without a callout, for an explanation.
    pub fn known(&self, sender: &Mailbox) -> Finding {
        let cell = self.known.get(sender).filter(|cell| !is_over(cell));
        let kept = cell.and_then(|cell| cell.get().cloned());
        kept.map_or_else(
            || unknown("no earlier answer is kept, and an explanation asks nobody"),
            |(finding, _)| finding,
        )
    }

    /// `Err`: what is not kept, because DNS keeps it, or because it is true of this moment only.
    async fn find(
        &self,
        sender: &Mailbox,
        until: Instant,
        asked: &mut bool,
    ) -> Result<Finding, Finding> {
        let to = sender.host().clone().into();
        let site = self.reacher.planner().site(&to);
        let key = match timeout_at(until.into(), site).await {
            Ok(Ok(key)) if self.is_exempt(&key) => return Err(Finding::Exempt),
            Ok(Ok(key)) => key,
            Ok(Err(outcome)) => return Err(verdict::without_asking(outcome)),
            Err(_) => return Err(unknown("no answer from DNS in time")),
        };
        let site = self.sites.get_with_by_ref(&key, Arc::default);
        let turn = match timeout_at(until.into(), self.turn(&site)).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(reason)) => return Err(Finding::Unknown(reason)),
            Err(_) => return Err(unknown("too many callouts to its site at once")),
        };
        *asked = true;
        let talk = timeout_at(until.into(), self.ask(&key, &site, sender, turn)).await;
        talk.map_err(|_| {
            let late = Diagnosis::local(NO_ANSWER, "no answer in time");
            site.leave_alone(late.clone(), Instant::now());
            Finding::Unknown(late)
        })
    }

    /// Waits until the site can be asked. The turn lasts as long as the connection.
    async fn turn(&self, site: &Site) -> Result<[OwnedSemaphorePermit; 2], Diagnosis> {
        let of_site = site.turn().await;
        site.count(Instant::now())?;
        let of_all = Arc::clone(&self.running).try_acquire_owned();
        let full = |_| Diagnosis::local(NO_ANSWER, "too many callouts at once");
        Ok([of_site, of_all.map_err(full)?])
    }

    async fn ask(
        &self,
        key: &SiteKey,
        site: &Site,
        sender: &Mailbox,
        turn: [OwnedSemaphorePermit; 2],
    ) -> Finding {
        let patience = Patience::new(self.settings.timeout, || false);
        // No mail of anybody's is on its way: that is nothing to report.
        let mut found = Vec::new();
        let memory = &site.memory;
        let reached = self
            .reacher
            .reach(key, |_| true, memory, &patience, None, &mut found);
        let (finding, concerns_site) = match reached.await {
            Reached::Connected(connection) => talk(connection, sender, turn).await,
            Reached::Refused(outcome) => (verdict::without_asking(outcome), true),
            Reached::Nobody(reason, _) => (Finding::Unknown(reason), true),
            Reached::Busy => (unknown("our addresses for callouts are busy"), false),
        };
        if let (Finding::Unknown(reason), true) = (&finding, concerns_site) {
            site.leave_alone(reason.clone(), Instant::now());
        }
        finding
    }

    fn lifetime(&self, finding: &Finding) -> Duration {
        match finding {
            Finding::Exists(_) => self.settings.kept,
            Finding::Refused(_) => REFUSED_KEPT,
            Finding::Unknown(_) | Finding::Exempt => UNKNOWN_KEPT,
        }
    }

    fn is_exempt(&self, site: &SiteKey) -> bool {
        let exempt = |host: &Domain| self.settings.exempt_mx.iter().any(|p| p.matches(host));
        site.hosts.names().into_iter().any(exempt)
    }
}

impl CalloutSettings {
    /// How a callout connects.
    fn applied_to(&self, delivery: &Settings) -> Settings {
        Settings {
            routes: delivery.routes.without_star(),
            egress: self.egress.clone().or_else(|| delivery.egress.clone()),
            timeouts: Timeouts {
                greeting: self.timeout,
                hello: self.timeout,
                mail: self.timeout,
                rcpt: self.timeout,
                ..delivery.timeouts
            },
            ..delivery.clone()
        }
    }
}

impl Default for CalloutSettings {
    fn default() -> Self {
        Self {
            egress: None,
            // Less than the five minutes that a client waits for RCPT (RFC 5321 §4.5.3.2.3), more than a greet pause.
            timeout: Duration::from_secs(20),
            kept: Duration::from_hours(7 * 24),
            exempt_mx: Vec::new(),
        }
    }
}

impl Finding {
    /// Why.
    pub fn diagnosis(&self) -> Option<&Diagnosis> {
        match self {
            Self::Exists(reason) | Self::Refused(reason) | Self::Unknown(reason) => Some(reason),
            Self::Exempt => None,
        }
    }

    /// One word for the log.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Exists(_) => "exists",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
            Self::Exempt => "exempt",
        }
    }
}

/// A callout that is running is not over.
fn is_over(cell: &OnceCell<Kept>) -> bool {
    cell.get()
        .is_some_and(|(_, until)| Instant::now() >= *until)
}

/// Asks over a fresh connection, and tells whether all of the site's addresses would get the same answer. The connection
/// is closed in the background.
async fn talk(
    mut connection: Box<Connection>,
    sender: &Mailbox,
    turn: [OwnedSemaphorePermit; 2],
) -> (Finding, bool) {
    let delivery = connection.deliver(question(sender), "", ()).await;
    let turned_away = connection.is_turned_away();
    tokio::spawn(async move {
        if connection.ready().await {
            connection.quit().await;
        }
        drop(turn);
    });
    let Delivery::Done(mut outcomes) = delivery else {
        unreachable!("the connection has not been used before")
    };
    let Some(outcome) = outcomes.pop() else {
        unreachable!("every recipient has one outcome")
    };
    let broke_off = matches!(&outcome, Outcome::Deferred(reason) if reason.reply.is_none());
    let finding = verdict::after_asking(outcome, turned_away, sender);
    (finding, turned_away || broke_off)
}

/// What is said to the MX.
fn question(sender: &Mailbox) -> Transaction {
    Transaction {
        reverse_path: ReversePath::Null,
        recipients: vec![TransactionRecipient {
            target: sender.clone(),
            notify: None,
            original: None,
        }],
        body: BodyKind::SevenBit,
        smtputf8: false,
        size: 0,
        ret: None,
        envid: None,
        require_tls: false,
        rcpt_only: true,
    }
}

fn unknown(why: &str) -> Finding {
    Finding::Unknown(Diagnosis::local(NO_ANSWER, why))
}

/// RFC 3463 §3.5: no answer from host.
const NO_ANSWER: EnhancedStatus = EnhancedStatus::transient(4, 1);
/// Senders that are remembered; one is some 300 octets, and 1 KiB at most.
const KNOWN_MAX: u64 = 100_000;
/// How long "no such address" is believed: it may have been made since.
const REFUSED_KEPT: Duration = Duration::from_hours(2);
/// How long nobody is asked again after a callout without a result.
const UNKNOWN_KEPT: Duration = Duration::from_mins(15);
/// Callouts to all sites at once.
const RUNNING_MAX: usize = 50;
/// Sites whose limits are remembered, and for how long after the last callout.
const SITES_MAX: u64 = 10_000;
const SITE_KEPT: Duration = Duration::from_hours(1);
