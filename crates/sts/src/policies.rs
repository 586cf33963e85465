//! Which policy a domain has now: looked up, fetched, kept, fetched anew (RFC 8461 §3, §5).
//!
//! A policy that was had once holds until its end, even when record and policy host are gone: that is what protects from somebody
//! who stands between us and them (§10.2). So mail waits only for a policy that is new, and not for long.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dns::Resolver;
use envelope::{Domain, Timestamp, TlsFailure};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Kept, Mode, Policy, record_id};

/// Policies of domains.
pub struct Policies<R> {
    resolver: R,
    fetch: Fetch,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    known: Mutex<HashMap<Domain, Known>>,
    /// Places for fetching what is new, and for fetching anew what is held: strangers fill only the first.
    running: [Semaphore; 2],
    /// One that is kept is new, or was fetched anew.
    changed: Notify,
}

/// Brings the text at `https://mta-sts.DOMAIN/.well-known/mta-sts.txt`, within some seconds; no more of it than a policy may have.
pub type Fetch = Box<dyn Fn(Domain) -> Fetching + Send + Sync>;
/// On its way.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>, Fault>> + Send>>;

/// Why there is no policy where a record announces one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    /// As reports name it.
    pub failure: TlsFailure,
    /// What exactly.
    pub text: String,
}

/// What is known of a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Its policy that holds; of mode `none`, too.
    pub kept: Option<Kept>,
    /// Why a newer one could not be had.
    pub fault: Option<Fault>,
}

/// A domain that has a record, or a policy.
#[derive(Debug)]
struct Known {
    kept: Option<Kept>,
    fault: Option<(Fault, Timestamp)>,
    asked: Timestamp,
    /// Closed when what was fetched is known.
    fetching: Option<watch::Receiver<()>>,
}

impl Found {
    /// What a delivery has to look at.
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        let policy = self.kept.as_ref().map(|kept| &kept.policy);
        policy.filter(|policy| policy.mode != Mode::None)
    }
}

impl<R: Resolver> Policies<R> {
    /// With those that were kept. Times come from `now`.
    pub fn new(
        resolver: R,
        fetch: Fetch,
        kept: Vec<Kept>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let start = now();
        let known = |mut kept: Kept| {
            // A clock that was ahead keeps no policy for longer.
            kept.fetched = kept.fetched.min(start);
            let domain = kept.domain.clone();
            (
                domain,
                Known {
                    kept: Some(kept),
                    ..Known::new(start)
                },
            )
        };
        let holding = kept.into_iter().filter(|kept| kept.until() > start);
        Self {
            resolver,
            fetch,
            now: Box::new(now),
            known: Mutex::new(holding.take(DOMAINS_MAX).map(known).collect()),
            running: [(); 2].map(|()| Semaphore::new(FETCHES_MAX)),
            changed: Notify::new(),
        }
    }

    /// The policy of a domain, after a look at its record. What is not known within some seconds counts from the next time on.
    pub async fn of(self: &Arc<Self>, domain: &Domain) -> Found {
        let until = Instant::now() + WAIT;
        let name = format!("{RECORD}.{domain}");
        let texts = timeout_at(until, self.resolver.txt(&name)).await;
        let texts = texts.ok().and_then(Result::ok).unwrap_or_default();
        if let Some(mut fetching) = self.ask(domain, record_id(&texts)) {
            // It is closed, and says nothing.
            let _ = timeout_at(until, fetching.changed()).await;
        }
        self.known(domain)
    }

    /// What is known of a domain without asking anybody.
    pub fn known(&self, domain: &Domain) -> Found {
        let now = (self.now)();
        let all = self.known.lock();
        let Some(known) = all.get(domain) else {
            return Found::default();
        };
        let kept = known.kept.as_ref().filter(|kept| kept.until() > now);
        Found {
            kept: kept.cloned(),
            fault: known.fault.as_ref().map(|(fault, _)| fault.clone()),
        }
    }

    /// All that hold.
    pub fn kept(&self) -> Vec<Kept> {
        let now = (self.now)();
        let all = self.known.lock();
        let kept = all.values().filter_map(|known| known.kept.as_ref());
        kept.filter(|kept| kept.until() > now).cloned().collect()
    }

    /// Waits for a change of [`Policies::kept`].
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Fetches policies anew, long before they end, for as long as it is polled (§10.2). What nobody has asked for in a month may end.
    pub async fn keep_fresh(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(REFRESH_EVERY).await;
            self.refresh();
        }
    }

    fn refresh(self: &Arc<Self>) {
        let now = (self.now)();
        let mut all = self.known.lock();
        for (domain, known) in &mut *all {
            let is_old = |kept: &&Kept| {
                let age = now.since(kept.fetched);
                age < kept.max_age && age >= REFRESH_AFTER.min(kept.max_age / 2)
            };
            let id = known
                .kept
                .as_ref()
                .filter(is_old)
                .map(|kept| kept.id.clone());
            if let Some(id) = id
                && known.may_fetch(now)
                && now.since(known.asked) < UNASKED_KEPT
            {
                self.start(domain, known, id);
            }
        }
    }

    /// Notes that a domain has a record with this id, or none; gives what to wait for.
    fn ask(self: &Arc<Self>, domain: &Domain, id: Option<Box<str>>) -> Option<watch::Receiver<()>> {
        let now = (self.now)();
        let mut all = self.known.lock();
        if id.is_some() && !all.contains_key(domain) {
            make_room(&mut all, now);
            all.insert(domain.clone(), Known::new(now));
        }
        let known = all.get_mut(domain)?;
        known.asked = now;
        let id = id?;
        let holding = known.kept.as_ref().filter(|kept| kept.until() > now);
        if holding.is_none_or(|kept| kept.id != id) && known.may_fetch(now) {
            self.start(domain, known, id);
        }
        known.fetching.clone()
    }

    /// Fetches in a task of its own: it goes on when nobody waits any more.
    fn start(self: &Arc<Self>, domain: &Domain, known: &mut Known, id: Box<str>) {
        let (fetched, fetching) = watch::channel(());
        known.fetching = Some(fetching);
        let (all, domain) = (Arc::clone(self), domain.clone());
        let is_held = known.kept.is_some();
        tokio::spawn(async move {
            let turn = all.running[usize::from(is_held)].acquire();
            // The next mail tries again: with many silent hosts, each would wait for the one before otherwise.
            let wait = if is_held { Duration::MAX } else { WAIT };
            let Ok(_turn) = timeout(wait, turn).await else {
                return;
            };
            let text = (all.fetch)(domain.clone()).await;
            let found = text.and_then(|text| {
                Policy::parse(&text).map_err(|text| Fault {
                    failure: TlsFailure::StsPolicyInvalid,
                    text,
                })
            });
            all.learn(domain, id, found);
            drop(fetched);
        });
    }

    fn learn(&self, domain: Domain, id: Box<str>, found: Result<(Policy, Duration), Fault>) {
        let now = (self.now)();
        let mut all = self.known.lock();
        // It had to make room meanwhile.
        let Some(known) = all.get_mut(&domain) else {
            return;
        };
        known.fetching = None;
        match found {
            Ok((policy, max_age)) => {
                tracing::debug!(%domain, mode = policy.mode.name(), "MTA-STS policy fetched");
                let (fetched, policy) = (now, Arc::new(policy));
                known.kept = Some(Kept {
                    domain,
                    id,
                    fetched,
                    max_age,
                    policy,
                });
                known.fault = None;
                self.changed.notify_one();
            }
            Err(fault) => {
                tracing::warn!(%domain, %fault, "cannot have the MTA-STS policy that its DNS announces");
                known.fault = Some((fault, now));
            }
        }
    }
}

impl Known {
    fn new(asked: Timestamp) -> Self {
        Self {
            kept: None,
            fault: None,
            asked,
            fetching: None,
        }
    }

    /// Not while that is under way, nor soon after it has failed (§3.3).
    fn may_fetch(&self, now: Timestamp) -> bool {
        let fetching = self.fetching.as_ref();
        let is_under_way = fetching.is_some_and(|fetching| fetching.has_changed().is_ok());
        let failed = self.fault.as_ref().map(|(_, at)| now.since(*at));
        !is_under_way && failed.is_none_or(|ago| ago >= RETRY_AFTER)
    }
}

impl<R> std::fmt::Debug for Policies<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").finish_non_exhaustive()
    }
}

/// What has no policy goes before what has one, and of these goes what nobody has asked for the longest.
fn make_room(all: &mut HashMap<Domain, Known>, now: Timestamp) {
    if all.len() < DOMAINS_MAX {
        return;
    }
    let holds = |known: &Known| known.kept.as_ref().is_some_and(|kept| kept.until() > now);
    let oldest = all
        .iter()
        .min_by_key(|(_, known)| (holds(known), known.asked));
    let oldest = oldest.map(|(domain, _)| domain.clone());
    oldest.map(|domain| all.remove(&domain));
}

/// Where the record is, below the domain.
const RECORD: &str = "_mta-sts";
/// How long mail waits for a policy that is not known.
const WAIT: Duration = Duration::from_secs(5);
/// Domains with a record that are remembered, and policies kept.
const DOMAINS_MAX: usize = 10_000;
/// Policies fetched at once, of either kind.
const FETCHES_MAX: usize = 32;
/// After a failure (§3.3: five minutes at least).
const RETRY_AFTER: Duration = Duration::from_mins(5);
/// How old a policy is when it is fetched anew (§10.2); one that holds for less than two days at half its time.
const REFRESH_AFTER: Duration = Duration::from_hours(24);
/// How often that is looked at.
const REFRESH_EVERY: Duration = Duration::from_mins(30);
const UNASKED_KEPT: Duration = Duration::from_hours(30 * 24);

#[cfg(test)]
mod tests;
