//! The relay's mail log as it is written, line by line, and waiting for what a test expects in it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::Notify;

use crate::PATIENCE;

/// One line of the mail log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    name: String,
    fields: Map<String, Value>,
}

/// Everything a process wrote.
pub struct Log {
    lines: Mutex<Lines>,
    changed: Notify,
}

#[derive(Default)]
struct Lines {
    events: Vec<Event>,
    stderr: Vec<String>,
    closed: bool,
}

impl Event {
    /// `received`, `delivered`, …
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A field as text; empty when there is none.
    pub fn text(&self, key: &str) -> String {
        match self.fields.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// All fields but the time and the name.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn parse(line: &str) -> Option<Self> {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
            return None;
        };
        fields.remove("time");
        let Some(Value::String(name)) = fields.remove("event") else {
            return None;
        };
        Some(Self { name, fields })
    }

    fn fits(&self, pattern: &str) -> bool {
        let mut words = pattern.split_whitespace();
        words.next() == Some(&self.name)
            && words.all(|word| {
                let (key, part) = word.split_once('=').unwrap_or_else(|| {
                    panic!("a pattern is a name and key=part, not {word:?}: {pattern:?}")
                });
                self.fields.contains_key(key) && self.text(key).contains(part)
            })
    }
}

/// As the line was, less its time.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.fields
            .iter()
            .try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

impl Log {
    /// Reads both streams in the background until they end.
    pub(super) fn follow(
        stdout: impl AsyncRead + Send + Unpin + 'static,
        stderr: impl AsyncRead + Send + Unpin + 'static,
    ) -> Arc<Self> {
        let log = Arc::new(Self {
            lines: Mutex::default(),
            changed: Notify::new(),
        });
        let (events, trouble) = (Arc::clone(&log), Arc::clone(&log));
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut log = events.lock();
                match Event::parse(&line) {
                    Some(event) => log.events.push(event),
                    None => log.stderr.push(format!("(not an event) {line}")),
                }
                events.changed.notify_waiters();
            }
            events.lock().closed = true;
            events.changed.notify_waiters();
        });
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                trouble.lock().stderr.push(line);
            }
        });
        log
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    pub(super) fn count(&self, pattern: &str) -> usize {
        let log = self.lock();
        log.events
            .iter()
            .filter(|event| event.fits(pattern))
            .count()
    }

    pub(super) async fn wait(&self, count: usize, pattern: &str) -> Vec<Event> {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                {
                    let log = self.lock();
                    let fitting = log.events.iter().filter(|event| event.fits(pattern));
                    let found: Vec<_> = fitting.take(count).cloned().collect();
                    if found.len() == count || log.closed {
                        return found;
                    }
                }
                changed.await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        match found {
            Ok(found) if found.len() == count => found,
            _ => panic!("waited for {count} × `{pattern}` in the log:\n{self}"),
        }
    }

    /// Everything, one line an event, then standard error; waits until the process has closed the first.
    pub async fn to_the_end(&self) -> Vec<String> {
        loop {
            let changed = self.changed.notified();
            {
                let log = self.lock();
                if log.closed {
                    let events = log.events.iter().map(Event::to_string);
                    return events.chain(log.stderr.iter().cloned()).collect();
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For the message of a failed test: the last events, then standard error.
impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = self.lock();
        let skipped = log.events.len().saturating_sub(EVENTS_SHOWN_MAX);
        if skipped > 0 {
            writeln!(f, "({skipped} events before)")?;
        }
        for event in &log.events[skipped..] {
            writeln!(f, "{event}")?;
        }
        if log.closed {
            writeln!(f, "(the log ended)")?;
        }
        writeln!(f, "--- stderr\n{}", log.stderr.join("\n"))
    }
}

const EVENTS_SHOWN_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let line = r#"{"time":"t","event":"failed","id":"X","to":"a@b.test","reply":"550 5.1.1 no","leg":0}"#;
        let event = Event::parse(line).expect("an event");
        for (pattern, fits) in [
            ("failed", true),
            ("failed to=a@ reply=550 leg=0", true),
            ("failed to=c@", false),
            ("failed host=x", false),
            ("delivered", false),
        ] {
            assert_eq!(event.fits(pattern), fits, "{pattern}");
        }
        assert_eq!(Event::parse("not JSON"), None);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_stream() {
        let log = Log::follow(
            &b"{\"event\":\"ready\",\"listener\":\"a\"}\noops\n"[..],
            &b"trouble\n"[..],
        );
        assert_eq!(log.wait(1, "ready").await[0].text("listener"), "a");
        assert_eq!(log.count("ready"), 1);
    }
}
