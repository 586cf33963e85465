//! Wrong passwords are answered late, and later each time: who tries many waits most of the time.
//!
//! Only so many wait at once. Beyond that a client is sent away, and has to connect and do its handshake again.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Those who wait.
pub(super) struct Guesses {
    room: Semaphore,
}

impl Guesses {
    /// Waits, after so many failures on one connection; false when there is no room to wait in.
    pub(super) async fn slow(&self, failures: u32) -> bool {
        let Ok(_room) = self.room.try_acquire() else {
            return false;
        };
        sleep(pause(failures)).await;
        true
    }
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            room: Semaphore::new(WAITING_MAX),
        }
    }
}

/// 1, 2, 4, then 8 seconds: an honest user hardly notices the first, and no client gives up at the last.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(3))
}

/// Each holds a connection, of which there are few thousand.
const WAITING_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let seconds = [1, 2, 3, 4, 5, u32::MAX].map(|failures| pause(failures).as_secs());
        assert_eq!(seconds, [1, 2, 4, 8, 8, 8]);
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let guesses = Guesses {
            room: Semaphore::new(0),
        };
        assert!(!guesses.slow(1).await);
    }
}
