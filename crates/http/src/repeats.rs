//! Requests that come again under the same `Idempotency-Key`: what was done is not done twice, and is answered as before.
//!
//! Only what worked is kept, in memory, for a day.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, StatusCode};
use control::{Fault, Request};
use envelope::Actor;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::problem::Problem;

/// What was done under which key.
#[derive(Default)]
pub(crate) struct Repeats(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    by_key: HashMap<String, Once>,
    /// The keys of what was answered, and when: the oldest first.
    order: VecDeque<(Instant, String)>,
    octets: usize,
}

struct Once {
    hash: Vec<u8>,
    /// None while it is at work.
    answer: Option<Box<RawValue>>,
}

/// What a request with a key comes to.
pub(crate) enum Begun {
    /// It is to be done, and [`Ticket::keep`] to be told.
    New(Ticket),
    /// It was done.
    Done(Box<RawValue>),
}

/// The right to do what was asked under a key. If it is dropped, nothing was done.
pub(crate) struct Ticket {
    kept: Arc<Mutex<Kept>>,
    key: String,
}

impl Repeats {
    /// Looks what was done under the key of a request, if it has one.
    pub(crate) fn begin(
        &self,
        headers: &HeaderMap,
        by: &Actor,
        request: &Request,
    ) -> Result<Option<Begun>, Problem> {
        let Some(key) = headers.get("idempotency-key") else {
            return Ok(None);
        };
        let key = key.to_str().ok();
        let key = key.filter(|key| (1..=KEY_OCTETS_MAX).contains(&key.len()));
        let bad = || {
            let text = "Idempotency-Key: not 1 to 255 characters of ASCII";
            Problem::new(StatusCode::BAD_REQUEST, text)
        };
        let key = format!("{by} {}", key.ok_or_else(bad)?);
        let asked = serde_json::to_vec(request).map_err(Fault::of)?;
        let hash = digest(&SHA256, &asked).as_ref().to_vec();
        let mut kept = self.0.lock();
        kept.forget(Instant::now());
        match kept.by_key.get(&key) {
            None => {
                let answer = None;
                kept.by_key.insert(key.clone(), Once { hash, answer });
                let kept = Arc::clone(&self.0);
                Ok(Some(Begun::New(Ticket { kept, key })))
            }
            Some(once) if once.hash != hash => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was sent with another request",
            )
            .with_hint("make a new key for each thing that is to be done")),
            Some(Once { answer: None, .. }) => Err(Problem::new(
                StatusCode::CONFLICT,
                "this request is at work already",
            )
            .with_hint("ask again in a moment")),
            Some(Once {
                answer: Some(answer),
                ..
            }) => Ok(Some(Begun::Done(answer.clone()))),
        }
    }
}

impl Ticket {
    /// It was done, and this is the answer.
    pub(crate) fn keep(&self, answer: &RawValue) {
        let (mut kept, now) = (self.kept.lock(), Instant::now());
        if let Some(once) = kept.by_key.get_mut(&self.key) {
            once.answer = Some(answer.to_owned());
            kept.octets += answer.get().len();
            kept.order.push_back((now, self.key.clone()));
            kept.forget(now);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut kept = self.kept.lock();
        let is_at_work = |once: &Once| once.answer.is_none();
        if kept.by_key.get(&self.key).is_some_and(is_at_work) {
            kept.by_key.remove(&self.key);
        }
    }
}

impl Kept {
    /// Drops what is old, and the oldest of too much.
    fn forget(&mut self, now: Instant) {
        while let Some((at, key)) = self.order.front()
            && (now - *at > KEPT || self.order.len() > KEYS_MAX || self.octets > OCTETS_MAX)
        {
            let answer = self.by_key.remove(key).and_then(|once| once.answer);
            self.octets -= answer.map_or(0, |answer| answer.get().len());
            self.order.pop_front();
        }
    }
}

const KEY_OCTETS_MAX: usize = 255;
const KEPT: Duration = Duration::from_hours(24);
const KEYS_MAX: usize = 10_000;
const OCTETS_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;

    fn begin(repeats: &Repeats, key: &str, on: bool) -> Result<Begun, u16> {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", key.parse().unwrap());
        let request = json!({"do": "drain", "on": on});
        let request = serde_json::from_value(request).unwrap();
        let begun = repeats.begin(&headers, &Actor::Uid(0), &request);
        begun
            .map(Option::unwrap)
            .map_err(|problem| problem.status.as_u16())
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_done_is_not_done_twice() {
        let repeats = Repeats::default();
        let answer = to_raw_value("done").unwrap();
        for _ in 0..2 {
            let Ok(Begun::New(ticket)) = begin(&repeats, "a", true) else {
                panic!("it is new");
            };
            assert_eq!(begin(&repeats, "a", true).err(), Some(409));
            // It failed: it may be tried again.
            drop(ticket);
        }
        let Ok(Begun::New(ticket)) = begin(&repeats, "a", true) else {
            panic!("it is new");
        };
        ticket.keep(&answer);
        drop(ticket);
        let again = begin(&repeats, "a", true);
        assert!(matches!(again, Ok(Begun::Done(again)) if again.get() == answer.get()));
        assert_eq!(begin(&repeats, "a", false).err(), Some(422));
        assert_eq!(begin(&repeats, &"a".repeat(256), true).err(), Some(400));
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        assert!(matches!(begin(&repeats, "a", false), Ok(Begun::New(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_kept_than_so_much() {
        let repeats = Repeats::default();
        let large = to_raw_value(&"x".repeat(OCTETS_MAX / 4)).unwrap();
        for key in 0..KEYS_MAX + 5 {
            let Ok(Begun::New(ticket)) = begin(&repeats, &key.to_string(), true) else {
                panic!("it is new");
            };
            match key {
                0..4 => ticket.keep(&large),
                _ => ticket.keep(&to_raw_value(&0).unwrap()),
            }
        }
        let kept = repeats.0.lock();
        assert_eq!((kept.by_key.len(), kept.order.len()), (KEYS_MAX, KEYS_MAX));
        assert!(kept.octets <= KEYS_MAX, "{}", kept.octets);
    }
}
