//! Times of many events, kept as a histogram of microseconds: recorded, merged, summed up.
//!
//! Values are exact to 0.1 % from 1 µs to an hour; what is longer counts as an hour. Two histograms merge without loss, so
//! percentiles over several runs are those of all events, never an average of percentiles.
//! It does not know what was timed, nor from when: an open loop must pass the time since the *intended* moment.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Recorded times.
#[derive(Clone)]
pub(crate) struct Latency {
    micros: Histogram<u64>,
}

/// What a histogram comes to, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// How many events.
    pub(crate) count: u64,
    /// The mean.
    pub(crate) mean: f64,
    /// Half took at most this long.
    pub(crate) p50: u64,
    /// 90 %.
    pub(crate) p90: u64,
    /// 99 %.
    pub(crate) p99: u64,
    /// 99.9 %.
    pub(crate) p999: u64,
    /// The longest.
    pub(crate) max: u64,
}

impl Latency {
    /// Nothing recorded.
    pub(crate) fn new() -> Self {
        let Ok(micros) = Histogram::new_with_bounds(1, HOUR_MICROS, DIGITS) else {
            unreachable!("the bounds and the digits are in hdrhistogram's range");
        };
        Self { micros }
    }

    /// Records one event.
    pub(crate) fn record(&mut self, time: Duration) {
        self.record_micros(u64::try_from(time.as_micros()).unwrap_or(HOUR_MICROS));
    }

    /// Records one event by its microseconds.
    pub(crate) fn record_micros(&mut self, micros: u64) {
        self.micros.saturating_record(micros);
    }

    /// Puts all events of `other` in.
    pub(crate) fn merge(&mut self, other: &Self) {
        let merged = self.micros.add(&other.micros);
        assert!(merged.is_ok(), "all histograms have the same bounds");
    }

    /// The figures of a table.
    pub(crate) fn summary(&self) -> Summary {
        if self.micros.is_empty() {
            return Summary::default();
        }
        Summary {
            count: self.micros.len(),
            mean: self.micros.mean(),
            p50: self.micros.value_at_quantile(0.5),
            p90: self.micros.value_at_quantile(0.9),
            p99: self.micros.value_at_quantile(0.99),
            p999: self.micros.value_at_quantile(0.999),
            max: self.micros.max(),
        }
    }
}

/// One line: count, mean, percentiles, the longest.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("none");
        }
        let millis = |micros: u64| micros as f64 / 1000.0;
        write!(
            f,
            "p50 {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}, mean {:.2}",
            millis(self.p50),
            millis(self.p90),
            millis(self.p99),
            millis(self.p999),
            millis(self.max),
            self.mean / 1000.0
        )
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latency({})", self.summary())
    }
}

const HOUR_MICROS: u64 = 3_600_000_000;
/// Significant decimal digits of a value.
const DIGITS: u8 = 3;
