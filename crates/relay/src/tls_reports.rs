//! What was found of TLS with the hosts of each recipient domain, by UTC day, until it is reported (RFC 8460).
//!
//! All of it is in memory, and bounded whatever is found: so many rows altogether, and of one domain. It is written to the
//! file `tls-reports` of the spool now and then: a crash loses the last minutes of counting, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::time::Duration;

use control::{FailureRow, PolicyShown, SessionCounts, TlsPolicyRow};
use envelope::{Domain, Mailbox, Timestamp, TlsFinding, TlsPolicyKind};
use linefile::LineFile;
use parking_lot::Mutex;

/// All findings that are not reported yet.
#[derive(Debug, Default)]
pub struct TlsReports {
    tally: Mutex<Tally>,
    file: Option<Mutex<LineFile<String>>>,
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
    /// Reports that each mailbox has got on this day.
    mailed: (u64, HashMap<Mailbox, usize>),
}

impl TlsReports {
    /// What the file in this directory says. What it cannot say is logged and left out.
    pub fn open(dir: &Path) -> Self {
        let path = dir.join("tls-reports");
        let lost = "so earlier findings of TLS are not reported";
        let (file, lines) = LineFile::<String>::open(&path, lost);
        let mut tally = Tally::default();
        for line in lines {
            let line = serde_json::from_str::<(u64, String, Vec<TlsPolicyRow>)>(&line);
            if let Ok((day, domain, policies)) = line
                && let Ok(domain) = domain.parse()
            {
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
        self.tally.lock().forget(of);
    }

    /// Counts a report for this mailbox, unless it has had its share today: who makes up domains may have named somebody else's.
    pub(crate) fn may_mail(&self, to: &Mailbox, now: Timestamp) -> bool {
        let mut tally = self.tally.lock();
        let (today, mailed) = &mut tally.mailed;
        if *today != day(now) {
            (*today, *mailed) = (day(now), HashMap::new());
        }
        let mails = mailed.entry(to.clone()).or_default();
        *mails += 1;
        *mails <= MAILS_MAX
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
        let found = tally.found.clone();
        drop(tally);
        let lines = found.iter().map(|((day, domain), policies)| {
            serde_json::to_string(&(day, domain.as_str(), policies))
        });
        let lines: Result<Vec<_>, _> = lines.collect();
        let written = lines.map_err(io::Error::from);
        let written = written.and_then(|lines| file.compact(&lines));
        self.tally.lock().is_changed |= written.is_err();
        written
    }
}

impl Tally {
    fn forget(&mut self, of: &Of) {
        let gone = self.found.remove(of);
        self.rows -= gone.map_or(0, |policies| rows(&policies));
        self.is_changed = true;
    }

    /// Who makes up domains makes one session with each. Of those beside this one in the alphabet, one gives way.
    fn make_room(&mut self, of: &Of) {
        let before = self.found.range(..of).rev().take(NEIGHBOURS);
        let mut beside = before.chain(self.found.range(of..).take(NEIGHBOURS));
        let made_up = beside.find(|(_, policies)| sessions(policies) <= 1);
        if let Some(made_up) = made_up.map(|(of, _)| of.clone()) {
            self.forget(&made_up);
        }
    }

    fn count(&mut self, of: Of, finding: &TlsFinding) {
        let is_new = !self.found.contains_key(&of);
        if is_new && self.rows >= ROWS_MAX {
            self.make_room(&of);
        }
        let is_full = self.rows >= ROWS_MAX;
        let policy = shown(finding, &of.1);
        if is_full && is_new {
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

fn sessions(policies: &[TlsPolicyRow]) -> u64 {
    let of = |row: &TlsPolicyRow| {
        row.summary.total_successful_session_count + row.summary.total_failure_session_count
    };
    policies.iter().map(of).sum()
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

pub(crate) const DAY: Duration = Duration::from_hours(24);
/// So many domains with findings, at most: some 40 MB, if all that they say is as long as it may be.
const ROWS_MAX: usize = 20_000;
const DOMAIN_ROWS_MAX: usize = 32;
/// Those that are looked at for one that gives way, on each side.
const NEIGHBOURS: usize = 16;
/// More than anybody's domains who has his reports sent to one mailbox.
const MAILS_MAX: usize = 50;
const STRINGS_MAX: usize = 10;
const TEXT_OCTETS_MAX: usize = 200;

#[cfg(test)]
mod tests;
