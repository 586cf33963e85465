//! What a sink answers: a few lines of text, the first rule that fits wins.
//!
//! ```text
//! # PHASE [for TEXT] [first N]: ACTION
//! greeting: 421 4.3.2 busy
//! rcpt for bob@: 550 5.1.1 no such user
//! dot first 2: 451 4.3.0 try later
//! mail: drop
//! data: wait 200ms
//! offer: -DSN SIZE=1000
//! ```
//!
//! Phases: `greeting ehlo helo lhlo starttls auth mail rcpt data dot rset quit`. `for TEXT` wants TEXT in the command line (in any case);
//! `first N` holds N times and then no more. Actions: a reply (lines separated by ` / `), `drop` the connection, `wait` a time (`ms`, `s`) and go
//! on with the next rule that fits. `offer:` takes extensions away (`-NAME`) or puts them in.

use std::time::Duration;

/// A parsed script: rules with what is left of their counts, and the extensions to offer.
#[derive(Debug, Clone)]
pub(super) struct Script {
    rules: Vec<Rule>,
    offer: Vec<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    phase: String,
    wanted: Option<String>,
    left: Option<usize>,
    action: Action,
}

/// What to do at a phase instead of the usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Answer with these lines, each with its code.
    Reply(Vec<String>),
    /// Close the connection without a word.
    Drop,
    /// Let time pass.
    Wait(Duration),
}

impl Script {
    /// Parses a script; panics at a line that is none.
    pub(super) fn parse(text: &str) -> Self {
        let mut script = Self {
            rules: Vec::new(),
            offer: OFFERED.map(str::to_owned).to_vec(),
        };
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            script
                .add(line)
                .unwrap_or_else(|| panic!("not a line of a sink script: {line:?}"));
        }
        script
    }

    /// The extensions to offer, STARTTLS included only if `offer:` named it.
    pub(super) fn offer(&self) -> &[String] {
        &self.offer
    }

    /// What to do now, one action after the other; empty for the usual.
    pub(super) fn take(&mut self, phase: &str, line: &str) -> Vec<Action> {
        let line = line.to_ascii_lowercase();
        let mut actions = Vec::new();
        for rule in &mut self.rules {
            let fits = rule.phase == phase
                && rule.left != Some(0)
                && rule.wanted.as_ref().is_none_or(|text| line.contains(text));
            if !fits {
                continue;
            }
            rule.left = rule.left.map(|left| left - 1);
            actions.push(rule.action.clone());
            if !matches!(rule.action, Action::Wait(_)) {
                break;
            }
        }
        actions
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (head, action) = line.split_once(": ")?;
        let mut words = head.split_whitespace();
        let phase = words.next()?;
        if phase == "offer" {
            action.split_whitespace().for_each(|word| self.change(word));
            return Some(());
        }
        let mut rule = Rule {
            phase: PHASES.contains(&phase).then(|| phase.to_owned())?,
            wanted: None,
            left: None,
            action: Action::parse(action.trim())?,
        };
        while let Some(word) = words.next() {
            match word {
                "for" => rule.wanted = Some(words.next()?.to_ascii_lowercase()),
                "first" => rule.left = Some(words.next()?.parse().ok()?),
                _ => return None,
            }
        }
        self.rules.push(rule);
        Some(())
    }

    fn change(&mut self, word: &str) {
        let name = |text: &str| text.split(['=', ' ']).next().unwrap_or_default().to_owned();
        let wanted = word.trim_start_matches('-');
        self.offer.retain(|known| name(known) != name(wanted));
        if !word.starts_with('-') {
            self.offer.push(word.replace('=', " "));
        }
    }
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        if text == "drop" {
            return Some(Self::Drop);
        }
        if let Some(time) = text.strip_prefix("wait ") {
            let (number, unit) = time.split_at(time.find(|c: char| !c.is_ascii_digit())?);
            let number = number.parse().ok()?;
            return match unit {
                "ms" => Some(Self::Wait(Duration::from_millis(number))),
                "s" => Some(Self::Wait(Duration::from_secs(number))),
                _ => None,
            };
        }
        text.get(..3)?.parse::<u16>().ok()?;
        Some(Self::Reply(text.split(" / ").map(str::to_owned).collect()))
    }
}

/// What a modern MX offers. STARTTLS is not among them: a sink does TLS only when told to.
const OFFERED: [&str; 6] = [
    "PIPELINING",
    "SIZE 50000000",
    "8BITMIME",
    "SMTPUTF8",
    "DSN",
    "ENHANCEDSTATUSCODES",
];
const PHASES: [&str; 12] = [
    "greeting", "ehlo", "helo", "lhlo", "starttls", "auth", "mail", "rcpt", "data", "dot", "rset",
    "quit",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_rule_that_fits_wins_and_counts_run_out() {
        let mut script = Script::parse(
            "rcpt for Bob@ first 1: 450 4.2.1 later\nrcpt: wait 5ms\nrcpt for bob@: 550 no",
        );
        let bob = "RCPT TO:<bob@a.test>";
        let reply = |text: &str| Action::Reply(vec![text.to_owned()]);
        let wait = Action::Wait(Duration::from_millis(5));
        assert_eq!(script.take("rcpt", bob), [reply("450 4.2.1 later")]);
        assert_eq!(script.take("rcpt", bob), [wait.clone(), reply("550 no")]);
        assert_eq!(script.take("rcpt", "RCPT TO:<al@a.test>"), [wait]);
        assert_eq!(script.take("mail", bob), []);
    }

    #[test]
    fn offers_change() {
        let script = Script::parse("offer: -DSN SIZE=10 STARTTLS");
        let expected = "PIPELINING 8BITMIME SMTPUTF8 ENHANCEDSTATUSCODES SIZE 10 STARTTLS";
        assert_eq!(script.offer().join(" "), expected);
    }

    #[test]
    #[should_panic(expected = "not a line of a sink script: \"rcpt 550\"")]
    fn typo() {
        Script::parse("rcpt 550");
    }
}
