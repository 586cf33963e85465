//! Ids and times as JSON strings, for types of `envelope`, which knows nothing of serde: written by their `Display`.

use std::fmt::Display;

use envelope::{LegId, MessageId, Timestamp};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::selector::Id;

/// The way back; the error says what the text is not.
pub(crate) trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, String>;
}

impl FromText for MessageId {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse::<Self>().map_err(|error| error.to_string())
    }
}

/// `MESSAGE.NUMBER`.
impl FromText for LegId {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(Id::Leg(leg)) => Ok(leg),
            _ => Err("not a leg id".to_owned()),
        }
    }
}

/// RFC 3339. Times before 1970 are none of ours.
impl FromText for Timestamp {
    fn from_text(text: &str) -> Result<Self, String> {
        let time = OffsetDateTime::parse(text, &Rfc3339).ok();
        let millis = time.and_then(|t| u64::try_from(t.unix_timestamp_nanos() / 1_000_000).ok());
        millis
            .map(Self::from_unix_millis)
            .ok_or_else(|| "not an RFC 3339 time".to_owned())
    }
}

pub(crate) fn serialize<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

pub(crate) fn deserialize<'de, T: FromText, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    T::from_text(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// The same, or null.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<impl Display>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: FromText, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let value = text.map(|text| T::from_text(&text)).transpose();
        value.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_comes_back() {
        for millis in [0, 1, 1_795_264_496_789] {
            let time = Timestamp::from_unix_millis(millis);
            assert_eq!(Timestamp::from_text(&time.to_string()), Ok(time));
        }
        for none in ["1969-12-31T23:59:59Z", "yesterday"] {
            assert!(Timestamp::from_text(none).is_err(), "{none}");
        }
    }
}
