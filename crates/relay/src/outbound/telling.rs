//! What the operator wants to hear of at once goes to the webhook as well as into the mail log, in the same words: a reload that
//! failed, a certificate, a site that blocks us, a long queue, a forward that fails. (Freezes and the doctor's findings: `alerts.rs`, `checkup.rs`.)
//!
//! It is kept in memory, in order, until the webhook has taken it; of too much the oldest is lost, and how much that was is told.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use control::FailingForward;
use control::ask::ForwardsFailing;
use history::Desk;
use journal::{Event, Format};
use parking_lot::Mutex;
use serde_json::{Value, json};
use spool::Spool;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Outbound;
use super::alerts::{POST_AGAIN, POST_AGAIN_MAX, post_json};

/// What waits to be told.
#[derive(Default)]
struct Untold {
    events: Mutex<VecDeque<Value>>,
    more: Notify,
}

/// What was looked at last.
#[derive(Default)]
struct Looked {
    is_long: bool,
    /// The forwards that failed; none before the first look, which tells of none: a restart tells nothing twice.
    failing: Option<BTreeSet<(String, String)>>,
}

impl<S: Spool> Outbound<S> {
    /// Tells until `shutdown`.
    pub async fn keep_telling(&self, history: &Desk, shutdown: CancellationToken) {
        let untold = Untold::default();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.watch(history, &untold) => {}
            () = self.post_events(&untold) => {}
        }
    }

    async fn watch(&self, history: &Desk, untold: &Untold) {
        let (mut reader, mut looked) = (self.journal.subscribe(), Looked::default());
        for second in 0_u64.. {
            // A task that sleeps need not be woken for each event.
            sleep(GATHERING).await;
            if second.is_multiple_of(QUEUE_EVERY) {
                self.look_at_queue(&mut looked).await;
            }
            if second % FORWARDS_EVERY == FORWARDS_FIRST {
                self.look_at_forwards(history, &mut looked).await;
            }
            while let Some(read) = reader.try_next() {
                if let Ok(entry) = read
                    && TOLD.contains(&entry.event.name())
                    && self.routing.load().alerts.webhook.is_some()
                {
                    untold.push(&entry.line(Format::Json));
                }
            }
        }
    }

    /// Whether the queue is longer than it should be; it is well again below three quarters of that.
    async fn look_at_queue(&self, looked: &mut Looked) {
        let max = self.routing.load().alerts.queue_max;
        // Counting walks the whole queue.
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
            limit: FORWARDS_MAX,
        };
        let desk = history.clone();
        let asked = tokio::task::spawn_blocking(move || desk.forwards_failing(&ask));
        // Without a history nobody knows.
        let Ok(Ok(found)) = asked.await else { return };
        for forward in looked.take(found.forwards) {
            self.journal.record(Event::ForwardFails {
                recipient: forward.recipient,
                target: forward.target,
                failed: forward.failed,
                code: forward.code,
            });
        }
    }

    /// Posts the oldest until it is taken, and so on.
    async fn post_events(&self, untold: &Untold) {
        let mut again = POST_AGAIN;
        loop {
            let Some(mut event) = untold.events.lock().front().cloned() else {
                untold.more.notified().await;
                continue;
            };
            event["hostname"] = self.hostname.to_string().into();
            let routing = self.routing.load_full();
            match post_json(&routing.alerts, &event).await {
                Ok(()) => {
                    untold.events.lock().pop_front();
                    again = POST_AGAIN;
                }
                Err(error) => {
                    tracing::error!(
                        error,
                        "the webhook was not told what has happened; it is tried again\n\nhint: `[alerts] webhook` must answer a POST with 2xx"
                    );
                    sleep(again).await;
                    again = (2 * again).min(POST_AGAIN_MAX);
                }
            }
        }
    }
}

impl Untold {
    fn push(&self, line: &str) {
        let Ok(event) = serde_json::from_str(line) else {
            return;
        };
        let mut events = self.events.lock();
        if events.len() >= UNTOLD_MAX {
            // The first is being told, and says how many went after it.
            let lost = events.get(1).and_then(|event| event["lost"].as_u64());
            events[1] = json!({"event": "untold", "lost": lost.map_or(2, |lost| lost + 1)});
            events.remove(2);
        }
        events.push_back(event);
        self.more.notify_one();
    }
}

impl Looked {
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

/// By their names in the mail log.
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
const UNTOLD_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_much_the_oldest_is_lost_and_counted() {
        let untold = Untold::default();
        for number in 0..UNTOLD_MAX + 5 {
            untold.push(&format!("{{\"event\":\"reload-failed\",\"n\":{number}}}"));
        }
        let events = untold.events.lock();
        assert_eq!((events.len(), &events[0]["n"]), (UNTOLD_MAX, &json!(0)));
        assert_eq!(events[1], json!({"event": "untold", "lost": 6}));
        assert_eq!(events[2]["n"], 7);
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
