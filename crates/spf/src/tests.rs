//! Rows: records, a sender, and what must come out. The RFC's own cases are in the public suite (`tests/foreign/spf.rs`).

use std::net::IpAddr;

use crate::{Answer, Evaluation, Lookup, Output, Problem, Query, Question, Step, Verdict};

/// Lines `name TYPE value`; names that are not there do not exist.
pub(crate) struct Zone(pub(crate) &'static str);

impl Zone {
    pub(crate) fn answer(&self, lookup: &Lookup) -> Answer {
        let (name, kind) = match lookup {
            Lookup::Txt(name) => (name.clone(), "TXT"),
            Lookup::A(name) => (name.clone(), "A"),
            Lookup::Aaaa(name) => (name.clone(), "AAAA"),
            Lookup::Mx(name) => (name.clone(), "MX"),
            Lookup::Ptr(address) => (address.to_string(), "PTR"),
        };
        let lines = self.0.lines().map(str::trim);
        let found = lines.filter_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
        let found: Vec<&str> = found.collect();
        if found.contains(&"TIMEOUT") {
            return Answer::Failed("timeout".to_owned());
        }
        let of_kind = |text: &&'static str| text.strip_prefix(kind)?.strip_prefix(' ');
        let found: Vec<&str> = found.iter().filter_map(of_kind).collect();
        match kind {
            _ if found.is_empty() => Answer::Nothing,
            "TXT" => Answer::Txt(found.iter().map(|text| text.as_bytes().to_vec()).collect()),
            "A" | "AAAA" => {
                Answer::Addresses(found.iter().map(|text| text.parse().unwrap()).collect())
            }
            _ => Answer::Names(found.iter().map(|text| (*text).to_owned()).collect()),
        }
    }
}

/// The result, and how many questions each step asked.
pub(crate) fn evaluate<Q: Question>(
    question: Q,
    answer: impl Fn(&Lookup) -> Answer,
) -> (Q::Found, Vec<usize>) {
    let mut evaluation = Evaluation::new(question);
    let mut asked = Vec::new();
    loop {
        match evaluation.step() {
            Step::Done(output) => return (output, asked),
            Step::Ask(lookups) => {
                assert!(!lookups.is_empty() && asked.len() < ROUNDS_MAX, "no end");
                asked.push(lookups.len());
                for lookup in lookups {
                    let answer = answer(&lookup);
                    evaluation.answer(lookup, answer);
                }
            }
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn from(domain: &str) -> Query {
    Query::mail_from(ip("192.0.2.7"), "mx.client.test", "alice", domain)
}

fn check_zone(domain: &str, expected: &str) -> Output {
    let (output, _) = evaluate(from(domain), |lookup| ZONE.answer(lookup));
    assert_eq!(format!("{} {output}", output.verdict), expected, "{domain}");
    output
}

#[track_caller]
fn check(domain: &str, expected: &str) {
    check_zone(domain, expected);
}

/// A record of its own at `x.test`.
#[track_caller]
fn check_record(record: &str, expected: &str) {
    let (output, _) = evaluate(from("x.test"), |lookup| match lookup {
        Lookup::Txt(name) if name == "x.test" => Answer::Txt(vec![record.into()]),
        lookup => ZONE.answer(lookup),
    });
    assert_eq!(format!("{} {output}", output.verdict), expected, "{record}");
}

const ZONE: Zone = Zone(
    "ip.test TXT v=spf1 ip4:192.0.2.0/28 -all
     far.test TXT v=spf1 include:all.test include:near.test -all
     near.test TXT v=spf1 redirect=ip.test
     all.test TXT v=spf1 -all exp=never.test
     strict.test TXT v=spf1 ip4:203.0.113.9 -all exp=why.test
     why.test TXT %{i} may not send for %{o}, says %{r} at %{t}
     none.test TXT something else
     two.test TXT v=spf1 -all
     two.test TXT v=spf1 ~all
     ill.test TIMEOUT
     mail.test MX mx1.mail.test
     mail.test MX mx2.mail.test
     mail.test MX mx3.mail.test
     mail.test TXT v=spf1 mx -all
     mx2.mail.test TIMEOUT
     mx3.mail.test A 192.0.2.7
     loop.test TXT v=spf1 include:loop.test -all",
);

#[test]
fn says_how_it_came_to_be() {
    check(
        "ip.test",
        "pass `ip4:192.0.2.0/28` in the record of ip.test matches 192.0.2.7",
    );
    check(
        "far.test",
        "pass `ip4:192.0.2.0/28` in the record of ip.test matches 192.0.2.7, by `redirect=ip.test` of near.test, by \
         `include:near.test` of far.test",
    );
    check(
        "strict.test",
        "fail `-all` in the record of strict.test matches 192.0.2.7",
    );
    check("none.test", "none none.test: it publishes no SPF record");
    check(
        "nowhere.test",
        "none nowhere.test: it publishes no SPF record",
    );
    check("localhost", "none localhost: it is no full domain name");
    check(
        "two.test",
        "permerror two.test: it has more than one SPF record",
    );
    check(
        "ill.test",
        "temperror ill.test: no answer for TXT of ill.test: timeout",
    );
    // An exchange that answers and matches decides, whatever is wrong with another.
    check(
        "mail.test",
        "pass `mx` in the record of mail.test matches 192.0.2.7",
    );
    let chain = ", by `include:loop.test` of loop.test".repeat(10);
    check(
        "loop.test",
        &format!("permerror loop.test: it needs more than 10 DNS look-ups{chain}"),
    );
}

#[test]
fn says_what_is_wrong_with_a_record() {
    let wrong = |record: &str, problem: &str| {
        check_record(record, &format!("permerror x.test: {problem}"));
    };
    let numeric = "that is no domain name: an address is written `ip4:` or `ip6:`";
    wrong(
        "v=spf1 a:192.0.2.7 -all",
        &format!("`a:192.0.2.7`: {numeric}"),
    );
    wrong(
        "v=spf1 ipv4:192.0.2.7",
        "`ipv4:192.0.2.7`: there is no such mechanism",
    );
    wrong("v=spf1 ip4:192.0.2", "`ip4:192.0.2`: that is no address");
    wrong(
        "v=spf1 ip4:192.0.2.7/+8",
        "`ip4:192.0.2.7/+8`: bad prefix length",
    );
    wrong(
        "v=spf1 redirect:b.test",
        "`redirect:b.test`: a modifier is written with `=`",
    );
    wrong("v=spf1 include", "`include`: its argument is missing");
    wrong("v=spf1 -all:x", "`-all:x`: it takes no such argument");
    wrong("v=spf1 exists:%{x}.test", "`exists:%{x}.test`: bad macro");
    wrong("v=spf1 exists:%{d0}.test", "`exists:%{d0}.test`: bad macro");
    wrong("v=spf1 exists:%{d", "`exists:%{d`: bad macro");
    wrong("v=spf1 a:x}", "`a:x}`: that is no domain name");
    wrong("v=spf1 a:x%%_", "`a:x%%_`: that is no domain name");
    wrong(
        "v=spf1 exp=a.test exp=b.test",
        "`exp=b.test`: it is there twice",
    );
    wrong(
        "v=spf1 a\tb",
        "`a\\tb`: octet 0x09 is not allowed in a record",
    );
    wrong(
        "v=spf1 include:none.test",
        "none.test publishes no SPF record",
    );
    wrong("v=spf1 redirect=%{l}", "alice publishes no SPF record");
    let three = "v=spf1 a:1.no.test a:2.no.test a:3.no.test -all";
    wrong(three, "more than 2 of its DNS look-ups find nothing");
    let long = format!("v=spf1{} -all", " ip4:192.0.2.1".repeat(2000));
    wrong(&long, "the record is too long");
    let many = format!("v=spf1 exists:{}.test -all", "%{l}".repeat(65));
    let problem = format!(
        "`exists:{}.test`: it has too many macros",
        "%{l}".repeat(65)
    );
    wrong(&many, &problem);
    let wide = format!("v=spf1 exists:{}.test -all", "%{s}x".repeat(64));
    let query = Query::mail_from(ip("192.0.2.7"), "mx", &"a".repeat(200), "x.test");
    let (output, _) = evaluate(query, |_| Answer::Txt(vec![wide.clone().into_bytes()]));
    assert_eq!(output.problem, Some(Problem::TooLong));
    check_record(
        "v=spf1 exists:%{D99R.}.test ?all",
        "neutral `?all` in the record of x.test matches 192.0.2.7",
    );
    check_record(
        "v=spf1 ip4:192.0.2.9",
        "neutral no term in the record of x.test matches 192.0.2.7",
    );
}

#[test]
fn explanations_are_the_owners_words() {
    let (output, _) = evaluate(
        from("strict.test").received_by("mx.us.test", 1_700_000_000),
        |lookup| ZONE.answer(lookup),
    );
    assert_eq!(
        output.explanation.as_deref(),
        Some("192.0.2.7 may not send for strict.test, says mx.us.test at 1700000000")
    );
    assert_eq!(
        output.record.as_deref(),
        Some("v=spf1 ip4:203.0.113.9 -all exp=why.test")
    );
    assert_eq!(output.domain(), "strict.test");
    // Not printable, too long, or with a macro that puts in what is not: nothing is said.
    let query = Query::mail_from(ip("192.0.2.7"), "h\u{7}\r\n", "a", "x.test");
    let said = |text: &str| {
        let (output, _) = evaluate(query.clone(), |lookup| match lookup {
            Lookup::Txt(name) if name == "x.test" => {
                Answer::Txt(vec![b"v=spf1 -all exp=y.test".to_vec()])
            }
            _ => Answer::Txt(vec![text.into()]),
        });
        assert_eq!(output.verdict, Verdict::Fail);
        output.explanation
    };
    assert_eq!(said("[%{h}]").as_deref(), Some("[h]"));
    assert_eq!(said("a\r\nb"), None);
    assert_eq!(said("ü"), None);
    assert_eq!(said(&"x".repeat(1001)), None);
    assert_eq!(said(&"%{s}".repeat(9000)), None);
}

#[test]
fn an_ipv4_client_over_ipv6_is_an_ipv4_client() {
    let query = Query::mail_from(ip("::ffff:192.0.2.7"), "mx", "a", "ip.test");
    let (output, _) = evaluate(query, |lookup| ZONE.answer(lookup));
    assert_eq!(output.verdict, Verdict::Pass);
    assert_eq!(output.client, ip("192.0.2.7"));
}

#[test]
fn what_is_independent_is_asked_for_together() {
    let (_, asked) = evaluate(from("mail.test"), |lookup| ZONE.answer(lookup));
    assert_eq!(asked, [1, 1, 3]);
    let (_, asked) = evaluate(from("ip.test"), |lookup| ZONE.answer(lookup));
    assert_eq!(asked, [1]);
}

#[test]
fn what_is_not_answered_is_asked_for_again() {
    let mut evaluation = Evaluation::new(from("ip.test"));
    for _ in 0..3 {
        let Step::Ask(lookups) = evaluation.step() else {
            panic!("done without an answer")
        };
        assert_eq!(lookups, [Lookup::Txt("ip.test".to_owned())]);
    }
    // An answer of the wrong kind is none, and neither is an empty one.
    evaluation.answer(Lookup::Txt("ip.test".to_owned()), Answer::Names(Vec::new()));
    assert!(matches!(evaluation.step(), Step::Done(output) if output.verdict == Verdict::None));
    let (output, _) = evaluate(from("x.test"), |lookup| match lookup {
        Lookup::Txt(_) => Answer::Txt(vec![b"v=spf1 exists:y.test -all".to_vec()]),
        _ => Answer::Addresses(Vec::new()),
    });
    assert_eq!(output.verdict, Verdict::Fail);
}

/// Records as long as allowed, each with as many look-ups as allowed.
#[test]
fn the_work_is_bounded() {
    let networks = " ip4:203.0.113.1".repeat(1000);
    let (output, asked) = evaluate(from("a.test"), |lookup| match lookup {
        Lookup::Txt(name) => {
            let record = format!("v=spf1{networks} mx include:x{}.test -all", name.len());
            Answer::Txt(vec![record.into_bytes()])
        }
        Lookup::Mx(_) => Answer::Names((0..10).map(|n| format!("{n}.mx.test")).collect()),
        _ => Answer::Addresses(vec![ip("203.0.113.2"); 1000]),
    });
    assert_eq!(output.verdict, Verdict::PermError);
    assert!(asked.iter().sum::<usize>() <= 120, "{asked:?}");
}

const ROUNDS_MAX: usize = 60;
