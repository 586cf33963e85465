//! Where commands print: plain lines for people, or one JSON document for machines.

use std::fmt::{Debug, Display};
use std::io::{self, Write};

use serde::Serialize;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use journal::shown;

/// Standard output in one of two forms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    pub(crate) json: bool,
}

impl Printer {
    /// One line for people, or several. A reader that has gone away (`| head`) is no error.
    pub(crate) fn line(self, text: impl Display) {
        let text = text.to_string();
        let _ = writeln!(io::stdout().lock(), "{}", shown::lines(&text));
    }

    /// `value` as JSON, or as `human` says it.
    pub(crate) fn value<T: Serialize>(self, value: &T, human: impl FnOnce(Self, &T)) {
        if !self.json {
            return human(self, value);
        }
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(shown::json(&text)),
            Err(error) => complain(format_args!("cannot write JSON: {error}")),
        }
    }

    /// Bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(bytes)
    }
}

/// One complaint on standard error, in the form that all commands share.
pub(crate) fn complain(text: impl Display) {
    let text = text.to_string();
    let _ = writeln!(io::stderr().lock(), "error: {}", shown::lines(&text));
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
