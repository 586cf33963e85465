//! What a type looks like as JSON (JSON Schema), asked of its own `Deserialize`: no second list of fields that could differ.
//!
//! The type is read from a document that does not exist, again and again: each time along one path into it, until it says what it
//! wants to read at the end of the path. It does not tell what is in flattened fields and tuples.

use serde::Deserializer;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

/// The schema of a type.
pub(crate) fn of<T: DeserializeOwned>() -> Value {
    at::<T>(&mut Vec::new())
}

fn at<T: DeserializeOwned>(path: &mut Vec<usize>) -> Value {
    if path.len() > DEPTH_MAX {
        return json!({});
    }
    let mut wanted = Wanted::Value(json!({}));
    // Never read to the end.
    let _ = T::deserialize(Probe {
        path,
        wanted: &mut wanted,
    });
    let mut below = |step| {
        path.push(step);
        let schema = at::<T>(path);
        path.pop();
        schema
    };
    match wanted {
        Wanted::Value(schema) => schema,
        Wanted::Option => match below(0) {
            Value::Object(mut schema) => {
                if let Some(kind) = schema.remove("type") {
                    schema.insert("type".to_owned(), json!([kind, "null"]));
                }
                if let Some(Value::Array(names)) = schema.get_mut("enum") {
                    names.push(Value::Null);
                }
                schema.into()
            }
            schema => schema,
        },
        Wanted::List => json!({"type": "array", "items": below(0)}),
        Wanted::Map => json!({"type": "object", "additionalProperties": below(0)}),
        Wanted::Record(names) => {
            let fields = names.iter().enumerate();
            let fields: Map<_, _> = fields
                .map(|(step, name)| ((*name).to_owned(), below(step)))
                .collect();
            json!({"type": "object", "properties": fields})
        }
    }
}

/// What a type wants to read.
enum Wanted {
    Value(Value),
    Option,
    List,
    Map,
    Record(&'static [&'static str]),
}

/// Leads a type along a path.
struct Probe<'a> {
    path: &'a [usize],
    wanted: &'a mut Wanted,
}

impl<'a> Probe<'a> {
    fn end<T>(self, wanted: Wanted) -> Result<T, Error> {
        *self.wanted = wanted;
        Err(Error::custom("this is as far as it goes"))
    }

    /// The step that is next, and the probe behind it; at the end of the path, what is wanted is noted.
    fn step(self, wanted: Wanted) -> Result<(usize, Self), Error> {
        let Self { path, .. } = self;
        match path.split_first() {
            None => self.end(wanted),
            Some((step, path)) => Ok((*step, Self { path, ..self })),
        }
    }
}

macro_rules! values {
    ($($schema:tt: $($method:ident)+;)+) => {
        $($(
            fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
                self.end(Wanted::Value(json!($schema)))
            }
        )+)+
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    values! {
        {"type": "boolean"}: deserialize_bool;
        {"type": "integer"}: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
            deserialize_u32 deserialize_u64;
        {"type": "number"}: deserialize_f32 deserialize_f64;
        {"type": "string"}: deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
            deserialize_identifier;
        {"type": "null"}: deserialize_unit;
        {}: deserialize_any deserialize_ignored_any;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (_, probe) = self.step(Wanted::Option)?;
        visitor.visit_some(probe)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (_, probe) = self.step(Wanted::List)?;
        visitor.visit_seq(One("", probe))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (_, probe) = self.step(Wanted::Map)?;
        visitor.visit_map(One("", probe))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (step, probe) = self.step(Wanted::Record(names))?;
        visitor.visit_map(One(names[step], probe))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.end(Wanted::Value(json!({"type": "string", "enum": names})))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, _: V) -> Result<V::Value, Error> {
        let schema = json!({"type": "array", "minItems": len, "maxItems": len});
        self.end(Wanted::Value(schema))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }
}

/// The one field or element that is on the path. The value is asked for first, and never comes.
struct One<'a>(&'static str, Probe<'a>);

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        seed.deserialize(StrDeserializer::new(self.0)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Probe { path, wanted } = &mut self.1;
        seed.deserialize(Probe { path, wanted })
    }
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.next_value_seed(seed).map(Some)
    }
}

/// Nothing that travels is deeper.
const DEPTH_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::protocol::Part;
    use crate::text;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "it is never made")]
    struct Sample {
        #[serde(with = "text")]
        id: envelope::MessageId,
        #[serde(default)]
        part: Option<Part>,
        counts: BTreeMap<String, u64>,
        rows: Vec<Row>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "it is never made")]
    struct Row {
        on: bool,
        pair: (String, u64),
    }

    #[test]
    fn a_type_says_what_it_reads() {
        let expected = json!({"type": "object", "properties": {
            "id": {"type": "string"},
            "part": {"type": ["string", "null"], "enum": ["header", "body", "whole", null]},
            "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
            "rows": {"type": "array", "items": {"type": "object", "properties": {
                "on": {"type": "boolean"},
                "pair": {"type": "array", "minItems": 2, "maxItems": 2},
            }}},
        }});
        assert_eq!(of::<Sample>(), expected);
    }
}
