//! Ids and times as JSON strings.

use envelope::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Writes with `Display`, reads with `FromStr`: for a type of `envelope`, which knows nothing of serde.
macro_rules! as_text {
    ($module:ident, $type:ty) => {
        pub(crate) mod $module {
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serializer};

            pub(crate) fn serialize<S: Serializer>(
                value: &$type,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                to.collect_str(value)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<$type, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
    };
}
as_text!(message_id, envelope::MessageId);

/// `MESSAGE.NUMBER`.
pub(crate) mod leg_id {
    use envelope::LegId;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::selector::Id;

    pub(crate) fn serialize<S: Serializer>(value: &LegId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<LegId, D::Error> {
        match String::deserialize(from)?.parse() {
            Ok(Id::Leg(leg)) => Ok(leg),
            _ => Err(D::Error::custom("not a leg id")),
        }
    }
}

/// RFC 3339.
pub(crate) mod timestamp {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        parse(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}

/// RFC 3339, or null.
pub(crate) mod timestamp_option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(time) => to.collect_str(time),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else {
            return Ok(None);
        };
        let time = parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))?;
        Ok(Some(time))
    }
}

/// Times before 1970 are none of ours.
fn parse(text: &str) -> Option<Timestamp> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339)
        .ok()?
        .unix_timestamp_nanos();
    let millis = u64::try_from(nanos / 1_000_000).ok()?;
    Some(Timestamp::from_unix_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_comes_back() {
        for millis in [0, 1, 1_795_264_496_789] {
            let time = Timestamp::from_unix_millis(millis);
            assert_eq!(parse(&time.to_string()), Some(time));
        }
        assert_eq!(parse("1969-12-31T23:59:59Z"), None);
        assert_eq!(parse("yesterday"), None);
    }
}
