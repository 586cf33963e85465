//! What a site is spared: few callouts at once, few a minute, and none for a while after one that came to nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::Diagnosis;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{NO_ANSWER, UNKNOWN_KEPT};
use crate::memory::HostMemory;

/// The callouts to one site.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) memory: HostMemory,
    turns: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why it is left alone, and until when.
    trouble: Option<(Diagnosis, Instant)>,
    /// When the current minute began, and the callouts in it.
    minute: Option<Instant>,
    callouts: u32,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            memory: HostMemory::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            state: Mutex::default(),
        }
    }
}

impl Site {
    /// Waits until few enough callouts are running.
    pub(super) async fn turn(&self) -> OwnedSemaphorePermit {
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            unreachable!("the semaphore is never closed")
        };
        turn
    }

    /// Counts a callout that begins now, or says why there is to be none.
    pub(super) fn count(&self, now: Instant) -> Result<(), Diagnosis> {
        let mut state = self.state.lock();
        if let Some((reason, _)) = state.trouble.as_ref().filter(|(_, until)| now < *until) {
            return Err(reason.clone());
        }
        if state.minute.is_none_or(|begun| now >= begun + MINUTE) {
            (state.minute, state.callouts) = (Some(now), 0);
        }
        if state.callouts >= A_MINUTE_MAX {
            let text = "too many callouts to its site in a minute";
            return Err(Diagnosis::local(NO_ANSWER, text));
        }
        state.callouts += 1;
        Ok(())
    }

    /// What was met concerns all of its addresses: none of them is asked about for a while.
    pub(super) fn leave_alone(&self, reason: Diagnosis, now: Instant) {
        self.state.lock().trouble = Some((reason, now + UNKNOWN_KEPT));
    }
}

/// Callouts to one site at once.
const AT_ONCE_MAX: usize = 2;
/// Callouts to one site in a minute.
const A_MINUTE_MAX: u32 = 60;
const MINUTE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_a_minute_and_none_after_trouble() {
        let (site, start) = (Site::default(), Instant::now());
        let after = |secs| start + Duration::from_secs(secs);
        for second in 0..60 {
            assert_eq!(site.count(after(second)), Ok(()));
        }
        let refused = site.count(after(59)).unwrap_err();
        assert_eq!(refused.text, "too many callouts to its site in a minute");
        assert_eq!(site.count(after(60)), Ok(()));
        let down = Diagnosis::local(NO_ANSWER, "connection refused");
        site.leave_alone(down.clone(), after(61));
        assert_eq!(site.count(after(62)), Err(down));
        assert_eq!(site.count(after(62) + UNKNOWN_KEPT), Ok(()));
    }
}
