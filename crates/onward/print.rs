//! Where commands print: plain lines for people, or one JSON document for machines.

use std::borrow::Cow;
use std::fmt::{Debug, Display};
use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use control::Fault;
use journal::shown;

/// Standard output in one of two forms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    pub(crate) json: bool,
    /// What reads it knows UTF-8.
    pub(crate) utf8: bool,
}

impl Printer {
    /// As the locale says what the terminal knows.
    pub(crate) fn new(json: bool) -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let utf8 = locale.is_some_and(|name| {
            let name = name.to_lowercase();
            name.contains("utf-8") || name.contains("utf8")
        });
        Self { json, utf8 }
    }

    /// One line for people, or several. A reader that has gone away (`| head`) is no error.
    pub(crate) fn line(self, text: impl Display) {
        let _ = writeln!(io::stdout().lock(), "{}", self.shown(&text.to_string()));
    }

    /// How many of something there are, if there are any.
    pub(crate) fn any(self, count: u64, what: &str) {
        if count > 0 {
            self.line(format_args!("{count} {what}"));
        }
    }

    pub(crate) fn lines(self, lines: impl IntoIterator<Item = impl Display>) {
        lines.into_iter().for_each(|line| self.line(line));
    }

    /// Rows under heads, each column as wide as it must be. A head that begins with `>` stands over numbers.
    pub(crate) fn table(
        self,
        heads: impl IntoIterator<Item = impl AsRef<str>>,
        rows: impl IntoIterator<Item = impl IntoIterator<Item = String>>,
    ) {
        let heads: Vec<_> = heads.into_iter().collect();
        let cell = |text: &str| Cell::new(shown::line(text));
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let bare = |head: &str| cell(head.trim_start_matches('>'));
        table.set_header(heads.iter().map(|head| bare(head.as_ref())));
        for row in rows {
            table.add_row(row.into_iter().map(|text| cell(&text)));
        }
        for (column, head) in table.column_iter_mut().zip(heads) {
            column.set_padding((0, 2));
            if head.as_ref().starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.line(table.trim_fmt());
    }

    /// `value` as JSON, or as `human` says it.
    pub(crate) fn value<T: Serialize>(self, value: &T, human: impl FnOnce(Self, &T)) {
        if !self.json {
            return human(self, value);
        }
        match serde_json::to_string_pretty(value) {
            Ok(text) => {
                let _ = writeln!(io::stdout().lock(), "{}", shown::json(&text));
            }
            Err(error) => self.complain(format_args!("cannot write JSON: {error}")),
        }
    }

    /// Bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(bytes)
    }

    /// Something to know beside what was asked for: on standard error.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", self.shown(text));
    }

    /// What went wrong, in the form that all commands share: on standard error, or as the JSON document that is asked for.
    pub(crate) fn complain(self, text: impl Display) {
        if !self.json {
            let text = text.to_string();
            let _ = writeln!(io::stderr().lock(), "error: {}", self.shown(&text));
            return;
        }
        let fault = Fault::of(text);
        let document = serde_json::json!({ "error": fault.message, "hint": fault.hint });
        let _ = writeln!(
            io::stdout().lock(),
            "{}",
            shown::json(&document.to_string())
        );
    }

    /// As it can be shown: nothing of a stranger's text obeyed, and our own signs in ASCII where others are not known.
    pub(crate) fn shown(self, text: &str) -> Cow<'_, str> {
        let text = shown::lines(text);
        if self.utf8 || text.is_ascii() {
            return text;
        }
        let ours = [("→", "->"), ("…", "..."), ("−", "-"), ("·", "-")];
        let ascii = |text: String, (sign, plain): (&str, &str)| text.replace(sign, plain);
        let text = ours.into_iter().fold(text.into_owned(), ascii);
        let known = |c: char| match c.is_ascii() {
            true => c.to_string(),
            false => c.escape_unicode().to_string(),
        };
        text.chars().map(known).collect::<String>().into()
    }
}

/// A number of things: `1 leg`, `2 legs`. For words that form their plural with an s.
pub(crate) fn plural(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// A span in at most two units: `420ms`, `3m 5s`, `2d 1h`.
pub(crate) fn span(millis: u64) -> String {
    let whole = match millis {
        0..1000 => millis,
        _ => millis / 1000 * 1000,
    };
    let text = humantime::format_duration(Duration::from_millis(whole)).to_string();
    let end = text
        .match_indices(' ')
        .nth(1)
        .map_or(text.len(), |(at, _)| at);
    text[..end].replace("days", "d").replace("day", "d")
}

/// How a line of `tracing` shows its fields: what a peer said in them stays on the line, as in the mail log.
pub(crate) fn escaped_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    let write = |out: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        let value = format!("{value:?}");
        let value = shown::line(&value);
        match field.name() {
            "message" => write!(out, "{value}"),
            name => write!(out, "{name}={value}"),
        }
    };
    debug_fn(write).delimited(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn signs_are_ascii_where_nothing_else_is_known() {
        let (utf8, ascii) = [true, false]
            .map(|utf8| Printer { json: false, utf8 })
            .into();
        let text = "a → b\u{fc} …\u{1b}";
        assert_eq!(utf8.shown(text), "a → b\u{fc} …\\u{1b}");
        assert_eq!(ascii.shown(text), "a -> b\\u{fc} ...\\u{1b}");
        let spans = [0, 420, 185_400, 90_061_000].map(span);
        assert_eq!(spans, ["0s", "420ms", "3m 5s", "1d 1h"]);
        assert_eq!(plural(1, "leg") + &plural(0, "key"), "1 leg0 keys");
    }

    #[test]
    fn what_a_peer_says_forges_no_line_of_tracing() {
        let reply = "550 no\r\nERROR forged \u{1b}[2J\u{202e}";
        let output = Output::default();
        let writer = output.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .fmt_fields(escaped_fields());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let _in = tracing::error_span!("delivery", host = %reply).entered();
            tracing::error!(%reply, typed = reply, "{reply}");
        });
        let line = String::from_utf8(output.0.lock().clone()).unwrap();
        let shown = r"550 no\r\nERROR forged \u{1b}[2J\u{202e}";
        let span = format!("delivery{{host={shown}}}");
        assert!(line.contains(&span), "{line}");
        let fields = format!(" {shown} reply={shown} typed=\"{shown}\"\n");
        assert!(line.ends_with(&fields), "{line}");
        assert!(line.is_ascii() && line.lines().count() == 1, "{line}");
    }
}
