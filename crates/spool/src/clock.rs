//! A clock that is handed to those who need the time: the system's, or one that a test turns by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use envelope::{Timestamp, millis};

/// Tells the time. Clones of a manual clock are turned together.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// The system's clock.
    pub fn real() -> Self {
        Self(None)
    }

    /// A clock that stands at `start` until it is turned.
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicU64::new(start.unix_millis()))))
    }

    /// Whether a test turns it.
    pub fn is_manual(&self) -> bool {
        self.0.is_some()
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        let millis = match &self.0 {
            Some(manual) => manual.load(Ordering::SeqCst),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.map_or(0, millis)
            }
        };
        Timestamp::from_unix_millis(millis)
    }

    /// Turns a manual clock to a moment, forth or back. The system's stays as it is.
    pub fn set(&self, to: Timestamp) {
        if let Some(manual) = &self.0 {
            manual.store(to.unix_millis(), Ordering::SeqCst);
        }
    }

    /// Turns a manual clock on. The system's stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.0 {
            manual.fetch_add(millis(by), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_is_turned_for_all_who_have_it() {
        let clock = Clock::manual(Timestamp::from_unix_millis(5));
        let other = clock.clone();
        clock.advance(Duration::from_secs(1));
        assert_eq!(other.now().unix_millis(), 1005);
    }
}
