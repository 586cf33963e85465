//! The campaign's result: a table for people, JSON for programs.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use envelope::millis;
use serde_json::{Value, json};

use super::Settings;
use super::proof::Account;

/// What a campaign came to.
#[derive(Debug)]
pub struct Report {
    /// What was asked for.
    pub settings: Settings,
    /// Runs that were ended by a kill.
    pub runs: u32,
    /// Of these, killed while starting up.
    pub killed_starting: u32,
    /// All of it, with drains.
    pub time: Duration,
    /// Under load, without starts and drains.
    pub loaded: Duration,
    /// What the books prove.
    pub account: Account,
    /// Where spool and log were kept, if anything was found.
    pub kept: Option<PathBuf>,
}

impl Report {
    /// Whether every promise was kept.
    pub fn is_good(&self) -> bool {
        self.account.findings.is_empty()
    }

    /// Everything as one JSON object.
    pub fn json(&self) -> Value {
        let account = &self.account;
        json!({
            "seed": self.settings.seed,
            "connections": self.settings.connections,
            "load_ms": millis(self.settings.load),
            "runs": self.runs,
            "killed_starting": self.killed_starting,
            "seconds_loaded": self.loaded.as_secs_f64(),
            "share_of_duplicates_at_one_kill_an_hour": self.share_at(1.0),
            "seconds": self.time.as_secs_f64(),
            "messages": account.messages,
            "acknowledged": account.acknowledged,
            "unheard": account.unheard,
            "cut": account.cut,
            "tails": account.tails,
            "delivered": account.delivered,
            "bounced": account.bounced,
            "duplicates": {
                "unheard": account.duplicates_unheard,
                "reply_not_read": account.duplicates_unread,
                "end_not_noted": account.duplicates_end,
                "told_again": account.duplicates_told,
                "reply_to_kill_longest_ms": millis(account.widest),
                "unexplained": account.unexplained,
            },
            "lost": account.lost,
            "damaged": account.damaged,
            "findings": account.findings,
            "kept": self.kept,
        })
    }

    fn a_kill(&self, n: usize) -> f64 {
        n as f64 / f64::from(self.runs.max(1))
    }

    /// Duplicates as a share of copies, if the relay were killed so many times an hour at this load. Duplicates go by the kill,
    /// copies by the hour: duplicates a kill × kills an hour ÷ (copies a second of load × 3,600).
    pub fn share_at(&self, kills_an_hour: f64) -> f64 {
        let copies = (self.account.delivered + self.account.bounced) as f64;
        let a_second = copies / self.loaded.as_secs_f64().max(0.001);
        self.a_kill(self.account.duplicates()) * kills_an_hour / (a_second * 3600.0).max(1.0)
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let account = &self.account;
        let copies = account.delivered + account.bounced;
        let per_kill = |n: usize| {
            let share = 100.0 * n as f64 / copies.max(1) as f64;
            format!("{n} ({share:.3} %, {:.2} a kill)", self.a_kill(n))
        };
        let widest = millis(account.widest);
        vec![
            ("runs, each ended by SIGKILL", self.runs.to_string()),
            (
                "  of these while starting",
                self.killed_starting.to_string(),
            ),
            ("connections", self.settings.connections.to_string()),
            ("seed", self.settings.seed.to_string()),
            (
                "longest usual load",
                format!("{} ms", millis(self.settings.load)),
            ),
            ("time", format!("{:.0} s", self.time.as_secs_f64())),
            ("messages offered", account.messages.to_string()),
            ("messages acknowledged", account.acknowledged.to_string()),
            ("offers without 250 heard", account.unheard.to_string()),
            ("offers broken off", account.cut.to_string()),
            (
                "half-written batches cut off the log",
                account.tails.to_string(),
            ),
            ("copies delivered", account.delivered.to_string()),
            ("bounced to their sender", account.bounced.to_string()),
            (
                "duplicates: 250 not heard (rows 2, 3)",
                per_kill(account.duplicates_unheard),
            ),
            (
                "duplicates: reply not read (row 6)",
                per_kill(account.duplicates_unread),
            ),
            (
                "duplicates: end not noted (row 6)",
                per_kill(account.duplicates_end),
            ),
            (
                "duplicates: DSN about several (row 8a)",
                per_kill(account.duplicates_told),
            ),
            ("  longest from 250 to the kill", format!("{widest} ms")),
            (
                "  all, with one kill an hour",
                format!("{:.4} % of copies", 100.0 * self.share_at(1.0)),
            ),
            ("duplicates: unexplained", account.unexplained.to_string()),
            ("lost", account.lost.to_string()),
            ("damaged", account.damaged.to_string()),
        ]
    }
}

/// A table in Markdown; below it what was found, where the spool is, and how to replay.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {:<38} | {:>34} |", "crash campaign", "")?;
        writeln!(f, "| {:-<38} | {:->33}: |", "", "")?;
        for (name, value) in self.rows() {
            writeln!(f, "| {name:<38} | {value:>34} |")?;
        }
        let findings = &self.account.findings;
        if findings.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{} findings:", findings.len())?;
        for finding in findings.iter().take(FINDINGS_SHOWN_MAX) {
            writeln!(f, "  {finding}")?;
        }
        if let Some(kept) = &self.kept {
            writeln!(
                f,
                "\nspool, spool before the drain, mail.log: {}",
                kept.display()
            )?;
        }
        let Settings {
            runs,
            seed,
            connections,
            load,
            ..
        } = self.settings;
        let load = millis(load);
        writeln!(
            f,
            "replay: cargo bench --bench crash -- --runs {runs} --seed {seed} --connections {connections} --load-ms {load}\n\
             (the same mail and the same moments; the machine's part of it differs)"
        )
    }
}

const FINDINGS_SHOWN_MAX: usize = 40;
