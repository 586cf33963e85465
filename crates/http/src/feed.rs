//! `/api/v1/events`: the mail log as it is written, each event as its line in JSON (server-sent events).
//!
//! One task reads the journal for all who follow it, and only while somebody does. Who is slow loses events and is told how many;
//! nobody who records one waits.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::stream;
use journal::{Entry, Format, Journal, Missed, Reader};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::problem::Problem;

/// What can be followed.
pub(crate) struct Feed {
    journal: Journal,
    fan: Arc<Fan>,
    slots: Arc<Semaphore>,
    followers_max: usize,
}

struct Fan {
    batches: Sender<Arc<Batch>>,
    /// Whether the task that reads is there.
    is_read: Mutex<bool>,
}

/// Events that came close together.
struct Batch {
    /// The number of the first one.
    first: u64,
    events: Vec<(Arc<Entry>, String)>,
}

/// Which events somebody wants; all, where nothing is said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// By their names in the mail log.
    events: Vec<String>,
    /// Those about this site or the sites below it.
    site: Option<String>,
}

/// Somebody who follows.
struct Follower {
    batches: Receiver<Arc<Batch>>,
    wanted: Wanted,
    /// The number of the event that is next.
    next: Option<u64>,
    until: Instant,
    _slot: OwnedSemaphorePermit,
}

impl Feed {
    /// So many may follow.
    pub(crate) fn new(journal: Journal, followers_max: usize) -> Self {
        let fan = Fan {
            batches: Sender::new(BATCHES_KEPT),
            is_read: Mutex::new(false),
        };
        Self {
            journal,
            fan: Arc::new(fan),
            slots: Arc::new(Semaphore::new(followers_max)),
            followers_max,
        }
    }

    /// What is recorded from now on.
    pub(crate) fn follow(&self, wanted: Wanted) -> Result<Body, Problem> {
        let full = |_| {
            let text = format!("{} follow the events already", self.followers_max);
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
                .with_hint("let one connection serve several readers")
        };
        let follower = Follower {
            _slot: Arc::clone(&self.slots).try_acquire_owned().map_err(full)?,
            batches: self.subscribe(),
            wanted,
            next: None,
            until: Instant::now() + LONGEST,
        };
        let more = async |mut follower: Follower| {
            let text = follower.more().await?;
            Some((Ok::<_, Infallible>(text), follower))
        };
        Ok(Body::from_stream(stream::unfold(follower, more)))
    }

    fn subscribe(&self) -> Receiver<Arc<Batch>> {
        let mut is_read = self.fan.is_read.lock();
        let batches = self.fan.batches.subscribe();
        if !*is_read {
            *is_read = true;
            let reader = self.journal.subscribe();
            tokio::spawn(Arc::clone(&self.fan).read(reader));
        }
        batches
    }
}

impl Fan {
    async fn read(self: Arc<Self>, mut reader: Reader) {
        let mut next = 0;
        while !self.is_over() {
            // A task that sleeps need not be woken for each event.
            sleep(GATHERING).await;
            let batch = gather(&mut reader, &mut next);
            if !batch.events.is_empty() {
                // An error means that there is nobody any more.
                let _ = self.batches.send(Arc::new(batch));
            }
        }
    }

    fn is_over(&self) -> bool {
        let mut is_read = self.is_read.lock();
        *is_read = self.batches.receiver_count() > 0;
        !*is_read
    }
}

/// What has been recorded since the last time; of a flood the beginning.
fn gather(reader: &mut Reader, next: &mut u64) -> Batch {
    let mut events = Vec::new();
    let mut first = *next;
    while let Some(read) = reader.try_next() {
        match read {
            Ok(entry) => {
                *next += 1;
                if events.len() < BATCH_MAX {
                    let line = entry.line(Format::Json);
                    events.push((entry, line));
                }
            }
            Err(Missed(count)) => *next += count,
        }
        if events.is_empty() {
            first = *next;
        }
    }
    Batch { first, events }
}

impl Follower {
    /// The text that is next: none at the end.
    async fn more(&mut self) -> Option<String> {
        loop {
            let received = timeout(ALIVE, self.batches.recv()).await;
            if Instant::now() > self.until {
                return None;
            }
            let text = match received {
                Ok(Ok(batch)) => self.text(&batch),
                // The number of the next batch tells how many events those were.
                Ok(Err(RecvError::Lagged(_))) => continue,
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => ": nothing happens\n\n".to_owned(),
            };
            if !text.is_empty() {
                return Some(text);
            }
        }
    }

    fn text(&mut self, batch: &Batch) -> String {
        let mut text = String::new();
        let missed = self.next.map_or(0, |next| batch.first - next);
        if missed > 0 {
            // A string takes everything.
            let _ = writeln!(text, "data: {{\"event\":\"missed\",\"events\":{missed}}}\n");
        }
        for (entry, line) in &batch.events {
            if self.wanted.is(entry) {
                let _ = writeln!(text, "data: {line}");
            }
        }
        self.next = Some(batch.first + batch.events.len() as u64);
        text
    }
}

impl Wanted {
    /// As a query says it.
    pub(crate) fn parse(query: &str) -> Result<Self, Problem> {
        let mut wanted = Self::default();
        for (name, text) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "event" => wanted.events.extend(text.split(',').map(str::to_owned)),
                "site" => wanted.site = Some(text.into_owned()),
                name => {
                    let wrong = format!("unknown field `{name}`, expected `event` or `site`");
                    return Err(Problem::new(StatusCode::BAD_REQUEST, wrong));
                }
            }
        }
        Ok(wanted)
    }

    fn is(&self, Entry { event, .. }: &Entry) -> bool {
        let is_at = |wanted: &str| {
            let upper = event.site().and_then(|site| site.strip_suffix(wanted));
            upper.is_some_and(|upper| upper.is_empty() || upper.ends_with('.'))
        };
        (self.events.is_empty() || self.events.iter().any(|name| name == event.name()))
            && self.site.as_deref().is_none_or(is_at)
    }
}

const GATHERING: Duration = Duration::from_millis(200);
/// Events of one gathering: 2,500 a second, some 200 KB.
const BATCH_MAX: usize = 500;
const BATCHES_KEPT: usize = 16;
/// So often at least something is sent: who has gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);
/// Who follows comes again, as browsers do by themselves.
const LONGEST: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use journal::Event;

    use super::*;

    fn record(journal: &Journal, count: usize) {
        for _ in 0..count {
            journal.record(Event::Dropped { lines: 1 });
        }
    }

    async fn next(body: &mut axum::body::BodyDataStream) -> String {
        let text = body.next().await.unwrap().unwrap();
        String::from_utf8(text.into()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_is_told_what_it_missed() {
        let journal = Journal::default();
        let feed = Feed::new(journal.clone(), 1);
        let wanted = Wanted::parse("event=dropped").unwrap();
        let mut body = feed.follow(wanted).unwrap().into_data_stream();
        let reason = "SIGTERM";
        journal.record(Event::Stopping { reason });
        record(&journal, BATCH_MAX + 9);
        let text = next(&mut body).await;
        assert_eq!(text.matches("\"event\":\"dropped\"").count(), BATCH_MAX - 1);
        assert!(text.ends_with("}\n\n") && !text.contains("SIGTERM"));
        for _ in 0..BATCHES_KEPT + 2 {
            record(&journal, 1);
            sleep(2 * GATHERING).await;
        }
        let text = next(&mut body).await;
        let missed = "data: {\"event\":\"missed\",\"events\":12}\n\ndata: {";
        assert!(text.starts_with(missed), "{text}");
        for _ in 1..BATCHES_KEPT {
            assert!(!next(&mut body).await.contains("missed"));
        }
        assert!(next(&mut body).await.starts_with(": "));
        assert!(*feed.fan.is_read.lock());
        drop(body);
        sleep(2 * GATHERING).await;
        assert!(!*feed.fan.is_read.lock());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_follow_and_none_for_ever() {
        let feed = Feed::new(Journal::default(), 32);
        let bodies = (0..32).map(|_| feed.follow(Wanted::default()).unwrap());
        let bodies: Vec<_> = bodies.collect();
        assert!(feed.follow(Wanted::default()).is_err());
        for body in bodies {
            let texts = body.into_data_stream().count().await;
            assert!(texts < 50, "{texts}");
        }
        assert!(feed.follow(Wanted::default()).is_ok());
    }

    #[test]
    fn what_is_wanted() {
        let up = Entry {
            at: envelope::Timestamp::from_unix_millis(0),
            event: Event::SiteUp {
                site: "mx.a.test".to_owned(),
                down_for: Duration::ZERO,
            },
        };
        for (query, expected) in [
            ("", true),
            ("site=a.test", true),
            ("site=mx.a.test&event=site-up", true),
            ("site=x.a.test", false),
            ("event=delivered,failed", false),
        ] {
            assert_eq!(Wanted::parse(query).unwrap().is(&up), expected, "{query}");
        }
        assert!(Wanted::parse("kind=x").is_err());
    }
}
