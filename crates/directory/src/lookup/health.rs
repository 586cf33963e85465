//! Whether a source answers: who may try one that is down, and what is news about it.

use std::time::Duration;

use tokio::time::Instant;

use crate::Failed;

/// That a source is down, and why; or that it answers again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Of which.
    pub name: String,
    /// Why it cannot be asked.
    pub error: Option<String>,
}

/// A source that cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Which.
    pub name: String,
    /// For how long.
    pub span: Duration,
    /// Why.
    pub error: String,
}

#[derive(Debug, Default)]
pub(super) struct Health {
    down: Option<Outage>,
    /// The last news were that it is down.
    pub(super) told: bool,
    news: Option<Option<String>>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    /// When it may be tried again.
    next: Instant,
    error: Failed,
}

impl Health {
    pub(super) fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// It is down, and nobody is to try it yet.
    pub(super) fn rests(&self) -> bool {
        let now = Instant::now();
        self.down.as_ref().is_some_and(|outage| now < outage.next)
    }

    pub(super) fn down(&self, name: &str) -> Option<Down> {
        let Outage { since, error, .. } = self.down.as_ref()?;
        Some(Down {
            name: name.to_owned(),
            span: since.elapsed(),
            error: error.to_string(),
        })
    }

    pub(super) fn news(&mut self, name: &str) -> Option<News> {
        let error = self.news.take()?;
        let name = name.to_owned();
        Some(News { name, error })
    }

    /// Whether it may be asked now, which takes so long at most.
    pub(super) fn may_ask(&mut self, within: Duration) -> Result<(), Failed> {
        if let Some(outage) = &mut self.down {
            if Instant::now() < outage.next {
                return Err(outage.error.clone());
            }
            // This question tries; until it knows, the others are told what was known before.
            outage.next = Instant::now() + within;
        }
        Ok(())
    }

    /// Keeps whether it answers, and what is new about that.
    pub(super) fn note(&mut self, down: Option<Failed>) {
        if self.told != down.is_some() {
            self.told = down.is_some();
            self.news = Some(down.as_ref().map(ToString::to_string));
        }
        let now = Instant::now();
        let since = self.down.as_ref().map_or(now, |outage| outage.since);
        self.down = down.map(|error| Outage {
            since,
            next: now + TRY_AGAIN,
            error,
        });
    }
}

/// How long a source that is down is not asked.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(1);
