//! What is known of sites beyond a restart: how many connections they took, and that one is down or throttled. A line each:
//!
//! ```text
//! WINDOW SITE
//! WINDOW SITE down|throttled SINCE PROBE_AT FAILURES STATUS HOST|- WORDS
//! ```

use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::time::{Duration, Instant};

use envelope::{Diagnosis, Timestamp};

use super::Sites;
use crate::health::{Down, Health};
use crate::plan::SiteKey;

/// The window of a site, and why it gets no mail.
pub(super) type Known = (usize, Option<Down>);

impl Sites {
    /// What is to outlive this process, of those sites that matter most; `now` is `wall` of another clock.
    pub(crate) fn facts(&self, wall: Timestamp, now: Instant) -> Vec<String> {
        let found = self.sites.values().map(|site| {
            let health = &site.health;
            (identity(&site.key), health.window, health.down.as_ref())
        });
        // Nobody has mailed these since the start; long after their pauses it says nothing.
        let unfound = self.recalled.iter().filter_map(|(site, (window, down))| {
            let down = down.as_ref()?;
            let is_fresh = now.saturating_duration_since(down.probe_at) < PAUSE_LONGEST;
            is_fresh.then(|| (site.to_string(), *window, Some(down)))
        });
        let mut facts: Vec<_> = found.chain(unfound).collect();
        facts.retain(|(_, window, down)| down.is_some() || *window > 1);
        facts.sort_by_key(|(_, _, down)| down.is_none());
        facts.truncate(FACTS_MAX);
        let lines = facts.into_iter();
        lines
            .map(|(site, window, down)| match down {
                None => format!("{window} {site}"),
                Some(down) => format!("{window} {site} {}", line(down, wall, now)),
            })
            .collect()
    }

    /// Sites that are found from now on begin as these lines say; those that cannot be read say nothing.
    pub(crate) fn recall(&mut self, facts: &[String], wall: Timestamp, now: Instant) {
        let lines = facts.iter().take(FACTS_MAX);
        self.recalled = lines.filter_map(|line| read(line, wall, now)).collect();
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

/// Its name, and what tells it from others of that name.
fn identity(key: &SiteKey) -> String {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    format!("{key}/{:016x}", hasher.finish())
}

fn line(down: &Down, wall: Timestamp, now: Instant) -> String {
    let reason = down.reason.clone().clipped(WORDS_KEPT);
    format!(
        "{} {} {} {} {} {} {}",
        if down.throttled { "throttled" } else { "down" },
        wall.minus(now.saturating_duration_since(down.since)),
        wall.plus(down.probe_at.saturating_duration_since(now)),
        down.failures,
        reason.status,
        reason.host.as_deref().unwrap_or("-"),
        reason.words().replace(char::is_control, " ")
    )
}

fn read(line: &str, wall: Timestamp, now: Instant) -> Option<(Box<str>, Known)> {
    fn part<'t, T: FromStr>(parts: &mut impl Iterator<Item = &'t str>) -> Option<T> {
        parts.next()?.parse().ok()
    }
    let mut parts = line.splitn(9, ' ');
    let (window, site) = (part(&mut parts)?, parts.next()?.into());
    let throttled = match parts.next() {
        None => return Some((site, (window, None))),
        Some(state @ ("down" | "throttled")) => state == "throttled",
        Some(_) => return None,
    };
    let since: Timestamp = part(&mut parts)?;
    let probe_at: Timestamp = part(&mut parts)?;
    let down = Down {
        throttled,
        since: now.checked_sub(wall.since(since)).unwrap_or(now),
        // However wrong a clock was.
        probe_at: now + probe_at.since(wall).min(PAUSE_LONGEST),
        failures: part(&mut parts)?,
        reason: {
            let (status, host) = (part(&mut parts)?, parts.next()?);
            let host = (host != "-").then(|| host.to_owned());
            Diagnosis {
                host,
                ..Diagnosis::local(status, parts.next()?)
            }
        },
    };
    Some((site, (window, Some(down))))
}

/// Sites that are remembered.
const FACTS_MAX: usize = 10_000;
/// Of what a peer said.
const WORDS_KEPT: usize = 500;
/// No rule wants more.
const PAUSE_LONGEST: Duration = Duration::from_hours(24);
