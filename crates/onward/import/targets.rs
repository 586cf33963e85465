//! Where mail of an address goes, as alias files and Postfix's tables say it.
//!
//! ```text
//! value   = ":fail:" text / ":defer:" text / ":blackhole:" / target *( "," target )
//! target  = address / "@" domain / name / "|" program / "/" file / ":include:" file
//! ```

use std::collections::HashSet;

use envelope::{Domain, Mailbox};

use super::source::{Place, beside, rows};
use super::{Forward, Imported};

/// What a name or an address stands for.
pub(super) enum Stands {
    /// More targets, as in a file.
    Value(String),
    /// A mailbox elsewhere, or an address with a line of its own.
    Address(String),
    /// A mailbox of the old server.
    Mailbox,
}

/// What stands for a target in the other tables of the server.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Stands;

/// An address, and what has been found behind it.
struct Follow<'a> {
    place: &'a Place,
    lookup: Lookup<'a>,
    key: &'a str,
    targets: Vec<String>,
    seen: HashSet<String>,
    /// `:discard:`, or a refusal.
    action: Option<String>,
}

impl Imported {
    /// Adds the line of an address, or says what cannot be carried over of it. What has no target left is refused for the time
    /// being, so that no catch-all gets its mail.
    pub(super) fn forward(&mut self, place: &Place, key: &str, value: &str, lookup: Lookup<'_>) {
        let mut found = Follow {
            place,
            lookup,
            key,
            targets: Vec::new(),
            seen: HashSet::from([key.to_lowercase()]),
            action: None,
        };
        let left = self.left.len();
        found.follow(key, value, 0, self);
        if found.targets.is_empty() && found.action.is_none() && self.left.len() == left {
            self.leave(place, key, "leads to no mailbox", MAILBOX_HINT);
        }
        let action = match found.targets.is_empty() {
            true => found.action.unwrap_or_else(|| HELD.into()),
            false => found.targets.join(", "),
        };
        self.push(Forward {
            key: key.to_owned(),
            action,
            place: place.clone(),
        });
    }
}

impl Follow<'_> {
    fn follow(&mut self, of: &str, value: &str, depth: usize, into: &mut Imported) {
        if let Some(action) = action(value) {
            self.action = Some(action);
            return;
        }
        for target in elements(value) {
            if depth > DEPTH_MAX || self.seen.len() + self.targets.len() > TARGETS_MAX {
                let why = "leads too far: a loop, or too many targets";
                return into.leave(self.place, of, why, LINE_HINT);
            }
            match target.as_bytes()[0] {
                b':' => self.include(&target, depth, into),
                _ if target == "/dev/null" => self.action = Some(":discard:".into()),
                b'|' => into.leave(self.place, &target, "is a program", PROGRAM_HINT),
                b'/' | b'.' | b'~' => into.leave(self.place, &target, "is a file", MAILBOX_HINT),
                _ => self.stand(of, &target, depth, into),
            }
        }
    }

    /// An address, or a name.
    fn stand(&mut self, of: &str, target: &str, depth: usize, into: &mut Imported) {
        let local = of.rsplit_once('@').filter(|_| depth > 0);
        let stands = match local {
            // Behind another address, the local part is that one's.
            Some((local, _)) if target.starts_with('@') => {
                (self.lookup)(&format!("{local}{target}"))
            }
            None if target.starts_with('@') => Stands::Address(target.to_owned()),
            _ if self.seen.insert(target.to_lowercase()) => (self.lookup)(target),
            // To itself it means its own mailbox.
            _ if target.eq_ignore_ascii_case(of) => Stands::Mailbox,
            _ => return,
        };
        match stands {
            // A customer's target must not bring options into the line.
            Stands::Address(address) if !is_address(&address) => {
                let hint = "write the line by hand, if it is meant";
                into.leave(self.place, &address, "is no address", hint);
            }
            Stands::Address(address) if !address.eq_ignore_ascii_case(self.key) => {
                if !self.targets.contains(&address) {
                    self.targets.push(address);
                }
            }
            Stands::Value(value) => self.follow(target, &value, depth + 1, into),
            Stands::Mailbox | Stands::Address(_) => {
                let why = "is a mailbox of that server";
                into.leave(self.place, target, why, MAILBOX_HINT);
            }
        }
    }

    /// A file of further targets, if files may be named here: those of customers may not.
    fn include(&mut self, target: &str, depth: usize, into: &mut Imported) {
        let named = target.strip_prefix(":include:").map(str::trim);
        let (Some(named), Some(etc)) = (named, into.includes.clone()) else {
            return into.leave(self.place, target, "is not read", LINE_HINT);
        };
        let path = beside(&etc, named);
        if self.seen.insert(path.display().to_string()) {
            for included in rows(&path, into) {
                self.follow(target, &included.text, depth + 1, into);
            }
        }
    }
}

fn is_address(target: &str) -> bool {
    match target.strip_prefix('@') {
        Some(domain) => domain.parse::<Domain>().is_ok(),
        None => target.parse::<Mailbox>().is_ok(),
    }
}

/// What is no target but a decision.
fn action(value: &str) -> Option<String> {
    let value = unquoted(value.trim());
    // Virtualmin's word.
    if value == "BOUNCE" {
        return Some(":reject: 550".into());
    }
    let (word, text) = value.strip_prefix(':')?.split_once(':')?;
    let text = text.trim().trim_matches('"');
    let text = text.strip_prefix("550").unwrap_or(text).trim_start();
    match word {
        "blackhole" => Some(":discard:".into()),
        "fail" => Some(format!(":reject: 550 {text}").trim_end().to_owned()),
        "defer" => Some(format!(":reject: 450 {text}").trim_end().to_owned()),
        _ => None,
    }
}

/// What commas part, and blanks where there can be none; not within quotes.
pub(super) fn elements(value: &str) -> Vec<String> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(|c| {
        let is_end = c == ',' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end
    });
    let parts = parts.flat_map(|part| {
        let part = unquoted(part.trim());
        match part
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
        {
            Some((address, _)) => vec![address],
            None if part.starts_with(['|', '/', ':']) || part.contains('"') => vec![part],
            None => part.split_whitespace().collect(),
        }
    });
    let parts = parts.map(|part| {
        // Exim's words for the local part of the recipient, and Postfix's sign for "this user and no alias".
        let same = ["$local_part@", "${local_part}@", "$local_part_data@"];
        let domain = same.iter().find_map(|same| part.strip_prefix(same));
        domain.map_or_else(|| part.to_owned(), |domain| format!("@{domain}"))
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// Without quotes around all of it.
pub(super) fn unquoted(text: &str) -> &str {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('"')).unwrap_or(text)
}

const DEPTH_MAX: usize = 10;
const TARGETS_MAX: usize = 1000;
/// So that neither a catch-all nor a final refusal gets the mail.
pub(super) const HELD: &str = ":reject: 450 4.2.1 this mailbox is not served here yet";
const PROGRAM_HINT: &str = "no program is run here; forward to a mailbox that has one behind it";
const LINE_HINT: &str = "write the targets into the line of the address";
pub(super) const MAILBOX_HINT: &str = "give the address of a mailbox elsewhere; until then the address, if it has no other target, is refused for the time being (450)";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &[&str]) {
        assert_eq!(elements(value), expected, "{value}");
    }

    #[test]
    fn targets_are_parted() {
        check("a@x.example, b@y.example", &["a@x.example", "b@y.example"]);
        check("a@x.example b@y.example,,", &["a@x.example", "b@y.example"]);
        check("\"|prog a, b\", root", &["|prog a, b", "root"]);
        check("|/bin/p -f x", &["|/bin/p -f x"]);
        check(
            "\"john, doe\"@x.example,c",
            &["\"john, doe\"@x.example", "c"],
        );
        check("John <j@x.example>", &["j@x.example"]);
        check("$local_part@x.example", &["@x.example"]);
        check(" , \"\" ,", &[]);
        check("\"open, quote", &["\"open, quote"]);
    }

    #[test]
    fn decisions_are_known() {
        let rows = [
            (
                "\":fail: No Such User Here\"",
                ":reject: 550 No Such User Here",
            ),
            (":fail: 550 gone", ":reject: 550 gone"),
            (":fail:", ":reject: 550"),
            (":defer: later", ":reject: 450 later"),
            (":blackhole:", ":discard:"),
        ];
        for (value, expected) in rows {
            assert_eq!(action(value).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(action(":include:/x"), None);
        assert_eq!(action("a@x.example"), None);
    }
}
