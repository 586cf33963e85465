//! `onward status`: the daemon at a glance, for people and for monitoring.

use clap::Args;

use crate::status_check::Conditions;

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Check conditions, as a plugin of Nagios or Icinga does: `queue<5000,oldest<1h,free>1GiB`
    ///
    /// One line is printed, with performance data, and the exit code is 0 (OK), 1 (WARNING, by `--warn`), 2 (CRITICAL: a
    /// condition does not hold) or 3 (UNKNOWN: the daemon does not answer, or cannot tell).
    ///
    /// Numbers: `queue` (legs), `held`, `sites` (down, paused, or putting off all mail), `frozen`, `connections` (of clients), `log-lost` (lines of the mail log that were lost),
    /// `filters-down`, `reload-failed` (1 after a reload that failed), `acme-failed` (1 while the ACME server issues no certificate). Events of the last minute: `received`, `delivered`,
    /// `deferred`, `failed`, `refused`. Spans: `oldest` (age of the oldest message), `delay` (from the 250 to the delivery, 99 %
    /// of the last thousand), `commit` (what the disk takes, likewise),
    /// `certificate` (how long the first one to expire is valid: `certificate>7d`). Size: `free` (disk of the spool).
    #[arg(long, value_name = "CONDITIONS")]
    pub(crate) check: Option<Conditions>,
    /// Conditions, written likewise, that are only a warning when they do not hold
    #[arg(long, value_name = "CONDITIONS")]
    pub(crate) warn: Option<Conditions>,
}
