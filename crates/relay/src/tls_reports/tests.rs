//! What is counted, how much of it, and that it is kept.

use std::fs;

use envelope::{TlsFailure, TlsPolicy};

use super::*;

fn finding(kind: TlsPolicyKind, failure: Option<(TlsFailure, &str)>) -> TlsFinding {
    TlsFinding {
        policy: TlsPolicy {
            kind,
            domain: None,
            strings: Vec::new(),
            mx: Vec::new(),
        }
        .into(),
        host: Some("mx.a.test".parse().unwrap()),
        address: "192.0.2.1".parse().ok(),
        source: None,
        failure: failure.map(|(kind, text)| (kind, text.to_owned())),
    }
}

fn today() -> Timestamp {
    begin(20_000)
}

/// What is known of `a.test` today: policy, sessions well and failed, and its failures.
fn told(reports: &TlsReports) -> String {
    let row = |row: TlsPolicyRow| {
        let SessionCounts {
            total_successful_session_count: well,
            total_failure_session_count: failed,
        } = row.summary;
        let failures = row.failure_details.iter();
        let failures = failures.map(|f| format!(" {}:{}", f.result_type, f.failed_session_count));
        let policy = row.policy.policy_type + "@" + &row.policy.policy_domain;
        format!("{policy} {well} {failed}{}", failures.collect::<String>())
    };
    let policies = reports.of(&(20_000, "a.test".parse().unwrap()));
    policies.into_iter().map(row).collect::<Vec<_>>().join(", ")
}

#[test]
fn sessions_are_counted_by_policy_and_failure() {
    use TlsPolicyKind::{NotFound, Sts, Tlsa};
    let reports = TlsReports::default();
    let (expired, clear) = (
        TlsFailure::CertificateExpired,
        TlsFailure::StarttlsNotSupported,
    );
    let domain = "a.test".parse().unwrap();
    let mut dane = finding(Tlsa, None);
    dane.policy = TlsPolicy {
        domain: Some("mx.b.test".parse().unwrap()),
        ..(*dane.policy).clone()
    }
    .into();
    for (finding, expected) in [
        (finding(NotFound, None), "no-policy-found@a.test 1 0"),
        (finding(NotFound, None), "no-policy-found@a.test 2 0"),
        (
            finding(Sts, Some((expired, "yesterday"))),
            "no-policy-found@a.test 2 0, sts@a.test 0 1 certificate-expired:1",
        ),
        (
            finding(Sts, Some((expired, "yesterday"))),
            "no-policy-found@a.test 2 0, sts@a.test 0 2 certificate-expired:2",
        ),
        (
            finding(Sts, Some((clear, "not offered"))),
            "no-policy-found@a.test 2 0, sts@a.test 0 3 certificate-expired:2 starttls-not-supported:1",
        ),
        (
            dane,
            "no-policy-found@a.test 2 0, sts@a.test 0 3 certificate-expired:2 starttls-not-supported:1, tlsa@mx.b.test 1 0",
        ),
    ] {
        reports.count(&domain, &[finding], today());
        assert_eq!(told(&reports), expected);
    }
    assert!(reports.of(&(20_001, domain)).is_empty());
}

#[test]
fn only_a_policy_or_a_failure_is_worth_telling() {
    let failure = Some((TlsFailure::ValidationFailure, "x"));
    for (kind, failure, expected) in [
        (TlsPolicyKind::NotFound, None, false),
        (TlsPolicyKind::NotFound, failure, true),
        (TlsPolicyKind::Tlsa, None, true),
    ] {
        let reports = TlsReports::default();
        let domain: Domain = "a.test".parse().unwrap();
        reports.count(&domain, &[finding(kind, failure)], today());
        assert_eq!(is_worth_telling(&reports.of(&(20_000, domain))), expected);
    }
    assert!(!is_worth_telling(&[]));
}

/// Who makes up domains, policies and failures fills no memory.
#[test]
fn what_is_kept_is_bounded() {
    let reports = TlsReports::default();
    let domain: Domain = "a.test".parse().unwrap();
    for n in 0..100 {
        let long = "ä".repeat(500) + "\r\n";
        let mut found = finding(
            TlsPolicyKind::Sts,
            Some((TlsFailure::ValidationFailure, &long)),
        );
        found.address = Some([10, 0, 0, n].into());
        reports.count(&domain, &[found], today());
    }
    let [row] = &reports.of(&(20_000, domain))[..] else {
        unreachable!("there is one policy")
    };
    assert_eq!(row.summary.total_failure_session_count, 100);
    assert_eq!(row.failure_details.len(), DOMAIN_ROWS_MAX - 1);
    assert_eq!(
        row.failure_details[0].failure_reason_code.len(),
        TEXT_OCTETS_MAX
    );
    for n in 0..ROWS_MAX + 10 {
        let domain = format!("d{n}.test").parse().unwrap();
        reports.count(&domain, &[finding(TlsPolicyKind::NotFound, None)], today());
    }
    assert_eq!(reports.tally.lock().rows, ROWS_MAX);
    // Made-up ones give way.
    let last = "last.test".parse().unwrap();
    reports.count(&last, &[finding(TlsPolicyKind::Tlsa, None)], today());
    assert_eq!(reports.of(&(20_000, last)).len(), 1);
    for of in reports.until(begin(20_001)) {
        reports.forget(&of);
    }
    assert_eq!(reports.tally.lock().rows, 0);
}

#[test]
fn a_restart_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let reports = TlsReports::open(dir.path());
    let failed = finding(
        TlsPolicyKind::Sts,
        Some((TlsFailure::ValidationFailure, "x\ny")),
    );
    reports.count(&"a.test".parse().unwrap(), &[failed], today());
    reports.count(
        &"b.test".parse().unwrap(),
        &[finding(TlsPolicyKind::Tlsa, None)],
        begin(19_999),
    );
    reports.write().unwrap();
    let again = TlsReports::open(dir.path());
    assert_eq!(told(&again), "sts@a.test 0 1 validation-failure:1");
    assert_eq!(again.tally.lock().rows, 3);
    assert_eq!(again.until(today()), [(19_999, "b.test".parse().unwrap())]);
    again.forget(&(19_999, "b.test".parse().unwrap()));
    again.write().unwrap();
    assert_eq!(TlsReports::open(dir.path()).tally.lock().rows, 2);
    // Nobody promises that what is there was written by us.
    fs::write(dir.path().join("tls-reports"), b"\xff\n00000000 {}\n").unwrap();
    assert_eq!(TlsReports::open(dir.path()).tally.lock().rows, 0);
}
