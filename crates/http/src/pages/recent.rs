//! Answers that are good for a moment, for everybody who looks: what takes long is asked once, however many look, and a page does not
//! wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{Ask, Fault};
use envelope::Actor;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::desk::Desk;

/// By the names under which pages ask: a fixed set.
#[derive(Default)]
pub(crate) struct Recent(Mutex<HashMap<&'static str, Slot>>);

struct Slot {
    answer: watch::Sender<Option<Answered>>,
    is_asked: bool,
}

#[derive(Clone)]
struct Answered {
    at: Instant,
    answer: Result<Arc<RawValue>, Fault>,
}

impl Answered {
    /// What went wrong may be well again at once.
    fn is_fresh(&self, fresh: Duration) -> bool {
        let fresh = if self.answer.is_ok() { fresh } else { AGAIN };
        self.at.elapsed() <= fresh
    }
}

impl Desk {
    /// The answer to `ask`, which is the same question each time under this name, no older than `fresh`; an older one if that is not
    /// there `by` then; none if there is none yet.
    pub(crate) async fn recent<A: Ask>(
        self: &Arc<Self>,
        name: &'static str,
        ask: A,
        fresh: Duration,
        by: Instant,
    ) -> Option<Result<A::Answer, Fault>> {
        let mut answers = self.look(name, ask, fresh);
        let is_fresh = |told: &Option<Answered>| {
            let told = told.as_ref();
            told.is_some_and(|told| told.is_fresh(fresh))
        };
        let _ = timeout_at(by.into(), answers.wait_for(is_fresh)).await;
        let told = answers.borrow().clone()?;
        let read = |answer: Arc<RawValue>| serde_json::from_str(answer.get()).map_err(Fault::of);
        Some(told.answer.and_then(read))
    }

    /// Has the next one who looks wait for a new answer: also instead of one that is being made.
    pub(crate) fn forget(&self, name: &'static str) {
        self.recent.0.lock().remove(name);
    }

    /// Asks, unless that is being done or needs not be.
    fn look<A: Ask>(
        self: &Arc<Self>,
        name: &'static str,
        ask: A,
        fresh: Duration,
    ) -> watch::Receiver<Option<Answered>> {
        let mut slots = self.recent.0.lock();
        let slot = slots.entry(name).or_insert_with(|| Slot {
            answer: watch::Sender::new(None),
            is_asked: false,
        });
        let is_fresh = |told: &Answered| told.is_fresh(fresh);
        let is_told = slot.answer.borrow().as_ref().is_some_and(is_fresh);
        if !slot.is_asked && !is_told {
            slot.is_asked = true;
            let (desk, asked) = (Arc::clone(self), slot.answer.subscribe());
            tokio::spawn(async move {
                let by = Actor::Token("dashboard".into());
                let answer = desk.perform(ask.into(), by, None).await.map(Arc::from);
                if let Some(slot) = desk.recent.0.lock().get_mut(name)
                    && slot.answer.subscribe().same_channel(&asked)
                {
                    slot.is_asked = false;
                    let at = Instant::now();
                    slot.answer.send_replace(Some(Answered { at, answer }));
                }
            });
        }
        slot.answer.subscribe()
    }
}

const AGAIN: Duration = Duration::from_secs(1);
