//! Values as they are written in the file: with units, `"4h"`, `"25 MiB"`; a single table where several are allowed.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{
    Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};

/// A span of time: `"90s"`, `"5m"`, `"4h"`, `"21d"`, also joined: `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span(pub(crate) Duration);

/// An amount of octets: a number, or `"25 MiB"`, `"100MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size(pub(crate) u64);

/// A network, or one address: `"192.0.2.0/24"`, `"2001:db8::1"`. An IPv4-mapped IPv6 network is read as the
/// IPv4 network that it contains, because clients are compared in that form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) IpNet);

impl Span {
    const MAX: Self = Self::days(36_525);

    pub(crate) const fn days(days: u64) -> Self {
        Self(Duration::from_hours(24 * days))
    }
}

/// Reads `[name]` like a single `[[name]]`, and a text like a list of one.
pub(super) fn one_or_more<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct OneOrMore<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one or several")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            T::deserialize(text.into_deserializer()).map(|one| vec![one])
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }

    deserializer.deserialize_any(OneOrMore(PhantomData))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span = humantime::parse_duration(&text)
            .map_err(|e| D::Error::custom(format!("`{text}` is not a span of time: {e}")))?;
        // Anything longer could overflow when it is added to the time.
        if span > Self::MAX.0 {
            return Err(D::Error::custom(format!("`{text}` is over 100 years")));
        }
        Ok(Self(span))
    }
}

/// A share: `"20%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) u8);

impl Percent {
    /// Whether `part` is more than this share of `whole`.
    pub(crate) fn is_under(self, part: usize, whole: usize) -> bool {
        part.saturating_mul(100) > whole.saturating_mul(usize::from(self.0))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text
            .strip_suffix('%')
            .and_then(|number| number.trim().parse().ok());
        number
            .filter(|percent| *percent <= 100)
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is no share: write `20%`")))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = relay::lists::network(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is not a network: write `192.0.2.0/24`, `2001:db8::/32` or one address"
            ))
        });
        network.map(Self)
    }
}

/// Reads a number, a span or a size that must not be zero.
pub(super) fn more_than_zero<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    let value = T::deserialize(deserializer)?;
    if value == T::default() {
        return Err(D::Error::custom(ZERO));
    }
    Ok(value)
}

/// Reads a text that says itself what it is.
pub(super) fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    let wrong = |error| D::Error::custom(format!("`{text}`: {error}"));
    text.parse().map_err(wrong)
}

/// The same of a key that may be left out.
pub(super) fn some_parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    parsed(deserializer).map(Some)
}

/// Reads several of them.
pub(super) fn each_parsed<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    let each = texts.iter().map(|text| text.parse());
    each.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// Reads pauses between attempts: at least one, each of them above zero.
pub(super) fn pauses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Span>, D::Error> {
    let pauses: Vec<Span> = more_than_zero(deserializer)?;
    match pauses.contains(&Span::default()) {
        true => Err(D::Error::custom(ZERO)),
        false => Ok(pauses),
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bytesize::ByteSize::deserialize(deserializer).map(|size| Self(size.as_u64()))
    }
}

const ZERO: &str =
    "zero would refuse all mail, or never deliver any; leave the key out to get its default";
