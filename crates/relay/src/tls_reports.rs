//! What was found of TLS with the hosts of each recipient domain, by UTC day, until it is reported (RFC 8460).
//!
//! All of it is in memory, and bounded whatever is found: so many rows altogether, and of one domain. It is written to the
//! file `tls-reports` of the spool now and then: a crash loses the last minutes of counting, and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use control::{FailureRow, PolicyShown, SessionCounts, TlsPolicyRow};
use envelope::{Domain, Timestamp, TlsFinding, TlsPolicyKind};
use linefile::LineFile;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// All findings that are not reported yet.
#[derive(Debug, Default)]
pub struct TlsReports {
    tally: Mutex<Tally>,
    file: Option<Mutex<LineFile<Kept>>>,
}

/// A day, as days since 1970, and a domain.
pub(crate) type Of = (u64, Domain);

#[derive(Debug, Default)]
struct Tally {
    found: BTreeMap<Of, Vec<TlsPolicyRow>>,
    /// Policies and failures in it.
    rows: usize,
    /// The file lacks something.
    is_changed: bool,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    day: u64,
    domain: String,
    policies: Vec<TlsPolicyRow>,
}

impl TlsReports {
    /// What the file in this directory says. What it cannot say is logged and left out.
    pub fn open(dir: &Path) -> Self {
        let path = dir.join("tls-reports");
        let (file, lines) = LineFile::open(&path, "so earlier findings of TLS are not reported");
        let mut tally = Tally::default();
        for Kept {
            day,
            domain,
            policies,
        } in lines
        {
            if let Ok(domain) = domain.parse() {
                tally.rows += rows(&policies);
                tally.found.insert((day, domain), policies);
            }
        }
        Self {
            tally: Mutex::new(tally),
            file: Some(Mutex::new(file)),
        }
    }

    /// Counts what was found while mail to this domain was to be delivered.
    pub(crate) fn count(&self, domain: &Domain, findings: &[TlsFinding], now: Timestamp) {
        let mut tally = self.tally.lock();
        for finding in findings {
            tally.count((day(now), domain.clone()), finding);
        }
    }

    /// What was found of a domain on a day.
    pub(crate) fn of(&self, of: &Of) -> Vec<TlsPolicyRow> {
        self.tally.lock().found.get(of).cloned().unwrap_or_default()
    }

    /// The days that were over by then, with their domains.
    pub(crate) fn until(&self, then: Timestamp) -> Vec<Of> {
        let tally = self.tally.lock();
        let over = tally.found.keys().take_while(|(of, _)| *of < day(then));
        over.cloned().collect()
    }

    /// Forgets what was reported, or is not to be.
    pub(crate) fn forget(&self, of: &Of) {
        let mut tally = self.tally.lock();
        let gone = tally.found.remove(of);
        tally.rows -= gone.map_or(0, |policies| rows(&policies));
        tally.is_changed = true;
    }

    /// Has the file say what is known, if it does not. It blocks.
    pub(crate) fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut file = file.lock();
        let mut tally = self.tally.lock();
        if !std::mem::take(&mut tally.is_changed) {
            return Ok(());
        }
        let kept = tally.found.iter().map(|((day, domain), policies)| Kept {
            day: *day,
            domain: domain.to_string(),
            policies: policies.clone(),
        });
        let kept: Vec<_> = kept.collect();
        drop(tally);
        let written = file.compact(&kept);
        self.tally.lock().is_changed |= written.is_err();
        written
    }
}

impl Tally {
    fn count(&mut self, of: Of, finding: &TlsFinding) {
        let is_full = self.rows >= ROWS_MAX;
        let policy = shown(finding, &of.1);
        if is_full && !self.found.contains_key(&of) {
            return;
        }
        let policies = self.found.entry(of).or_default();
        let is_full = is_full || rows(policies) >= DOMAIN_ROWS_MAX;
        let known = policies.iter().position(|row| row.policy == policy);
        let Some(at) = known.or_else(|| (!is_full).then_some(policies.len())) else {
            return;
        };
        if at == policies.len() {
            self.rows += 1;
            policies.push(TlsPolicyRow {
                policy,
                summary: SessionCounts::default(),
                failure_details: Vec::new(),
            });
        }
        self.is_changed = true;
        let TlsPolicyRow {
            summary,
            failure_details,
            ..
        } = &mut policies[at];
        let Some(failure) = failure(finding) else {
            summary.total_successful_session_count += 1;
            return;
        };
        summary.total_failure_session_count += 1;
        let counted_once = |row: &FailureRow| FailureRow {
            failed_session_count: 1,
            ..row.clone()
        };
        let mut known = failure_details.iter_mut();
        if let Some(row) = known.find(|row| counted_once(row) == failure) {
            row.failed_session_count += 1;
        } else if !is_full {
            self.rows += 1;
            failure_details.push(failure);
        }
    }
}

/// The day of a time.
pub(crate) fn day(time: Timestamp) -> u64 {
    time.unix_secs() / DAY.as_secs()
}

/// When a day begins.
pub(crate) fn begin(day: u64) -> Timestamp {
    Timestamp::from_unix_millis(0).plus(Duration::from_secs(day.saturating_mul(DAY.as_secs())))
}

fn rows(policies: &[TlsPolicyRow]) -> usize {
    policies
        .iter()
        .map(|row| 1 + row.failure_details.len())
        .sum()
}

fn shown(finding: &TlsFinding, domain: &Domain) -> PolicyShown {
    let policy = &finding.policy;
    let some = |texts: &[String]| {
        texts
            .iter()
            .take(STRINGS_MAX)
            .map(|text| clipped(text))
            .collect()
    };
    PolicyShown {
        policy_type: policy.kind.name().to_owned(),
        policy_string: some(&policy.strings),
        policy_domain: policy.domain.as_ref().unwrap_or(domain).to_string(),
        mx_host: some(&policy.mx),
    }
}

fn failure(finding: &TlsFinding) -> Option<FailureRow> {
    let (kind, reason) = finding.failure.as_ref()?;
    Some(FailureRow {
        result_type: kind.name().to_owned(),
        sending_mta_ip: finding.source,
        receiving_mx_hostname: finding.host.as_ref().map(ToString::to_string),
        receiving_ip: finding.address,
        failed_session_count: 1,
        failure_reason_code: clipped(reason),
    })
}

fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_OCTETS_MAX)].to_owned()
}

/// Whether anybody has a use for a report of it: it is about a policy, or something failed.
pub(crate) fn is_worth_telling(policies: &[TlsPolicyRow]) -> bool {
    let none = TlsPolicyKind::NotFound.name();
    policies
        .iter()
        .any(|row| row.policy.policy_type != none || row.summary.total_failure_session_count > 0)
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Kept {
    type Err = serde_json::Error;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(line)
    }
}

pub(crate) const DAY: Duration = Duration::from_hours(24);
/// So many domains with findings, at most: some 40 MB, if all that they say is as long as it may be.
const ROWS_MAX: usize = 20_000;
const DOMAIN_ROWS_MAX: usize = 32;
const STRINGS_MAX: usize = 10;
const TEXT_OCTETS_MAX: usize = 200;

#[cfg(test)]
mod tests;
