//! What is known of sites beyond a restart: how many connections they took, and that one is down or throttled. A line each:
//!
//! ```text
//! WINDOW SITE
//! WINDOW SITE down|throttled SINCE PROBE_AT FAILURES LEAST_SECS STATUS HOST|- WORDS
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use envelope::{Diagnosis, Timestamp};

use super::Sites;
use crate::health::{Down, Health};
use crate::plan::SiteKey;

/// What is known of one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFact {
    site: Box<str>,
    window: usize,
    outage: Option<Outage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Outage {
    throttled: bool,
    since: Timestamp,
    probe_at: Timestamp,
    failures: u32,
    least: Duration,
    reason: Diagnosis,
}

impl Sites {
    /// What is to outlive this process, of those sites that matter most; `now` is `wall` of another clock.
    pub(crate) fn facts(&self, wall: Timestamp, now: Instant) -> Vec<SiteFact> {
        let fact = |site: &super::Site| SiteFact {
            site: identity(&site.key).into(),
            window: site.health.window,
            outage: site.health.down.as_ref().map(|down| Outage {
                throttled: down.throttled,
                since: wall.minus(now.saturating_duration_since(down.since)),
                probe_at: wall.plus(down.probe_at.saturating_duration_since(now)),
                failures: down.failures,
                least: down.least,
                reason: down.reason.clone(),
            }),
        };
        let mut facts: Vec<_> = self.sites.values().map(fact).collect();
        facts.retain(|fact| fact.outage.is_some() || fact.window > 1);
        facts.sort_by_key(|fact| fact.outage.is_none());
        facts.truncate(FACTS_MAX);
        facts
    }

    /// Sites that are found from now on begin as these say.
    pub(crate) fn recall(&mut self, facts: Vec<SiteFact>, wall: Timestamp, now: Instant) {
        let recalled = facts.into_iter().take(FACTS_MAX).map(|fact| {
            let down = fact.outage.map(|outage| Down {
                since: now.checked_sub(wall.since(outage.since)).unwrap_or(now),
                // However wrong a clock was.
                probe_at: now + outage.probe_at.since(wall).min(PAUSE_LONGEST),
                failures: outage.failures,
                throttled: outage.throttled,
                least: outage.least,
                reason: outage.reason,
            });
            (fact.site, (fact.window, down))
        });
        self.recalled = recalled.collect();
    }

    /// The health of a site that was just found, as far as something is known of it.
    pub(super) fn begin(&mut self, key: &SiteKey, mut health: Health) -> Health {
        if let Some((window, down)) = self.recalled.remove(&*identity(key)) {
            health.window = window.clamp(1, health.limits.concurrency.max(1));
            health.down = down;
        }
        health
    }
}

/// Its name, and what else makes it another site than one of the same name.
fn identity(key: &SiteKey) -> String {
    let egress = key.egress.as_deref().unwrap_or_default();
    format!("{key}/{:?}/{egress}", key.policy.tls)
}

impl fmt::Display for SiteFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.window, self.site)?;
        let Some(outage) = &self.outage else {
            return Ok(());
        };
        let state = if outage.throttled {
            "throttled"
        } else {
            "down"
        };
        let reason = outage.reason.clone().clipped(WORDS_KEPT);
        write!(
            f,
            " {state} {} {} {} {} {} {} {}",
            outage.since,
            outage.probe_at,
            outage.failures,
            outage.least.as_secs(),
            reason.status,
            reason.host.as_deref().unwrap_or("-"),
            reason.words().replace(char::is_control, " ")
        )
    }
}

impl FromStr for SiteFact {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        fn part<'t, T: FromStr>(parts: &mut impl Iterator<Item = &'t str>) -> Result<T, ()> {
            parts.next().ok_or(())?.parse().map_err(|_| ())
        }
        let mut parts = text.splitn(10, ' ');
        let (window, site) = (part(&mut parts)?, part::<String>(&mut parts)?.into());
        let outage = match parts.next() {
            None => None,
            Some(state @ ("down" | "throttled")) => Some(Outage {
                throttled: state == "throttled",
                since: part(&mut parts)?,
                probe_at: part(&mut parts)?,
                failures: part(&mut parts)?,
                least: Duration::from_secs(part::<u32>(&mut parts)?.into()),
                reason: {
                    let status = part(&mut parts)?;
                    let host = Some(part::<String>(&mut parts)?).filter(|host| host != "-");
                    let words = parts.next().unwrap_or_default();
                    let host = host.filter(|host| !host.is_empty());
                    Diagnosis {
                        host,
                        ..Diagnosis::local(status, words)
                    }
                },
            }),
            Some(_) => return Err(()),
        };
        Ok(Self {
            site,
            window,
            outage,
        })
    }
}

/// Sites that are remembered.
const FACTS_MAX: usize = 10_000;
/// Of what a peer said.
const WORDS_KEPT: usize = 500;
const PAUSE_LONGEST: Duration = Duration::from_hours(24);
