//! What is known of sites beyond a restart: how many connections they took, and that one is down or throttled. A line each:
//!
//! ```text
//! WINDOW SITE
//! WINDOW SITE down|throttled SINCE PROBE_AT FAILURES STATUS HOST|- WORDS
//! ```

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::time::{Duration, Instant};

use envelope::{Diagnosis, Timestamp};
use rand::{Rng, RngExt};

use super::{SiteId, Sites, Todo};
use crate::health::{Down, Health};
use crate::plan::{Hosts, SiteKey};

/// The window of a site, and why it gets no mail.
pub(super) type Known = (usize, Option<Down>);

/// Whether a site takes mail, as nodes tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Its name, and what tells it from others of that name.
    pub site: String,
    /// Why it does not, as in a line above from that word on; none: it does.
    pub down: Option<String>,
}

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

    /// What has changed since the last time, as far as others would find the same.
    pub(crate) fn news(&mut self, wall: Timestamp, now: Instant) -> Vec<Fact> {
        let mut news = Vec::new();
        for id in std::mem::take(&mut self.turned_sites) {
            let Some(site) = self.sites.get_mut(&id) else {
                continue;
            };
            let down = site.health.down.as_ref();
            if down.is_some_and(|down| down.learned > 0) {
                continue;
            }
            // Where a route leads may be each node's own.
            let is_for_all =
                site.health.is_unreachable() && !matches!(site.key.hosts, Hosts::Route(_));
            let down = down.filter(|_| is_for_all);
            if down.is_none() && !site.told_down {
                continue;
            }
            site.told_down = down.is_some();
            news.push(Fact {
                site: identity(&site.key),
                down: down.map(|down| line(down, wall, now)),
            });
        }
        news
    }

    /// Takes over what another node has found. It is the one that probes: we do so only if nothing is heard of it long after.
    pub(crate) fn learn(
        &mut self,
        facts: &[Fact],
        wall: Timestamp,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Todo {
        let mut todo = Todo::default();
        if facts.is_empty() {
            return todo;
        }
        let sites = self.by_key.iter();
        let sites: HashMap<_, _> = sites.map(|(key, id)| (identity(key), *id)).collect();
        if self.recalled.len() >= FACTS_MAX {
            let is_down = |down: &Down| now < down.probe_at;
            self.recalled
                .retain(|_, (_, down)| down.as_ref().is_some_and(is_down));
        }
        for Fact { site, down } in facts {
            let down = match down {
                None => None,
                Some(text) => match read(&format!("1 {site} {text}"), wall, now) {
                    Some((_, (_, Some(down)))) => Some(down),
                    // Of a later version.
                    _ => continue,
                },
            };
            let later = self.settings.connect_timeout + OTHERS_PROBE_AFTER;
            let later = later.mul_f64(rng.random_range(1.0..1.5));
            let down = down.map(|down| Down {
                probe_at: down.probe_at + later,
                learned: 1,
                ..down
            });
            match (sites.get(site), down) {
                (Some(id), down) => self.learn_of(*id, down, now, &mut todo),
                (None, down) => self.learn_of_unfound(site, down),
            }
        }
        self.let_go(&mut todo);
        todo
    }

    /// What was said to this node itself stays as it is.
    fn learn_of_unfound(&mut self, site: &str, down: Option<Down>) {
        let has_room = self.recalled.len() < FACTS_MAX;
        match self.recalled.get_mut(site) {
            Some((_, Some(own))) if own.throttled => {}
            Some((_, known)) => *known = down,
            None if down.is_some() && has_room => {
                self.recalled.insert(site.into(), (1, down));
            }
            None => {}
        }
    }

    fn learn_of(&mut self, id: SiteId, down: Option<Down>, now: Instant, todo: &mut Todo) {
        let Some(site) = self.sites.get_mut(&id) else {
            return;
        };
        site.told_down = down.is_some();
        let before = site.health.down().map(|(at, _)| at);
        if !site.health.learn(down, now) {
            return;
        }
        let rests_until = site.health.down().map(|(at, _)| at);
        if let Some(at) = before {
            self.probes.remove(&(at, id));
        }
        self.turned_sites.remove(&id);
        match rests_until {
            Some(at) => self.rest(id, at, todo),
            None => {
                self.open(id);
                self.stir(id, now, todo);
                todo.wake = true;
            }
        }
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
pub(super) fn identity(key: &SiteKey) -> String {
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
        learned: 0,
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
/// After a probe of another node was due, and its connection has failed, we hear of it within this.
const OTHERS_PROBE_AFTER: Duration = Duration::from_secs(15);
/// No rule wants more.
const PAUSE_LONGEST: Duration = Duration::from_hours(24);
