//! Whether the database keeps what it says is committed: its settings, read and judged.
//!
//! A 250 is a promise that survives the loss of power, here and of the database's host. PostgreSQL makes it by default; some of its
//! settings take it back. Judging is apart from reading, so that it can be tested.

use std::collections::HashMap;
use std::fmt;

use spool::{Clock, Error};

use crate::connect::Database;
use crate::time::millis;

/// Something about the database that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Mail that was answered 250 may be lost by it.
    pub breaks: bool,
    /// The setting, with its value.
    pub what: String,
    /// What follows from it.
    pub why: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// What the settings come to; empty: nothing to say.
pub(crate) fn judge(settings: &HashMap<String, String>) -> Vec<Finding> {
    let value = |name: &str| settings.get(name).map_or("", String::as_str);
    let finding = |breaks, name: &str, why| Finding {
        breaks,
        what: format!("{name} = {}", value(name)),
        why,
    };
    let mut findings = Vec::new();
    if value("fsync") != "on" {
        findings.push(finding(
            true,
            "fsync",
            "a loss of power may lose or damage all mail",
        ));
    }
    if value("full_page_writes") != "on" {
        findings.push(finding(
            true,
            "full_page_writes",
            "a loss of power may damage pages with mail on them",
        ));
    }
    match (value("synchronous_commit"), value("synchronous_standby_names")) {
        ("off", _) => findings.push(finding(
            true,
            "synchronous_commit",
            "what is committed may be lost for some hundred milliseconds after the 250",
        )),
        (_, "") => findings.push(finding(
            false,
            "synchronous_standby_names",
            "no standby must have a message before the 250: the loss of this one server's disk loses mail",
        )),
        ("local", _) => findings.push(finding(
            true,
            "synchronous_commit",
            "the standbys that `synchronous_standby_names` asks for are not waited for",
        )),
        _ => {}
    }
    if value("server_encoding") != "UTF8" {
        findings.push(finding(true, "server_encoding", "addresses and replies in other letters are not taken: the database must be made with UTF8"));
    }
    let version = value("server_version_num").parse().unwrap_or(0);
    if version < OLDEST {
        findings.push(finding(
            true,
            "server_version_num",
            "PostgreSQL 13 or later is needed",
        ));
    }
    findings
}

/// Reads them.
pub(crate) async fn read(database: &Database) -> Result<Vec<Finding>, Error> {
    let rows = database.ask(READ, &[&&NAMES[..]]).await?;
    let settings = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut findings = judge(&settings);
    let own = millis(Clock::real().now());
    let clock = settings.get("clock").and_then(|said| said.parse().ok());
    let ahead = clock.map_or(0, |said: i64| said.saturating_sub(own));
    if ahead.unsigned_abs() > APART_MAX {
        let (seconds, ahead) = (ahead.unsigned_abs() / 1000, ahead > 0);
        let which = if ahead { "ahead of" } else { "behind" };
        findings.push(Finding {
            breaks: false,
            what: format!("the database's clock is {seconds} s {which} this machine's"),
            why: "dates in mail are wrong by that, or the time after which mail is given up: keep both right (NTP)",
        });
    }
    Ok(findings)
}

const READ: &str = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)
    UNION ALL SELECT 'clock', (extract(epoch FROM clock_timestamp()) * 1000)::int8::text";
/// Milliseconds; the answer takes some of them.
const APART_MAX: u64 = 30_000;
const NAMES: [&str; 6] = [
    "server_encoding",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "synchronous_standby_names",
    "server_version_num",
];
const OLDEST: u32 = 130_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(changed: &[(&str, &str)], breaks: bool, names: &[&str]) {
        let sound = [
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("synchronous_standby_names", "ANY 1 (a, b)"),
            ("server_encoding", "UTF8"),
            ("server_version_num", "150018"),
        ];
        let all = sound.iter().chain(changed);
        let settings = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let findings = judge(&settings.collect());
        let found: Vec<_> = findings
            .iter()
            .filter_map(|it| it.what.split(' ').next())
            .collect();
        assert_eq!(found, names);
        assert_eq!(findings.iter().any(|it| it.breaks), breaks);
    }

    #[test]
    fn each_setting_that_takes_the_promise_back_is_found() {
        check(&[], false, &[]);
        check(&[("fsync", "off")], true, &["fsync"]);
        check(&[("full_page_writes", "off")], true, &["full_page_writes"]);
        check(
            &[("synchronous_commit", "off")],
            true,
            &["synchronous_commit"],
        );
        check(
            &[("synchronous_commit", "local")],
            true,
            &["synchronous_commit"],
        );
        check(&[("synchronous_commit", "remote_write")], false, &[]);
        check(
            &[("synchronous_standby_names", "")],
            false,
            &["synchronous_standby_names"],
        );
        let both = [
            ("synchronous_standby_names", ""),
            ("synchronous_commit", "local"),
        ];
        check(&both, false, &["synchronous_standby_names"]);
        check(
            &[("server_encoding", "SQL_ASCII")],
            true,
            &["server_encoding"],
        );
        check(
            &[("server_version_num", "120001")],
            true,
            &["server_version_num"],
        );
    }
}
