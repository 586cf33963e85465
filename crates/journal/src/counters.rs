//! The reader that counts: how many events of each kind there were since the start and in the last minute, and how long
//! deliveries took.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envelope::Timestamp;
use parking_lot::Mutex;

use crate::said::Said;
use crate::{Entry, Event, Journal, Missed};

/// Counts what is recorded, some tenths of a second behind.
#[derive(Clone, Default)]
pub struct Counters {
    /// Whoever reads them has them as they were; then they are copied once, for the next event.
    counts: Arc<Mutex<Arc<Counts>>>,
    said: Arc<Mutex<HashMap<Arc<str>, Said>>>,
}

/// So many events of each kind.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// By their names in the mail log.
    pub events: BTreeMap<&'static str, Tally>,
    /// Refusals by stage and rule.
    pub refused: BTreeMap<(&'static str, &'static str), Tally>,
    /// Messages by the address of ours that they came to, and their TLS, if any.
    pub received: BTreeMap<(SocketAddr, &'static str), u64>,
    /// `delivered`, `deferred` and `failed`, by the site that said so ([`OTHERS`] for those beyond [`SITES_MAX`]), and what the
    /// latter two were about.
    pub attempts: BTreeMap<(Arc<str>, &'static str, &'static str), Tally>,
    /// From the message's arrival, of legs that were delivered.
    pub delays: Recent,
    /// When the last reload was, and why it failed.
    pub reload: Option<(Timestamp, Option<String>)>,
    /// Sources of forwards that cannot be asked: since when, and why.
    pub sources_down: BTreeMap<String, (Timestamp, String)>,
    /// Events that came too fast to be counted by kind.
    pub missed: u64,
}

/// A count since the start, and the part of it that is of the last minute.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// All.
    pub total: u64,
    /// Of the ten seconds that run, and of the five times ten before.
    slots: [u32; SLOTS],
    /// The last of them that something was counted in, since the epoch.
    last: u64,
}

/// The latest of many spans.
#[derive(Debug, Clone, Default)]
pub struct Recent(VecDeque<Duration>);

impl Counters {
    /// Counts from now on, in a task of its own that ends with the journal.
    pub fn start(journal: &Journal) -> Self {
        let counters = Self::default();
        let (mut reader, counts) = (journal.subscribe(), counters.clone());
        tokio::spawn(async move {
            while let Some(first) = reader.next().await {
                counts.count(first);
                while let Some(next) = reader.try_next() {
                    counts.count(next);
                }
                // A task that sleeps need not be woken for each event.
                tokio::time::sleep(GATHERING).await;
            }
        });
        counters
    }

    /// The counts of now.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts.lock())
    }

    /// What a site answered since the start.
    pub fn said(&self, site: &str) -> Said {
        self.said.lock().get(site).cloned().unwrap_or_default()
    }

    fn count(&self, read: Result<Arc<Entry>, Missed>) {
        match read {
            Ok(entry) => {
                Arc::make_mut(&mut self.counts.lock()).add(&entry);
                self.hear(&entry);
            }
            Err(Missed(events)) => Arc::make_mut(&mut self.counts.lock()).missed += events,
        }
    }

    fn hear(&self, Entry { at, event }: &Entry) {
        let (Event::Delivered { leg, diagnosis }
        | Event::Deferred { leg, diagnosis, .. }
        | Event::Failed { leg, diagnosis }) = event
        else {
            return;
        };
        let (Some(site), mut said) = (&leg.trip.site, self.said.lock()) else {
            return;
        };
        if said.len() < SITES_MAX || said.contains_key(site) {
            said.entry(Arc::clone(site))
                .or_default()
                .add(*at, diagnosis);
        }
    }
}

impl Counts {
    fn add(&mut self, Entry { at, event }: &Entry) {
        let at = *at;
        self.events.entry(event.name()).or_default().add(at);
        match event {
            Event::Refused { stage, rule, .. } => {
                self.refused.entry((*stage, *rule)).or_default().add(at);
            }
            Event::Received { listener, tls, .. } => {
                let key = (*listener, tls.map_or("", |tls| tls.version));
                if self.received.len() < LISTENERS_MAX || self.received.contains_key(&key) {
                    *self.received.entry(key).or_default() += 1;
                }
            }
            Event::Delivered { leg, .. } => {
                self.delays.add(leg.delay);
                self.attempt(leg.trip.site.as_ref(), event.name(), "", at);
            }
            Event::Deferred { leg, diagnosis, .. } | Event::Failed { leg, diagnosis } => {
                let class = diagnosis.class().name();
                self.attempt(leg.trip.site.as_ref(), event.name(), class, at);
            }
            Event::ForwardsKeptOut { error, .. } | Event::ReloadFailed { error } => {
                self.reload = Some((at, Some(error.clone())));
            }
            Event::Reloaded { .. } => self.reload = Some((at, None)),
            Event::Source { name, error } => {
                let known = self.sources_down.remove(name);
                if let Some(error) = error {
                    let since = known.map_or(at, |(since, _)| since);
                    self.sources_down
                        .insert(name.clone(), (since, error.clone()));
                }
            }
            _ => {}
        }
    }

    /// What came of attempts at a site, whatever it was about.
    pub fn of_site(&self, site: &str, result: &'static str) -> impl Iterator<Item = Tally> {
        let site: Arc<str> = site.into();
        let from = self.attempts.range((Arc::clone(&site), result, "")..);
        from.take_while(move |((at, of, _), _)| *at == site && *of == result)
            .map(|(_, tally)| *tally)
    }

    fn attempt(
        &mut self,
        site: Option<&Arc<str>>,
        result: &'static str,
        class: &'static str,
        at: Timestamp,
    ) {
        // Perhaps none was found, or the leg had expired.
        let site = site.map_or_else(|| OTHERS.into(), Arc::clone);
        let mut key = (site, result, class);
        if self.attempts.len() >= SITES_MAX && !self.attempts.contains_key(&key) {
            key.0 = OTHERS.into();
        }
        self.attempts.entry(key).or_default().add(at);
    }
}

impl Tally {
    /// One more.
    pub fn add(&mut self, at: Timestamp) {
        self.forget_until(slot(at));
        self.total += 1;
        let count = &mut self.slots[(self.last % SLOTS as u64) as usize];
        *count = count.saturating_add(1);
    }

    /// Those of the minute before `now`.
    pub fn minute(mut self, now: Timestamp) -> u64 {
        self.forget_until(slot(now));
        self.slots.iter().map(|count| u64::from(*count)).sum()
    }

    /// Empties the slots that have passed since the last one. A clock that goes back changes nothing.
    fn forget_until(&mut self, slot: u64) {
        let passed = slot.saturating_sub(self.last).min(SLOTS as u64);
        for slot in (0..passed).map(|back| slot - back) {
            self.slots[(slot % SLOTS as u64) as usize] = 0;
        }
        self.last = self.last.max(slot);
    }
}

impl Recent {
    /// One more.
    pub fn add(&mut self, span: Duration) {
        if self.0.len() == RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(span);
    }

    /// The span that so many in a hundred did not exceed; none before the first.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100);
        sorted.get(at.saturating_sub(1)).copied()
    }
}

fn slot(at: Timestamp) -> u64 {
    at.unix_secs() / SLOT_SECS
}

/// The site that stands for all beyond the first.
pub const OTHERS: &str = "others";
/// Results of sites that are counted apart: a peer can have any number of names.
const SITES_MAX: usize = 3000;
/// A wildcard takes connections to any number of addresses.
const LISTENERS_MAX: usize = 1000;
const SLOTS: usize = 6;
const SLOT_SECS: u64 = 10;
const RECENT_MAX: usize = 1000;
const GATHERING: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn events_are_counted_by_kind() {
        let journal = Journal::default();
        let counters = Counters::start(&journal);
        for reason in ["SIGTERM", "SIGINT"] {
            journal.record(Event::Stopping { reason });
        }
        journal.record(Event::Dropped { lines: 9 });
        let error = "bad".to_owned();
        journal.record(Event::ReloadFailed { error });
        tokio::time::sleep(GATHERING).await;
        let counts = counters.counts();
        let events = counts.events.iter();
        let totals: Vec<_> = events.map(|(name, tally)| (*name, tally.total)).collect();
        assert_eq!(
            totals,
            [("dropped", 1), ("reload-failed", 1), ("stopping", 2)]
        );
        assert_eq!(counts.reload.clone().unwrap().1.unwrap(), "bad");
        assert_eq!(counts.missed, 0);
    }

    #[test]
    fn a_minute_is_forgotten_bit_by_bit() {
        let at = |secs: u64| Timestamp::from_unix_millis(1_000_000_000 + secs * 1000);
        let mut tally = Tally::default();
        // The last is by a clock that went back.
        for secs in [0, 5, 30, 59, 40] {
            tally.add(at(secs));
        }
        let minutes = [59, 60, 89, 109, 119, 1000].map(|secs| tally.minute(at(secs)));
        assert_eq!(minutes, [5, 3, 3, 2, 0, 0]);
        assert_eq!(tally.total, 5);
    }

    #[test]
    fn names_of_peers_take_no_more_than_so_much_room() {
        let mut counts = Counts::default();
        for number in 0..2 * SITES_MAX {
            let site = format!("mx{number}.test").into();
            counts.attempt(Some(&site), "deferred", "", Timestamp::from_unix_millis(0));
        }
        assert_eq!(counts.attempts.len(), SITES_MAX + 1);
        let others = &counts.attempts[&(OTHERS.into(), "deferred", "")];
        assert_eq!(others.total, SITES_MAX as u64);
    }

    #[test]
    fn percentiles() {
        let mut recent = Recent::default();
        assert_eq!(recent.percentile(99), None);
        for secs in 0..RECENT_MAX as u64 + 200 {
            recent.add(Duration::from_secs(secs));
        }
        let found = [50, 99].map(|percent| recent.percentile(percent));
        assert_eq!(
            found,
            [699, 1189].map(|secs| Some(Duration::from_secs(secs)))
        );
    }
}
