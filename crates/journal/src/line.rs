//! One event as one line of text or JSON.
//!
//! Whatever a peer put into a value, the line stays one line: text values with anything but plain printable
//! characters are quoted, and control characters escaped.

use std::fmt::{Display, Write};
use std::time::Duration;

use envelope::{Actor, LegId, MessageId};
use serde::Deserialize;

use crate::{Entry, Event, shown};

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `key=value`, for people.
    #[default]
    Text,
    /// The same without the time, for a reader that notes the time itself: journald.
    #[serde(skip)]
    Untimed,
    /// One JSON document a line.
    Json,
}

/// Takes an event's fields one by one, in the order in which they are shown.
pub(super) trait Fields {
    fn text(&mut self, key: &str, value: &dyn Display);
    fn number(&mut self, key: &str, value: u64);
}

impl dyn Fields + '_ {
    pub(super) fn optional<T: Display>(&mut self, key: &str, value: &Option<T>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(super) fn if_any(&mut self, key: &str, text: &impl AsRef<str>) {
        if !text.as_ref().is_empty() {
            self.text(key, &text.as_ref());
        }
    }

    pub(super) fn list(&mut self, key: &str, texts: &[String]) {
        self.if_any(key, &texts.join(","));
    }

    pub(super) fn count<N: Copy + Into<u64>>(&mut self, key: &str, value: &N) {
        self.number(key, (*value).into());
    }

    pub(super) fn count_if<N: Copy + Into<u64>>(&mut self, key: &str, value: &Option<N>) {
        if let Some(value) = value {
            self.count(key, value);
        }
    }

    /// A user by `key`; the name of a token always by `by`.
    pub(super) fn by(&mut self, key: &str, by: &Actor) {
        match by {
            Actor::Uid(uid) => self.count(key, uid),
            Actor::Token(name) => self.text("by", name),
        }
    }

    pub(super) fn by_if(&mut self, key: &str, by: &Option<Actor>) {
        if let Some(by) = by {
            self.by(key, by);
        }
    }

    pub(super) fn leg(&mut self, key: &str, id: &LegId) {
        self.count(key, &id.number);
    }

    pub(super) fn millis(&mut self, key: &str, span: &Duration) {
        self.number(key, envelope::millis(*span));
    }

    pub(super) fn secs(&mut self, key: &str, span: &Duration) {
        self.number(key, span.as_secs());
    }
}

/// The line with its line feed.
pub(super) fn render(format: Format, Entry { at, event }: &Entry) -> String {
    let mut line = String::with_capacity(320);
    match format {
        Format::Text | Format::Untimed => {
            if format == Format::Text {
                put(&mut line, format_args!("{at} "));
            }
            let id = event
                .message()
                .map_or_else(|| "-".to_owned(), |id: MessageId| id.to_string());
            put(&mut line, format_args!("{id} {}", event.name()));
            event.fields(&mut Text { line: &mut line });
        }
        Format::Json => {
            put(
                &mut line,
                format_args!("{{\"time\":\"{at}\",\"event\":\"{}\"", event.name()),
            );
            let mut json = Json {
                line: &mut line,
                value: String::new(),
            };
            if let Some(id) = event.message() {
                json.text("id", &id);
            }
            event.fields(&mut json);
            line.push('}');
        }
    }
    line.push('\n');
    line
}

/// The fields alone, as the text line has them.
pub(super) fn fields(event: &Event) -> String {
    let mut line = String::new();
    event.fields(&mut Text { line: &mut line });
    line.split_off(line.len().min(1))
}

struct Text<'a> {
    line: &'a mut String,
}

struct Json<'a> {
    line: &'a mut String,
    value: String,
}

impl Fields for Text<'_> {
    fn text(&mut self, key: &str, value: &dyn Display) {
        put(self.line, format_args!(" {key}="));
        let start = self.line.len();
        put(self.line, format_args!("{value}"));
        let value = &self.line[start..];
        let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if value.is_empty() || !value.bytes().all(plain) {
            let quoted = format!("{value:?}");
            self.line.replace_range(start.., &quoted);
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        put(self.line, format_args!(" {key}={value}"));
    }
}

impl Fields for Json<'_> {
    fn text(&mut self, key: &str, value: &dyn Display) {
        self.value.clear();
        put(&mut self.value, format_args!("{value}"));
        let value = serde_json::Value::String(std::mem::take(&mut self.value));
        let value = value.to_string();
        put(
            self.line,
            format_args!(",\"{key}\":{}", shown::json(&value)),
        );
    }

    fn number(&mut self, key: &str, value: u64) {
        put(self.line, format_args!(",\"{key}\":{value}"));
    }
}

/// Writing to a string fails only when a value's own `Display` does; the rest of the line is still worth having.
fn put(line: &mut String, args: std::fmt::Arguments<'_>) {
    let _ = line.write_fmt(args);
}

#[cfg(test)]
mod tests {
    use envelope::Timestamp;

    use super::*;

    fn failed(error: &str) -> Entry {
        Entry {
            at: Timestamp::from_unix_millis(0),
            event: Event::ReloadFailed {
                error: error.into(),
            },
        }
    }

    #[test]
    fn what_turns_a_line_round_is_escaped() {
        let entry = failed("a\u{202e}b\u{200b}");
        for format in [Format::Text, Format::Untimed, Format::Json] {
            let line = entry.line(format);
            assert!(line.is_ascii() && line.contains("202e"), "{line}");
        }
    }

    #[track_caller]
    fn check(format: Format, expected: &str) {
        let entry = failed("forwards:3:1: \"x\"\nhint: y");
        assert_eq!(entry.line(format), expected);
    }

    #[test]
    fn a_value_never_ends_its_line() {
        check(
            Format::Text,
            "1970-01-01T00:00:00.000Z - reload-failed error=\"forwards:3:1: \\\"x\\\"\\nhint: y\"\n",
        );
        check(
            Format::Untimed,
            "- reload-failed error=\"forwards:3:1: \\\"x\\\"\\nhint: y\"\n",
        );
        check(
            Format::Json,
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"event\":\"reload-failed\",\"error\":\"forwards:3:1: \\\"x\\\"\\nhint: y\"}\n",
        );
    }
}
