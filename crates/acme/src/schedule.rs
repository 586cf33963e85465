//! When a certificate is asked for. Time and chance are arguments.

use std::time::Duration;

use envelope::Timestamp;

/// The time in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) begin: Timestamp,
    pub(crate) end: Timestamp,
}

impl Life {
    /// When to renew: when the server suggests it (RFC 9773 §4.2), or after two thirds. `chance` (from 0 to 1) is drawn once for a
    /// certificate, so that not all relays come at the same moment. A window that makes no sense does not let the certificate expire.
    pub(crate) fn renewal(self, window: Option<(Timestamp, Timestamp)>, chance: f64) -> Timestamp {
        let life = self.end.since(self.begin);
        let Some((start, end)) = window else {
            return self.begin.plus(life.mul_f64(2.0 / 3.0 + chance / 30.0));
        };
        let latest = self.begin.plus(life.mul_f64(0.9));
        let wanted = start.plus(end.since(start).mul_f64(chance));
        wanted.min(latest)
    }

    /// Before this, one that was issued `now` is not renewed, whatever its dates and the server say: a server with a wrong clock would
    /// have us order without end.
    pub(crate) fn rest(self, now: Timestamp) -> Timestamp {
        now.plus(DAY.min(self.end.since(now) / 4))
    }
}

/// How long to wait after so many failures in a row: longer each time, and no shorter than the server asks for. Let's Encrypt allows
/// five failed proofs of a name an hour.
pub(crate) fn pause(failures: u32, told: Option<Duration>, chance: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let own = doubled.min(LONGEST).mul_f64(0.75 + chance / 2.0);
    told.map_or(own, |told| own.max(told.min(TOLD_MAX)))
}

const FIRST: Duration = Duration::from_mins(5);
const LONGEST: Duration = Duration::from_hours(12);
/// The longest window of a rate limit that a public server has.
const TOLD_MAX: Duration = Duration::from_hours(7 * 24);
const DAY: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[track_caller]
    fn renewed(days: u64, window: Option<(u64, u64)>, chance: f64, expected_hour: u64) {
        let at = |hour: u64| Timestamp::from_unix_millis(hour * HOUR);
        let life = Life {
            begin: at(1000),
            end: at(1000 + days * 24),
        };
        let window = window.map(|(start, end)| (at(1000 + start), at(1000 + end)));
        let found = life.renewal(window, chance).unix_millis() / HOUR;
        assert_eq!(found - 1000, expected_hour);
    }

    #[test]
    fn renewed_in_time() {
        renewed(90, None, 0.0, 60 * 24);
        renewed(90, None, 1.0, 63 * 24);
        renewed(6, None, 0.0, 4 * 24);
        let window = Some((50 * 24, 52 * 24));
        renewed(90, window, 0.0, 50 * 24);
        renewed(90, window, 0.5, 51 * 24);
        // It is to be replaced at once: in time for a revocation.
        renewed(90, Some((0, 2)), 0.5, 1);
        // Windows without sense.
        renewed(90, Some((400 * 24, 500 * 24)), 0.5, 81 * 24);
        renewed(90, Some((52 * 24, 50 * 24)), 0.5, 52 * 24);
    }

    #[test]
    fn not_twice_a_day() {
        let at = Timestamp::from_unix_millis;
        let rest = |hours: u64| {
            let (begin, end) = (at(0), at(hours * HOUR));
            Life { begin, end }.rest(at(1000 * HOUR)).unix_millis() / HOUR - 1000
        };
        assert_eq!((rest(1000 + 90 * 24), rest(1008), rest(900)), (24, 2, 0));
    }

    #[track_caller]
    fn paused(failures: u32, told: Option<u64>, chance: f64, expected_secs: u64) {
        let told = told.map(Duration::from_secs);
        let found = pause(failures, told, chance);
        assert_eq!(found.as_secs(), expected_secs);
    }

    #[test]
    fn patient_with_the_server() {
        paused(1, None, 0.5, 300);
        paused(1, None, 0.0, 225);
        paused(1, None, 1.0, 375);
        paused(2, None, 0.5, 600);
        paused(4, None, 0.5, 2400);
        paused(9, None, 0.5, 43_200);
        paused(u32::MAX, None, 0.5, 43_200);
        paused(1, Some(1), 0.5, 300);
        paused(1, Some(7200), 0.5, 7200);
        paused(1, Some(u64::MAX), 0.5, 604_800);
    }
}
