//! A point in time as mail needs it: milliseconds since the Unix epoch, UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// Milliseconds since 1970-01-01 00:00 UTC. Never taken from a clock here: it is passed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

/// A text that is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time")]
pub struct NotATime;

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn unix_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Later by `span`; stays at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// Earlier by `span`; stays at the epoch instead of wrapping.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `Sat, 21 Nov 2026 12:34:56 +0000` (RFC 5322 §3.3).
    pub fn rfc5322(self) -> String {
        let format = format_description!(
            "[weekday repr:short], [day padding:none] [month repr:short] [year] [hour]:[minute]:[second] +0000"
        );
        self.date().format(&format).unwrap_or_default()
    }

    /// Times that the calendar cannot hold (beyond the year 9999) become the epoch: they are no real mail's.
    fn date(self) -> OffsetDateTime {
        i64::try_from(self.unix_secs())
            .ok()
            .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

/// `2026-11-21T12:34:56.789Z` (RFC 3339).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
        let date = self.date().format(&format).map_err(|_| fmt::Error)?;
        write!(f, "{date}.{:03}Z", self.0 % 1000)
    }
}

/// The whole milliseconds of a span: as many as there are numbers for.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Of RFC 3339. Times before 1970 are none of ours.
impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NotATime)?;
        let millis = u64::try_from(time.unix_timestamp_nanos() / 1_000_000);
        millis.map(Self).map_err(|_| NotATime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let t = Timestamp::from_unix_millis(1_795_264_496_789);
        assert_eq!(t.to_string(), "2026-11-21T12:34:56.789Z");
        assert_eq!(t.rfc5322(), "Sat, 21 Nov 2026 12:34:56 +0000");
        let first = Timestamp::from_unix_millis(0);
        assert_eq!(first.rfc5322(), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(
            Timestamp::from_unix_millis(u64::MAX).rfc5322(),
            first.rfc5322()
        );
    }

    #[test]
    fn time_ends_at_both_ends() {
        let time = Timestamp::from_unix_millis(1500);
        let second = Duration::from_millis(1000);
        assert_eq!(time.plus(second).minus(second), time);
        assert_eq!(time.minus(Duration::MAX), Timestamp::default());
        assert_eq!(time.plus(Duration::MAX).unix_millis(), u64::MAX);
    }

    #[test]
    fn what_is_written_is_read() {
        for millis in [0, 1, 1_795_264_496_789] {
            let time = Timestamp::from_unix_millis(millis);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        for none in ["1969-12-31T23:59:59Z", "yesterday"] {
            assert_eq!(none.parse::<Timestamp>(), Err(NotATime), "{none}");
        }
    }
}
