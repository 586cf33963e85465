//! SMTP dialogs as text files: what the client sends, what the server must answer.
//!
//! ```text
//! # An unknown recipient is refused, the transaction goes on (RFC 5321 §3.3)
//! S: 220 mx.example.test ...
//! C: EHLO client.test
//! ...
//! S: 250 LIMITS ...
//! C~ MAIL FROM:<a@b.test>\r\nRCPT TO:<nobody@example.test>\r\n
//! S: 250 2.1.0 ...
//! S: 550 5.1.1 ...
//! ```
//!
//! * The first line is `#` and what the dialog proves, with the RFC section. Other lines that begin with `#` and empty lines are
//!   comments.
//! * `# forwards: LINE` and `# set KEY = VALUE`, before the first step, are a line of the forwards file, instead of all
//!   that is there by default, and a setting as the configuration file writes it (`profile = [{ name = "default" }]`).
//! * `# dns: NAME TYPE DATA`, before the first step, is a record, as the head of `dns.rs` shows them. In memory there are MX, A,
//!   AAAA, TXT and SERVFAIL.
//! * `# list NAME: LINE`, before the first step, is a line of the `[[list]]` NAME.
//! * `# filter NAME KIND: ANSWER`, before the first step, is a `[[filter]]` NAME that always gives this answer: rspamd's JSON, clamd's
//!   line, or a milter's script as `milter.rs` has it. One that says nothing is to have mail deferred.
//! * `# user: LINE`, before the first step, is a line of the users file. Then the dialog is held with a submission listener.
//! * `C: TEXT` sends TEXT and CRLF. `C~ TEXT` sends TEXT with `\r \n \t \\ \xNN` decoded, and no CRLF of its own.
//!   Lines that follow each other go out in one write.
//! * `S: TEXT` is the next reply line; `...` at its end stands for any rest.
//! * `...` alone skips reply lines up to the first that the next `S:` line fits.
//! * At the end no reply may be left over.
//!
//! Each dialog runs three ways: on a session in memory, with each write whole ([`Feeding::Whole`]) and byte
//! by byte, and over TCP against the binary. All three must answer the same. `STARTTLS` is followed by a real handshake over TCP.

mod memory;
mod tcp;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;

pub use memory::Feeding;

use crate::filter::{self, Answer, Filter};

/// A parsed dialog.
#[derive(Debug, Clone)]
pub struct Dialog {
    name: String,
    setup: Setup,
    steps: Vec<Step>,
}

/// What the relay is to be like for a dialog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Setup {
    /// The forwards file; empty: what all dialogs begin with.
    pub forwards: String,
    /// Settings by their dotted keys, with values in TOML.
    pub settings: BTreeMap<String, String>,
    /// The users file; empty: the dialog is with a listener for mail from anyone.
    pub users: String,
    /// What is in DNS, a record a line.
    pub dns: String,
    /// The content of each `[[list]]`.
    pub lists: BTreeMap<String, String>,
    /// Of each `[[filter]]` the kind and the answer.
    pub filters: BTreeMap<String, (String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    line: usize,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Send(Vec<u8>),
    Expect(String),
    Skip,
}

impl Dialog {
    /// Parses a dialog; `name` is for messages. The error says which line is wrong and why.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let wrong = |line: usize, why: &str| format!("{name}:{line}: {why}");
        if !text.starts_with("# ") {
            let why = "the first line says what the dialog proves: `# … (RFC …)`";
            return Err(wrong(1, why));
        }
        let mut steps = Vec::new();
        let mut setup = Setup::default();
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            if setup.take(line) {
                if steps.is_empty() {
                    continue;
                }
                let why = "what the relay is to be like stands before the first step";
                return Err(wrong(number, why));
            }
            let kind = match (line.get(..2), line.get(2..)) {
                _ if line.trim_end() == "..." => Kind::Skip,
                _ if line.trim().is_empty() || line.starts_with('#') => continue,
                (Some("C:"), Some(text)) => {
                    Kind::Send(format!("{}\r\n", without_blank(text)).into_bytes())
                }
                (Some("C~"), Some(text)) => {
                    Kind::Send(unescape(without_blank(text)).map_err(|why| wrong(number, &why))?)
                }
                (Some("S:"), Some(text)) => Kind::Expect(without_blank(text).to_owned()),
                _ => {
                    return Err(wrong(
                        number,
                        "a line begins with `C: `, `C~ `, `S: `, `#` or is `...`",
                    ));
                }
            };
            let line = number;
            steps.push(Step { line, kind });
        }
        Ok(Self {
            name: name.to_owned(),
            setup,
            steps,
        })
    }

    /// All `*.smtp` files of a folder, by name.
    ///
    /// # Panics
    /// When the folder or a file cannot be read, a file is not a dialog, or there is none at all.
    pub fn all_in(folder: &Path) -> Vec<Self> {
        let entries =
            fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries
            .map(|entry| entry.expect("a folder's entry").path())
            .filter(|path| path.extension().is_some_and(|name| name == "smtp"))
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "no dialogs in {}", folder.display());
        let load = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let text = fs::read_to_string(path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Self::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"))
        };
        paths.iter().map(|path| load(path)).collect()
    }

    /// What the relay is to be like.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The steps, those that send joined into one write each: (line, bytes) or what is expected.
    fn writes(&self) -> Vec<Step> {
        let mut joined: Vec<Step> = Vec::new();
        for step in &self.steps {
            if let (
                Kind::Send(more),
                Some(Step {
                    kind: Kind::Send(bytes),
                    ..
                }),
            ) = (&step.kind, joined.last_mut())
            {
                bytes.extend_from_slice(more);
            } else {
                joined.push(step.clone());
            }
        }
        joined
    }

    /// What differs, said so that a reader finds the place.
    fn mismatch(&self, line: usize, how: &str, expected: &str, got: &str) -> String {
        format!(
            "tests/dialogs/{}:{line} ({how})\n  expected: {expected}\n       got: {got}",
            self.name
        )
    }
}

impl Setup {
    /// Starts its filters; with them, as `[[filter]]` has them.
    pub async fn start_filters(&self) -> (Vec<Filter>, String) {
        let (mut filters, mut tables) = (Vec::new(), Vec::new());
        for (name, (kind, answer)) in &self.filters {
            let kind = match kind.as_str() {
                "rspamd" => filter::Kind::Rspamd,
                "clamd" => filter::Kind::Clamd,
                "milter" => filter::Kind::Milter,
                _ => panic!("`{kind}` is no kind of filter"),
            };
            let (answer, more) = match answer.as_str() {
                "" => (Answer::Raw(String::new()), ", on_failure = \"defer\""),
                answer => (Answer::Say(answer.to_owned()), ""),
            };
            let filter = Filter::start(kind, answer).await;
            tables.push(filter.configured(name, more));
            filters.push(filter);
        }
        (filters, format!("[{}]", tables.join(",")))
    }

    /// Takes a line that is part of a setup.
    fn take(&mut self, line: &str) -> bool {
        if let Some(forward) = line.strip_prefix("# forwards: ") {
            self.forwards.push_str(forward);
            self.forwards.push('\n');
        } else if let Some(record) = line.strip_prefix("# dns: ") {
            self.dns.push_str(record);
            self.dns.push('\n');
        } else if let Some(user) = line.strip_prefix("# user: ") {
            self.users.push_str(user);
            self.users.push('\n');
        } else if let Some((key, value)) = line
            .strip_prefix("# set ")
            .and_then(|setting| setting.split_once(" = "))
        {
            self.settings.insert(key.to_owned(), value.to_owned());
        } else if let Some((name, entry)) = line
            .strip_prefix("# list ")
            .and_then(|list| list.split_once(": "))
        {
            let list = self.lists.entry(name.to_owned()).or_default();
            list.push_str(entry);
            list.push('\n');
        } else if let Some((filter, answer)) = line
            .strip_prefix("# filter ")
            .and_then(|filter| filter.split_once(':'))
        {
            let (name, kind) = filter.split_once(' ').unwrap_or((filter, ""));
            let said = (kind.to_owned(), answer.trim().to_owned());
            self.filters.insert(name.to_owned(), said);
        } else {
            return false;
        }
        true
    }
}

/// The reply lines that came and were not looked at yet.
#[derive(Default)]
struct Replies {
    pending: Vec<u8>,
    lines: VecDeque<String>,
}

impl Replies {
    fn add(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.windows(2).position(|pair| pair == b"\r\n") {
            let line = String::from_utf8_lossy(&self.pending[..end]).into_owned();
            self.pending.drain(..end + 2);
            self.lines.push_back(line);
        }
    }

    /// What is left at the end, if anything.
    fn left_over(&self) -> Option<String> {
        let mut rest: Vec<_> = self.lines.iter().cloned().collect();
        if !self.pending.is_empty() {
            rest.push(self.pending.escape_ascii().to_string());
        }
        (!rest.is_empty()).then(|| rest.join("\n            "))
    }
}

/// Whether a reply line is what an `S:` line asks for.
fn fits(expected: &str, line: &str) -> bool {
    match expected.strip_suffix("...") {
        Some(start) => line.starts_with(start) || line == start.trim_end(),
        None => line == expected,
    }
}

/// The one blank after `C:` and the like is not part of the text.
fn without_blank(text: &str) -> &str {
    text.strip_prefix(' ').unwrap_or(text)
}

pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = rest[at + 1..].chars().next();
        let mut taken = at + 2;
        match escape {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => {
                let digits = rest.get(at + 2..at + 4);
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or("`\\x` needs two hexadecimal digits")?);
                taken += 2;
            }
            _ => return Err("the escapes are `\\r \\n \\t \\\\ \\xNN`".to_owned()),
        }
        rest = &rest[taken..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        let text = "# x (RFC 5321)\nS: 220 ...\n\n# note\nC: NOOP\nC~ a\\x0db\\\\\\n\n...\nS: 250 ok\nC:\n";
        let dialog = Dialog::parse("t.smtp", text).unwrap();
        let step = |line, kind| Step { line, kind };
        let expected = [
            step(2, Kind::Expect("220 ...".into())),
            step(5, Kind::Send(b"NOOP\r\na\rb\\\n".to_vec())),
            step(7, Kind::Skip),
            step(8, Kind::Expect("250 ok".into())),
            step(9, Kind::Send(b"\r\n".to_vec())),
        ];
        assert_eq!(dialog.writes(), expected);
    }

    #[test]
    fn setups() {
        let text = "# x\n# forwards: a@b.test c@d.test\n# forwards: e@b.test c@d.test\n# set limits.x = 5\n# dns: a.test TXT v=spf1 -all\nS: 220\n";
        let dialog = Dialog::parse("t.smtp", text).unwrap();
        let setup = dialog.setup();
        assert_eq!(setup.forwards, "a@b.test c@d.test\ne@b.test c@d.test\n");
        assert_eq!(setup.dns, "a.test TXT v=spf1 -all\n");
        let settings: Vec<_> = setup.settings.iter().collect();
        assert_eq!(settings, [(&"limits.x".to_owned(), &"5".to_owned())]);
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        assert_eq!(Dialog::parse("t", text).unwrap_err(), expected);
    }

    #[test]
    fn mistakes() {
        check_error(
            "S: 220\n",
            "t:1: the first line says what the dialog proves: `# … (RFC …)`",
        );
        check_error(
            "# x\nX: y",
            "t:2: a line begins with `C: `, `C~ `, `S: `, `#` or is `...`",
        );
        check_error(
            "# x\nS: 220\n# set y = 6\n",
            "t:3: what the relay is to be like stands before the first step",
        );
        check_error(
            "# x\nC~ \\q",
            "t:2: the escapes are `\\r \\n \\t \\\\ \\xNN`",
        );
        check_error("# x\nC~ \\x0", "t:2: `\\x` needs two hexadecimal digits");
    }

    #[track_caller]
    fn check(expected: &str, line: &str, fit: bool) {
        assert_eq!(fits(expected, line), fit, "{expected:?} {line:?}");
    }

    #[test]
    fn fitting() {
        check("250 ok", "250 ok", true);
        check("250 ok", "250 ok.", false);
        check("250 2.1.0 ...", "250 2.1.0 fine", true);
        check("250 2.1.0 ...", "250 2.1.0", true);
        check("250 ...", "250-SIZE", false);
        check("250-...", "250-SIZE", true);
        check("...", "anything", true);
    }

    #[test]
    fn replies_in_pieces() {
        let mut replies = Replies::default();
        for piece in ["25", "0 ok\r", "\n221 bye\r\nhal"] {
            replies.add(piece.as_bytes());
        }
        assert_eq!(replies.lines, ["250 ok", "221 bye"]);
        assert!(
            replies
                .left_over()
                .is_some_and(|rest| rest.ends_with("hal"))
        );
    }
}
