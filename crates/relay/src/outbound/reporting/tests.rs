//! What is reported, to whom, and when.

use delivery::Work as _;
use dns::Fixed;
use envelope::{SenderTls, TlsFailure, TlsFinding, TlsPolicy, TlsPolicyKind};
use flate2::read::GzDecoder;
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::{Value, json};
use spool::BodyReader;

use super::*;
use crate::outbound::tests::Fixture;
use crate::tests::{lines, routing};

/// A relay that has met an expired certificate of `a.test`'s host, whose policy forbids that; and one day has passed.
fn fixture(record: &str) -> Fixture {
    let mut records = Fixed::new();
    if !record.is_empty() {
        records = records.with_txt("_smtp._tls.a.test", record);
    }
    let mut fixture = Fixture::with(routing(""), records);
    let clock = fixture.outbound.spool.clock().clone();
    Arc::get_mut(&mut fixture.outbound).unwrap().clock = clock;
    let finding = finding();
    let well = TlsFinding {
        failure: None,
        ..finding.clone()
    };
    let reports = &fixture.outbound.tls_reports;
    reports.count(
        &"a.test".parse().unwrap(),
        &[finding.clone(), well, finding],
        begin(20_000),
    );
    fixture.outbound.clock.set(begin(20_001));
    fixture
}

/// An expired certificate of `a.test`'s host.
fn finding() -> TlsFinding {
    TlsFinding {
        policy: Arc::new(TlsPolicy {
            kind: TlsPolicyKind::Sts,
            domain: None,
            strings: vec!["version: STSv1".to_owned(), "mode: enforce".to_owned()],
            mx: vec!["*.a.test".to_owned()],
        }),
        host: "mx.a.test".parse().ok(),
        address: "2001:db8::1".parse().ok(),
        source: "192.0.2.7".parse().ok(),
        failure: Some((
            TlsFailure::CertificateExpired,
            "expired yesterday".to_owned(),
        )),
    }
}

/// That report, as RFC 8460 §4.4 writes it.
fn expected() -> Value {
    json!({
        "organization-name": "mx.fwd.test",
        "date-range": {"start-datetime": "2024-10-04T00:00:00Z", "end-datetime": "2024-10-04T23:59:59Z"},
        "contact-info": "postmaster@mx.fwd.test",
        "report-id": "2024-10-04.a.test@mx.fwd.test",
        "policies": [{
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", "mode: enforce"],
                "policy-domain": "a.test",
                "mx-host": ["*.a.test"],
            },
            "summary": {"total-successful-session-count": 1, "total-failure-session-count": 2},
            "failure-details": [{
                "result-type": "certificate-expired",
                "sending-mta-ip": "192.0.2.7",
                "receiving-mx-hostname": "mx.a.test",
                "receiving-ip": "2001:db8::1",
                "failed-session-count": 2,
                "failure-reason-code": "expired yesterday",
            }],
        }],
    })
}

#[tokio::test]
async fn a_report_is_mailed_as_rfc_8460_has_it() {
    let mut fixture = fixture("v=TLSRPTv1; rua=mailto:tls@r.test");
    let hour = Duration::from_hours(1);
    fixture.outbound.report_tls(hour).await;
    let now = fixture.outbound.clock.now();
    assert!(fixture.claim(now).await.is_empty(), "it is too early");
    fixture.outbound.clock.set(begin(20_001).plus(hour));
    fixture.outbound.report_tls(hour).await;
    let now = fixture.outbound.clock.now();
    let [claim] = &fixture.claim(now).await[..] else {
        unreachable!("one report is queued")
    };
    assert_eq!(claim.leg.target.to_string(), "tls@r.test");
    assert!(claim.leg.reverse_path.is_null() && claim.message.reverse_path.is_null());
    assert_eq!(claim.leg.options.sender_tls(), SenderTls::NotRequired);
    let reader = fixture.outbound.spool.open_body(claim.message.id).await;
    let mut reader = reader.unwrap();
    let mut mail = Vec::new();
    while let Some(chunk) = reader.chunk().await.unwrap() {
        mail.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&mail).replace("\r\n ", " ");
    for field in [
        "From: postmaster@mx.fwd.test\r\n",
        "To: tls@r.test\r\n",
        "Subject: Report Domain: a.test Submitter: mx.fwd.test Report-ID: <2024-10-04.a.test@mx.fwd.test>\r\n",
        "TLS-Report-Domain: a.test\r\n",
        "TLS-Report-Submitter: mx.fwd.test\r\n",
        "TLS-Required: No\r\n",
        "Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=",
        "filename=\"mx.fwd.test!a.test!1728000000!1728086399.json.gz\"\r\n",
    ] {
        assert!(text.contains(field), "{field}: {text}");
    }
    // MIME, gzip and JSON by others' readers.
    let parsed = MessageParser::new().parse(&mail).unwrap();
    let part = parsed.attachment(0).unwrap();
    let kind = part.content_type().unwrap();
    assert_eq!(
        (kind.ctype(), kind.subtype()),
        ("application", Some("tlsrpt+gzip"))
    );
    let json: Value = serde_json::from_reader(GzDecoder::new(part.contents())).unwrap();
    assert_eq!(json, expected());
    let told = lines(&mut fixture.events);
    assert!(
        told[0].starts_with("alerted to=tls@r.test tls-report=1"),
        "{told:?}"
    );
    fixture.outbound.report_tls(hour).await;
    assert!(fixture.claim(now).await.is_empty(), "it goes once");
}

/// Days that wait after the end of this one, and mails that went.
async fn check(record: &str, after: Duration, expected: (usize, usize)) {
    let fixture = fixture(record);
    fixture.outbound.clock.set(begin(20_001).plus(after));
    fixture.outbound.report_tls(Duration::ZERO).await;
    let now = fixture.outbound.clock.now();
    let waiting = fixture.outbound.tls_reports.until(now).len();
    assert_eq!(
        (waiting, fixture.claim(now).await.len()),
        expected,
        "{record}"
    );
}

#[tokio::test]
async fn nobody_is_told_unasked_and_nothing_waits_for_ever() {
    let hour = Duration::from_hours(1);
    check("", hour, (0, 0)).await;
    check(
        "v=TLSRPTv1; rua=mailto:tls@r.test,mailto:ops@r.test",
        hour,
        (0, 2),
    )
    .await;
    // It leads to this machine, which is refused.
    let local = "v=TLSRPTv1; rua=https://localhost:9/x";
    check(local, hour, (1, 0)).await;
    check(local, 47 * hour, (1, 0)).await;
    check(local, 48 * hour, (0, 0)).await;
    check(
        "v=TLSRPTv1; rua=https://localhost:9/x,mailto:tls@r.test",
        hour,
        (0, 1),
    )
    .await;
}

/// Who makes up domains does not have us flood somebody else's mailbox.
#[tokio::test]
async fn one_mailbox_gets_so_many_reports_a_day() {
    let mut records = Fixed::new();
    let names = || (0..200).map(|n| format!("x{n}.evil.test"));
    for name in names() {
        records = records.with_txt(
            format!("_smtp._tls.{name}"),
            "v=TLSRPTv1; rua=mailto:victim@r.test",
        );
    }
    let mut fixture = Fixture::with(routing(""), records);
    let clock = fixture.outbound.spool.clock().clone();
    Arc::get_mut(&mut fixture.outbound).unwrap().clock = clock;
    let reports = &fixture.outbound.tls_reports;
    for name in names() {
        reports.count(&name.parse().unwrap(), &[finding()], begin(20_000));
    }
    fixture.outbound.clock.set(begin(20_002));
    fixture.outbound.report_tls(Duration::ZERO).await;
    let now = fixture.outbound.clock.now();
    let mut mails = 0;
    loop {
        match fixture.claim(now).await.len() {
            0 => break,
            some => mails += some,
        }
    }
    assert_eq!(mails, 50);
    assert!(fixture.outbound.tls_reports.until(now).is_empty());
}

/// What nothing was held to says nothing: and a report is of that kind, so it makes no other.
#[tokio::test]
async fn mail_whose_sender_wants_no_tls_is_not_counted() {
    let fixture = fixture("");
    let now = fixture.outbound.clock.now();
    let message = Arc::new(testkit::nouns::message(
        envelope::MessageId::from_bits(1),
        1,
    ));
    for (sender, expected) in [(SenderTls::NotRequired, 0), (SenderTls::AsUsual, 1)] {
        let leg = testkit::nouns::leg("a@b.test");
        let options = leg.options.with_sender_tls(sender);
        let claim = testkit::nouns::claim(&message, 0, envelope::Leg { options, ..leg });
        fixture.outbound.tls_found(&[claim], &[finding()]);
        let of = (day(now), "b.test".parse().unwrap());
        assert_eq!(fixture.outbound.tls_reports.of(&of).len(), expected);
    }
}

#[track_caller]
fn check_wanted(records: &[&str], expected: &[&str]) {
    let records: Vec<_> = records
        .iter()
        .map(|record| record.as_bytes().to_vec())
        .collect();
    let shown = |url: Url| mailbox(&url).map_or_else(|| url.to_string(), |to| to.to_string());
    let wanted: Vec<_> = wanted(&records).into_iter().map(shown).collect();
    assert_eq!(wanted, expected, "{records:?}");
}

#[test]
fn what_a_record_asks_for() {
    let one = "v=TLSRPTv1;rua=mailto:a@r.test";
    check_wanted(&[one], &["a@r.test"]);
    check_wanted(&["v=spf1 -all", one], &["a@r.test"]);
    check_wanted(&[one, one], &[]);
    let both = "v=TLSRPTv1; rua = mailto:a@r.test , https://r.test/v1?x=y; ext=1;";
    check_wanted(&[both], &["a@r.test", "https://r.test/v1?x=y"]);
    let none =
        "v=TLSRPTv1; rua=http://r.test/,https://127.0.0.1/,https://[::1]/,mailto:x,ftp://r.test,,";
    check_wanted(&[none, "\u{fc}"], &[]);
    let many = "v=TLSRPTv1; rua=".to_owned() + &"mailto:a@r.test,".repeat(1000);
    check_wanted(&[&many], &["a@r.test"; WANTED_MAX]);
    check_wanted(&["v=TLSRPTv1", "", "rua=mailto:a@r.test"], &[]);
}
