//! Rows: what a domain publishes, what is found, and the record that is right.

use std::net::IpAddr;

use crate::tests::{Zone, evaluate};
use crate::{Answer, Lint, Lookup, Query, Report, Verdict};

fn lint(domain: &str, senders: &[IpAddr], answer: impl Fn(&Lookup) -> Answer) -> Report {
    evaluate(Lint::new(domain, senders), answer).0
}

/// `fault [@place]` for each finding, then what to publish. A right record must be found right.
#[track_caller]
fn check_senders(zone: &'static str, senders: &[&str], expected: &str) -> Report {
    let senders: Vec<IpAddr> = senders.iter().map(|ip| ip.parse().unwrap()).collect();
    let zone = Zone(zone);
    let report = lint("x.test", &senders, |lookup| zone.answer(lookup));
    let findings = report.findings.iter().map(|finding| {
        let place = finding.place.as_ref();
        let place = place.map(|place| format!(" {}@{} {}", place.record, place.at, place.term));
        format!("{}{}", finding.fault, place.unwrap_or_default())
    });
    let right = report.right.iter().map(ToString::to_string);
    let found: Vec<String> = findings.chain(right).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim).collect();
    assert_eq!(found, expected, "{:#?}", report.findings);
    check_right(&report, &senders, &zone);
    report
}

/// What is to be published needs no more than what is good to know.
#[track_caller]
fn check_right(report: &Report, senders: &[IpAddr], zone: &Zone) {
    if report.right.is_empty() {
        return;
    }
    let again = lint("x.test", senders, |lookup| match lookup {
        Lookup::Txt(name) => {
            let mut right = report.right.iter();
            match right.find(|entry| entry.name == *name) {
                Some(entry) => Answer::Txt(vec![entry.strings.concat().into_bytes()]),
                None => zone.answer(lookup),
            }
        }
        lookup => zone.answer(lookup),
    });
    let still = again.findings.iter().map(|finding| finding.fault);
    let still: Vec<&str> = still
        .filter(|fault| !report.findings.iter().any(|before| before.fault == *fault))
        .collect();
    assert!(
        still
            .iter()
            .all(|fault| ["only-ipv4", "long", "no-aaaa"].contains(fault)),
        "{again:#?}"
    );
    assert!(again.right.is_empty(), "{again:#?}");
}

#[track_caller]
fn check(zone: &'static str, expected: &str) -> Report {
    check_senders(zone, &[], expected)
}

#[test]
fn nothing_wrong() {
    check(
        "x.test TXT v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",
        "",
    );
    check("x.test TXT other", "no-record");
    check_senders("x.test TIMEOUT", &["192.0.2.1"], "no-answer");
    check(
        "x.test TXT v=spf1  redirect=y.test ra=postmaster
         y.test TXT v=spf1 ip6:2001:db8::1 ~all",
        "unknown-modifier 0@24 ra=postmaster
         x.test. IN TXT \"v=spf1 redirect=y.test\"",
    );
}

/// As a provider's customer has it: four, one of them with a mistake.
#[test]
fn several_records_become_one() {
    let report = check(
        "x.test TXT v=spf1 a mx ~all
         x.test TXT v=spf1 include:spf.big.test -all
         x.test TXT v=spf1 ip4:192.0.2.300 include:spf.big.test ~all
         x.test TXT v=spf1 ip4:198.51.100.7 ip4:2001:db8::7 mx ?all
         x.test A 192.0.2.1
         x.test AAAA 2001:db8::1
         x.test MX mail.x.test
         mail.x.test A 192.0.2.2
         mail.x.test AAAA 2001:db8::2
         spf.big.test TXT v=spf1 ip4:203.0.113.0/24 ip6:2001:db8:5::/48 ~all",
        "syntax 2@11 192.0.2.300
         duplicate 2@23 include:spf.big.test
         syntax 3@28 2001:db8::7
         duplicate 3@40 mx
         several-records
         x.test. IN TXT \"v=spf1 a mx include:spf.big.test ip4:198.51.100.7 ip6:2001:db8::7 ~all\"",
    );
    assert!(report.is_bad());
}

#[test]
fn names_without_a_dot() {
    let zone = "x.test TXT v=spf1 mx a:ironport a:sandberg
                x.test MX mail.x.test
                mail.x.test A 192.0.2.2
                mail.x.test AAAA 2001:db8::2
                ironport.x.test A 192.0.2.3";
    check(
        zone,
        "relative-name 0@12 ironport
         relative-name 0@23 sandberg
         no-all
         x.test. IN TXT \"v=spf1 mx a:ironport.x.test ~all\"",
    );
}

#[test]
fn terms_that_cannot_be_read() {
    for (term, fault, right) in [
        ("a:192.0.2.1", "syntax 0@9 192.0.2.1", "ip4:192.0.2.1"),
        ("ip:192.0.2.1", "syntax 0@7 ip:192.0.2.1", "ip4:192.0.2.1"),
        ("192.0.2.1", "syntax 0@7 192.0.2.1", "ip4:192.0.2.1"),
        ("2001:db8::1", "syntax 0@7 2001:db8::1", "ip6:2001:db8::1"),
        (
            "ip4=192.0.2.1",
            "unknown-modifier 0@7 ip4=192.0.2.1",
            "ip4:192.0.2.1",
        ),
        ("ip4:192.0.2.1,", "syntax 0@11 192.0.2.1,", "ip4:192.0.2.1"),
        ("ip4:192.0.2.1/33", "syntax 0@20 /33", ""),
        ("ip6:2001:db8::1/129", "syntax 0@22 /129", ""),
        (
            "include=y.test",
            "unknown-modifier 0@7 include=y.test",
            "include:y.test",
        ),
        ("redirect:y.test", "syntax 0@16 y.test", "include:y.test"),
        ("a.x.test", "syntax 0@7 a.x.test", "a:a.x.test"),
        ("include:", "syntax 0@7 include:", ""),
        ("exists:%{x}.y.test", "syntax 0@14 %{x}.y.test", ""),
        ("op=auth", "unknown-modifier 0@7 op=auth", ""),
        ("ip4:192.0.2.1\u{a0}", "syntax 0@20 \u{a0}", "ip4:192.0.2.1"),
        ("~all;", "syntax 0@7 ~all;", "~all"),
        ("m\u{ff}x/8.x", "syntax 0@8 \u{ff}x/8.x", ""),
    ] {
        let zone = "y.test TXT v=spf1 ip6:2001:db8::1 ~all
                    a.x.test A 192.0.2.1
                    a.x.test AAAA 2001:db8::1";
        let report = lint("x.test", &[], |lookup| match lookup {
            Lookup::Txt(name) if name == "x.test" => {
                Answer::Txt(vec![format!("v=spf1 {term} ip6:2001:db8::9 -all").into()])
            }
            lookup => Zone(zone).answer(lookup),
        });
        let finding = &report.findings[0];
        let place = finding.place.as_ref().unwrap();
        let found = format!(
            "{} {}@{} {}",
            finding.fault, place.record, place.at, place.term
        );
        assert_eq!(found, fault, "{term}");
        let expected = match right {
            "" => "v=spf1 ip6:2001:db8::9 -all".to_owned(),
            "~all" => "v=spf1 ip6:2001:db8::9 ~all".to_owned(),
            right => format!("v=spf1 {right} ip6:2001:db8::9 -all"),
        };
        assert_eq!(report.right[0].record, expected, "{term}");
    }
}

#[test]
fn terms_that_do_no_good() {
    check(
        "x.test TXT v=spf1 ptr +all include:y.test redirect=z.test
         y.test TXT v=spf1 ip6:2001:db8::1 -all
         z.test TXT v=spf1 ip6:2001:db8::2 -all",
        "ptr 0@7 ptr
         everybody 0@11 +all
         after-all 0@16 include:y.test
         redirect-beside-all
         x.test. IN TXT \"v=spf1 include:y.test include:z.test ~all\"",
    );
    check(
        "x.test TXT v=spf1 exists:y.test exists:%{p}.y.test exists:%{i}.y.test ip4:0.0.0.0/0 ip4:192.0.2.1 ?all",
        "constant-exists 0@7 exists:y.test
         macro-p 0@21 exists:%{p}.y.test
         everybody 0@59 ip4:0.0.0.0/0
         x.test. IN TXT \"v=spf1 exists:%{p}.y.test exists:%{i}.y.test ip4:192.0.2.1 ?all\"",
    );
    check(
        "x.test TXT \"v=spf1; a -all
         x.test A 192.0.2.1
         x.test AAAA 2001:db8::1",
        "not-read 0@0 v=spf1
         syntax 0@6 ;
         x.test. IN TXT \"v=spf1 a -all\"",
    );
}

#[test]
fn includes() {
    check(
        "x.test TXT v=spf1 include:none.test include:bad.test include:x.test include:open.test include:slow.test ip6:2001:db8::1 -all
         bad.test TXT v=spf1 include:worse.test -all
         worse.test TXT v=spf1 a: -all
         open.test TXT v=spf1 +all
         slow.test TIMEOUT",
        "unusable 0@7 include:none.test
         unusable 0@25 include:bad.test
         unusable 0@42 include:x.test
         everybody 0@57 include:open.test
         no-answer 0@75 include:slow.test
         x.test. IN TXT \"v=spf1 include:slow.test ip6:2001:db8::1 -all\"",
    );
}

#[test]
fn too_many_lookups() {
    let report = check(
        "x.test TXT v=spf1 mx a:a.test a:b.test a:c.test include:i.test include:j.test ip6:2001:db8::/32 -all
         x.test MX a.test
         a.test A 192.0.2.1
         a.test AAAA 2001:db8::1
         b.test A 192.0.2.2
         c.test A 192.0.2.3
         i.test TXT v=spf1 include:j.test a:d.test -all
         j.test TXT v=spf1 include:k.test exists:%{i}.j.test -all
         k.test TXT v=spf1 redirect=l.test
         l.test TXT v=spf1 ip4:192.0.2.9 ~all",
        "too-many-lookups
         too-many-voids
         flattened
         flattened
         flattened
         flattened
         x.test. IN TXT \"v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 ip4:192.0.2.3 include:i.test include:j.test ip6:2001:db8::/32 -all\"",
    );
    assert_eq!(report.lookups, 14);
    let j = &report.tree[5];
    assert_eq!((j.term.as_str(), j.lookups), ("include:j.test", 4));
    assert_eq!(j.below[0].below[0].below[0].term, "ip4:192.0.2.9");
}

#[test]
fn ipv4_alone() {
    // Nothing is known of hosts with IPv6.
    check(
        "x.test TXT v=spf1 mx ip4:192.0.2.1 -all
         x.test MX m1.x.test
         x.test MX m2.x.test
         m1.x.test A 192.0.2.2
         m2.x.test A 192.0.2.3",
        "no-aaaa 0@7 mx
         only-ipv4",
    );
    check(
        "x.test TXT v=spf1 mx ip4:192.0.2.1 -all
         x.test MX m.x.test
         m.x.test A 192.0.2.2
         192.0.2.1 PTR out.x.test
         out.x.test A 192.0.2.1
         out.x.test AAAA 2001:db8::1",
        "no-aaaa 0@7 mx
         other-family
         x.test. IN TXT \"v=spf1 ip6:2001:db8::1 mx ip4:192.0.2.1 -all\"",
    );
    // A name that does not lead back says nothing.
    check(
        "x.test TXT v=spf1 ip4:192.0.2.1 -all
         192.0.2.1 PTR out.y.test
         out.y.test A 192.0.2.9
         out.y.test AAAA 2001:db8::1",
        "only-ipv4",
    );
}

#[test]
fn long_records() {
    let numbers = |numbers: std::ops::Range<u32>| {
        let terms = numbers.map(|number| format!("ip4:192.0.2.{number} "));
        terms.collect::<String>()
    };
    let lint = |record: String| {
        lint("x.test", &[], |lookup| match lookup {
            Lookup::Txt(name) if name == "x.test" => Answer::Txt(vec![record.clone().into()]),
            _ => Answer::Nothing,
        })
    };
    let report = lint(format!("v=spf1 {}-all", numbers(10..30)));
    assert_eq!(report.findings[0].fault, "long");
    assert!(report.right.is_empty());
    let report = lint(format!(
        "v=spf1 include:%{{i}}.y.test {}-all",
        numbers(10..40)
    ));
    assert_eq!(report.findings[0].fault, "too-long");
    let main = "v=spf1 include:_spf1.x.test include:_spf2.x.test include:_spf3.x.test include:_spf4.x.test include:%{i}.y.test -all";
    assert_eq!(report.right[0].record, main);
    assert_eq!(
        report.right[4].record,
        format!("v=spf1 {}-all", numbers(37..40))
    );
    let text = report.right[1].to_string();
    assert!(
        text.starts_with("_spf1.x.test. IN TXT \"v=spf1 ip4:192.0.2.10 "),
        "{text}"
    );
}

#[test]
fn build_keeps_what_is_there() {
    let ours = ["192.0.2.1", "2001:db8::1"];
    check_senders(
        "",
        &ours,
        "no-record
         sender-missing
         sender-missing
         x.test. IN TXT \"v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 ~all\"",
    );
    check_senders(
        "x.test TXT v=spf1 include:y.test a -all
         x.test A 192.0.2.9
         x.test AAAA 2001:db8::9
         y.test TXT v=spf1 ip6:2001:db8::/64 -all",
        &ours,
        "sender-missing
         x.test. IN TXT \"v=spf1 ip4:192.0.2.1 include:y.test a -all\"",
    );
    check_senders(
        "x.test TXT v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",
        &ours,
        "",
    );
}

/// Whatever a zone answers, there is an end, and it comes soon.
#[test]
fn hostile_zones() {
    let many = |term: &str| format!("v=spf1 {}-all", term.repeat(16_000 / term.len()));
    for record in [
        many("include:%{d}.a "),
        many("a:b.test mx:c.test "),
        many("a:b "),
        many("; "),
        many("ip4:192.0.2.1 ip6:2001:db8::1 "),
        many("x"),
        "v=spf1 include:l.%{d} redirect=r.%{d}".to_owned(),
        "v=spf1 include:a.l.test include:b.l.test include:c.l.test".to_owned(),
    ] {
        let asked = std::cell::Cell::new(0);
        let report = lint("l.test", &["192.0.2.7".parse().unwrap()], |lookup| {
            asked.set(asked.get() + 1);
            match lookup {
                Lookup::Txt(_) => Answer::Txt(vec![record.clone().into(); 4]),
                Lookup::Mx(_) => Answer::Names((0..10).map(|n| format!("{n}.test")).collect()),
                Lookup::Ptr(_) => Answer::Names(vec!["p.test".to_owned(); 100]),
                _ => Answer::Addresses(vec!["192.0.2.1".parse().unwrap(); 100]),
            }
        });
        assert!(
            asked.get() < 1500,
            "{} questions for {record:.80}",
            asked.get()
        );
        assert!(report.is_bad());
    }
}

/// An evaluation and a lint agree on what is a permanent error.
#[test]
fn agrees_with_the_evaluation() {
    for record in [
        "v=spf1 a:b -all",
        "v=spf1 include:x.test -all",
        "v=spf1 include:none.test -all",
        "v=spf1 ip4:1 -all",
    ] {
        let answer = |lookup: &Lookup| match lookup {
            Lookup::Txt(name) if name == "x.test" => Answer::Txt(vec![record.into()]),
            _ => Answer::Nothing,
        };
        let client = "192.0.2.7".parse().unwrap();
        let (output, _) = evaluate(Query::helo(client, "x.test"), answer);
        assert_eq!(output.verdict, Verdict::PermError, "{record}");
        let report = lint("x.test", &[], answer);
        assert!(report.is_bad(), "{record}");
    }
}
