//! What the operator wants to hear of at once goes to the webhook as well as into the mail log, in the same words: a reload that
//! failed, a certificate, a site that blocks us, a long queue, a forward or a source of forwards that fails. (Freezes and the doctor's
//! findings: `alerts.rs`, `checkup.rs`.)
//!
//! It is kept in memory, in order, until the webhook has taken it. What is refused several times lets the others go first; what is
//! refused for good is given up and logged. Of too much the oldest is lost, and how much that was is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use control::FailingForward;
use control::ask::ForwardsFailing;
use history::Desk;
use journal::{Event, Format, Missed};
use parking_lot::Mutex;
use serde_json::{Value, json};
use spool::Spool;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Outbound;
use super::alerts::{NotTaken, POST_AGAIN, POST_AGAIN_MAX, post_json};
use crate::histories::{Histories, put};

/// What waits to be told.
#[derive(Default)]
struct Untold {
    waiting: Mutex<Waiting>,
    more: Notify,
}

/// In order.
#[derive(Default)]
struct Waiting {
    events: VecDeque<Waits>,
    /// So many were given a number.
    numbers: u64,
    /// So many found no room, of which nobody was told yet.
    lost: u64,
}

#[derive(Clone)]
struct Waits {
    number: u64,
    event: Value,
    tries: u32,
}

/// What was looked at last.
#[derive(Default)]
struct Looked {
    is_long: bool,
    /// The forwards that failed; none before the first look, which tells of none: a restart tells nothing twice.
    failing: Option<BTreeSet<(String, String)>>,
    /// Sources of forwards that are down: since which second, with the line about it as long as it was not told.
    down: BTreeMap<String, (u64, Option<String>)>,
}

impl<S: Spool> Outbound<S> {
    /// Tells until `shutdown`.
    pub async fn keep_telling(&self, history: &Desk, shutdown: CancellationToken) {
        let untold = Untold::default();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.watch(history, &untold) => {}
            () = untold.tell(|event| self.post_event(event)) => {}
        }
    }

    async fn watch(&self, history: &Desk, untold: &Untold) {
        let (mut reader, mut looked) = (self.journal.subscribe(), Looked::default());
        for second in 0_u64.. {
            // A task that sleeps need not be woken for each event.
            sleep(GATHERING).await;
            // What all nodes see alike, one of them tells.
            let board = self.spool.board();
            let speaks = board.is_none_or(|board| board.place().number == 0);
            if !speaks {
                (looked.is_long, looked.failing) = (false, None);
            }
            if speaks && second.is_multiple_of(QUEUE_EVERY) {
                self.look_at_queue(&mut looked).await;
            }
            if speaks && second % FORWARDS_EVERY == FORWARDS_FIRST {
                self.look_at_forwards(history, &mut looked).await;
            }
            let mut told = looked.down_for_long(second);
            while let Some(read) = reader.try_next() {
                let entry = match read {
                    Ok(entry) => entry,
                    // Most events are of no interest here, but one of these may have been.
                    Err(Missed(_)) => {
                        untold.waiting.lock().lost += 1;
                        continue;
                    }
                };
                if let Event::Source { name, error } = &entry.event {
                    let line = entry.line(Format::Json);
                    told.extend(looked.source(name, error.is_some(), line, second));
                } else if TOLD.contains(&entry.event.name()) {
                    told.push(entry.line(Format::Json));
                }
            }
            if self.routing.load().alerts.webhook.is_some() {
                told.iter().for_each(|line| untold.push(line));
            }
        }
    }

    /// Whether the queue is longer than it should be; it is well again below three quarters of that.
    async fn look_at_queue(&self, looked: &mut Looked) {
        let max = self.routing.load().alerts.queue_max;
        // Counting looks at each destination.
        if max == 0 && !looked.is_long {
            return;
        }
        let Ok(counts) = self.spool.counts().await else {
            return;
        };
        let legs = counts.ready + counts.deferred + counts.active;
        let is_long = max > 0 && legs > if looked.is_long { max / 4 * 3 } else { max };
        if is_long != looked.is_long {
            looked.is_long = is_long;
            self.journal.record(Event::QueueLength { is_long, legs });
        }
    }

    /// Whether forwards fail that did not before.
    async fn look_at_forwards(&self, history: &Desk, looked: &mut Looked) {
        let now = self.clock.now();
        let week = Duration::from_hours(24 * 7).as_millis();
        let since = now.unix_millis().saturating_sub(week as u64);
        let ask = ForwardsFailing {
            since: envelope::Timestamp::from_unix_millis(since),
            of: Vec::new(),
            limit: FORWARDS_MAX,
        };
        // Where one fails on this node, another may deliver.
        let found = match Histories::of(history, &*self.spool) {
            Some(histories) => histories.forwards_failing(ask).await.ok(),
            None => put(history, move |desk| desk.forwards_failing(&ask))
                .await
                .ok(),
        };
        // Without a history nobody knows; and those of a part would be new again when the others come back.
        let Some(found) =
            found.filter(|it| it.silent_nodes.is_empty() && (!it.is_cut || it.left_out > 0))
        else {
            return;
        };
        for forward in looked.take(found.forwards) {
            self.journal.record(Event::ForwardFails {
                recipient: forward.recipient,
                target: forward.target,
                failed: forward.failed,
                code: forward.code,
            });
        }
    }

    async fn post_event(&self, mut event: Value) -> Result<(), NotTaken> {
        event["hostname"] = self.hostname.to_string().into();
        let routing = self.routing.load_full();
        post_json(&routing.alerts, &event).await
    }
}

impl Untold {
    fn push(&self, line: &str) {
        let Ok(event) = serde_json::from_str(line) else {
            return;
        };
        let mut waiting = self.waiting.lock();
        while waiting.events.len() >= UNTOLD_MAX
            && let Some(Waits { event, .. }) = waiting.events.pop_front()
        {
            waiting.lost += event["lost"].as_u64().unwrap_or(1);
        }
        let waits = waiting.number(event);
        waiting.events.push_back(waits);
        self.more.notify_one();
    }

    /// Posts what waits, as long as it is polled.
    async fn tell<F: Future<Output = Result<(), NotTaken>>>(&self, post: impl Fn(Value) -> F) {
        let mut pause = POST_AGAIN;
        loop {
            let next = self.waiting.lock().next();
            let Some(Waits { number, event, .. }) = next else {
                self.more.notified().await;
                continue;
            };
            let Err(NotTaken { text, is_final }) = post(event.clone()).await else {
                self.waiting.lock().take(number);
                pause = POST_AGAIN;
                continue;
            };
            if is_final || self.waiting.lock().tries(number) >= TRIES_MAX {
                self.waiting.lock().take(number);
                tracing::error!(error = text, %event, "the webhook was not told of this event, which is given up\n\nhint: `[alerts] webhook` must answer a POST with 2xx");
            } else {
                tracing::error!(error = text, event = %event["event"], "the webhook was not told what has happened; it is tried again\n\nhint: `[alerts] webhook` must answer a POST with 2xx");
            }
            if !is_final {
                // What is new need not wait for long: perhaps only this one is not liked.
                sleep(POST_AGAIN).await;
                let _new = timeout(pause.saturating_sub(POST_AGAIN), self.more.notified()).await;
                pause = (2 * pause).min(POST_AGAIN_MAX);
            }
        }
    }
}

impl Waiting {
    fn number(&mut self, event: Value) -> Waits {
        self.numbers += 1;
        Waits {
            number: self.numbers,
            event,
            tries: 0,
        }
    }

    /// The oldest of those that were refused least often.
    fn next(&mut self) -> Option<Waits> {
        if self.lost > 0 {
            let lost = self.number(json!({"event": "untold", "lost": self.lost}));
            self.events.push_front(lost);
            self.lost = 0;
        }
        let turn = |waits: &&Waits| waits.tries / TRIES_IN_TURN;
        self.events.iter().min_by_key(turn).cloned()
    }

    /// How often it was tried, with this time.
    fn tries(&mut self, number: u64) -> u32 {
        let waits = self.events.iter_mut().find(|waits| waits.number == number);
        waits.map_or(0, |waits| {
            waits.tries += 1;
            waits.tries
        })
    }

    fn take(&mut self, number: u64) {
        self.events.retain(|waits| waits.number != number);
    }
}

impl Looked {
    /// Those that have been down long enough to be told of: a database that is restarted wakes nobody.
    fn down_for_long(&mut self, second: u64) -> Vec<String> {
        let late = self.down.values_mut();
        let late = late.filter(|(since, _)| second - since >= SOURCE_DOWN_FOR);
        late.filter_map(|(_, line)| line.take()).collect()
    }

    /// Takes in that a source is down, or up again: which is told if the other was.
    fn source(&mut self, name: &str, is_down: bool, line: String, second: u64) -> Option<String> {
        if is_down {
            let down = self.down.entry(name.to_owned());
            down.or_insert((second, Some(line)));
            return None;
        }
        let was_told = self.down.remove(name)?.1.is_none();
        was_told.then_some(line)
    }

    /// Those that are new.
    fn take(&mut self, found: Vec<FailingForward>) -> Vec<FailingForward> {
        let key = |forward: &FailingForward| (forward.recipient.clone(), forward.target.clone());
        let failing = found.iter().map(key).collect();
        match self.failing.replace(failing) {
            None => Vec::new(),
            Some(before) => {
                let is_new = |forward: &FailingForward| !before.contains(&key(forward));
                found.into_iter().filter(is_new).collect()
            }
        }
    }
}

/// By their names in the mail log; besides `source-down` and `source-up`, each once.
const TOLD: [&str; 9] = [
    "reload-failed",
    "forwards-kept-out",
    "certificate-issued",
    "certificate-failed",
    "source-rests",
    "site-throttled",
    "queue-long",
    "queue-short",
    "forward-fails",
];
const GATHERING: Duration = Duration::from_secs(1);
/// In seconds.
const QUEUE_EVERY: u64 = 10;
const FORWARDS_EVERY: u64 = 3600;
/// Not while the daemon starts.
const FORWARDS_FIRST: u64 = 60;
const FORWARDS_MAX: u32 = 1000;
/// In seconds.
const SOURCE_DOWN_FOR: u64 = 60;
const UNTOLD_MAX: usize = 1000;
/// Some seconds, in which a webhook that is restarted gets all in order.
const TRIES_IN_TURN: u32 = 3;
/// With the pauses between, about a day.
const TRIES_MAX: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_much_the_oldest_is_lost_and_counted() {
        let untold = Untold::default();
        let push = |numbers: std::ops::Range<usize>| {
            for number in numbers {
                untold.push(&format!("{{\"event\":\"reload-failed\",\"n\":{number}}}"));
            }
        };
        push(0..UNTOLD_MAX + 5);
        let first = |lost: usize| {
            let mut waiting = untold.waiting.lock();
            let first = waiting.next().unwrap();
            assert_eq!(first.event, json!({"event": "untold", "lost": lost}));
            assert_eq!(waiting.events[1].event["n"], lost);
            first
        };
        first(5);
        // Before that was told, more are lost.
        push(UNTOLD_MAX + 5..UNTOLD_MAX + 8);
        let told = first(8);
        untold.waiting.lock().take(told.number);
        assert_eq!(untold.waiting.lock().events.len(), UNTOLD_MAX);
    }

    /// What a webhook is told that refuses `b` so often, in the first hours of a number of events.
    async fn told(refusals: usize, is_final: bool) -> Vec<String> {
        let (untold, told, refused) = (Untold::default(), Mutex::new(Vec::new()), Mutex::new(0));
        for name in ["a", "b", "c"] {
            untold.push(&json!({"event": name}).to_string());
        }
        let post = async |event: Value| {
            let name = event["event"].as_str().unwrap().to_owned();
            if name == "b" && *refused.lock() < refusals {
                *refused.lock() += 1;
                let text = "127.0.0.1 answers 500".to_owned();
                return Err(NotTaken { text, is_final });
            }
            told.lock().push(name);
            Ok(())
        };
        let late = async {
            sleep(Duration::from_hours(3)).await;
            untold.push(&json!({"event": "d"}).to_string());
            sleep(POST_AGAIN + Duration::from_secs(1)).await;
            told.lock().push("e".to_owned());
            untold.push(&json!({"event": "e"}).to_string());
            sleep(Duration::from_hours(48)).await;
        };
        tokio::select! {
            () = untold.tell(post) => {}
            () = late => {}
        }
        assert!(untold.waiting.lock().events.is_empty());
        told.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_refused_holds_up_no_others() {
        // A short trouble keeps the order.
        assert_eq!(told(2, false).await, ["a", "b", "c", "d", "e", "e"]);
        assert_eq!(told(4, false).await, ["a", "c", "b", "d", "e", "e"]);
        // What is new then does not wait for the pause of what is refused, and that is given up some day.
        assert_eq!(told(1000, false).await, ["a", "c", "d", "e", "e"]);
        // Nor is it tried twice if that is no use.
        assert_eq!(told(1, true).await, ["a", "c", "d", "e", "e"]);
    }

    #[test]
    fn a_source_is_told_of_once_and_when_it_is_back() {
        let mut looked = Looked::default();
        let mut told = Vec::new();
        for (second, is_down, line) in [
            (0, true, "short"),
            (20, false, "back"),
            (40, true, "down"),
            (70, true, "down otherwise"),
            (100, true, "down"),
            (200, false, "up"),
            (201, false, "up"),
        ] {
            told.extend(looked.down_for_long(second));
            told.extend(looked.source("db", is_down, line.to_owned(), second));
        }
        assert_eq!(told, ["down", "up"]);
    }

    #[test]
    fn a_forward_is_told_of_once() {
        let failing = |recipient: &str| {
            let row = json!({"recipient": recipient, "target": "t@t.test", "delivered": 0, "failed": 9, "deferred": 0,
                "code": "5.1.1", "reply": null, "last_failure": "2026-11-29T12:00:00Z", "last_success": null});
            serde_json::from_value::<FailingForward>(row).unwrap()
        };
        let mut looked = Looked::default();
        for (found, told) in [
            (vec!["a@a.test"], vec![]),
            (vec!["a@a.test", "b@a.test"], vec!["b@a.test"]),
            (vec!["b@a.test"], vec![]),
            (vec!["a@a.test"], vec!["a@a.test"]),
        ] {
            let new = looked.take(found.into_iter().map(failing).collect());
            let new: Vec<_> = new.into_iter().map(|forward| forward.recipient).collect();
            assert_eq!(new, told);
        }
    }
}
