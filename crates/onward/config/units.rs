//! Values with units as they are written in the file: `"4h"`, `"25 MiB"`.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

/// A span of time: `"90s"`, `"5m"`, `"4h"`, `"21d"`, also joined: `"1h 30m"`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// An amount of octets: a number, or `"25 MiB"`, `"100MB"`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Span {
    pub(crate) const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    pub(crate) const fn mins(mins: u64) -> Self {
        Self::secs(60 * mins)
    }

    pub(crate) const fn hours(hours: u64) -> Self {
        Self::mins(60 * hours)
    }

    pub(crate) const fn days(days: u64) -> Self {
        Self::hours(24 * days)
    }
}

impl Size {
    pub(crate) const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|e| D::Error::custom(format!("`{text}` is no span of time: {e}")))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytesize::ByteSize::deserialize(deserializer).map(|size| Self(size.as_u64()))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize(self.0).fmt(f)
    }
}
