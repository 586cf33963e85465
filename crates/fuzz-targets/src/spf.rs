//! SPF: whatever records say, an evaluation and a lint end, ask little, and say nothing that could break a line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::Arbitrary;
use spf::{Answer, Evaluation, Lint, Lookup, Output, Query, Question, Report, Step};

use crate::input::{assert_clean, plan, xorshift};

#[derive(Debug, Arbitrary)]
struct Plan {
    /// An IPv4 client if it is even.
    client: u32,
    /// What DNS says to each question.
    answers: u64,
}

/// `data` is a plan, and lines: HELO, local part, domain, and then TXT records.
pub(crate) fn check(data: &[u8]) {
    let Some((plan, text)) = plan::<Plan>(data) else {
        return;
    };
    let mut lines = text.split(|b| *b == b'\n');
    let mut word = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (helo, local, domain) = (word(), word(), word());
    let client = match plan.client % 2 {
        0 => IpAddr::V4(Ipv4Addr::from_bits(plan.client)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(plan.client.into())),
    };
    let records: Vec<&[u8]> = lines.collect();
    let query = Query::mail_from(client, &helo, &local, &domain).received_by("mx.example", 1);
    let seed = plan.answers | 1;
    assert_output(&evaluate(query, &records, seed, LOOKUPS_MAX));
    let lint = Lint::new("x.example", &[client]);
    assert_report(&evaluate(lint, &records, seed, LINT_LOOKUPS_MAX));
}

fn evaluate<Q: Question>(question: Q, records: &[&[u8]], mut seed: u64, max: usize) -> Q::Found {
    let mut evaluation = Evaluation::new(question);
    let mut asked = 0;
    loop {
        let lookups = match evaluation.step() {
            Step::Done(found) => return found,
            Step::Ask(lookups) => lookups,
        };
        assert!(!lookups.is_empty(), "asks for nothing");
        for lookup in lookups {
            asked += 1;
            assert!(asked <= max, "too many look-ups");
            let answer = answer(&lookup, records, xorshift(&mut seed));
            evaluation.answer(lookup, answer);
        }
    }
}

fn answer(lookup: &Lookup, records: &[&[u8]], random: u64) -> Answer {
    let count = (random >> 8) % 13;
    match (random % 8, lookup) {
        (0, _) => Answer::Nothing,
        (1, _) => Answer::Failed("timeout".to_owned()),
        (_, Lookup::Txt(_)) => {
            let at = random as usize >> 16;
            let text = records.get(at % records.len().max(1));
            Answer::Txt(text.iter().map(|text| text.to_vec()).collect())
        }
        (_, Lookup::A(_)) => {
            let address = |n| Ipv4Addr::from_bits((random >> 32) as u32 % 4 + n as u32).into();
            Answer::Addresses((0..count).map(address).collect())
        }
        (_, Lookup::Aaaa(_)) => {
            let address = |n| Ipv6Addr::from_bits(u128::from(random >> 62) + u128::from(n)).into();
            Answer::Addresses((0..count).map(address).collect())
        }
        (_, Lookup::Mx(_) | Lookup::Ptr(_)) => {
            let name = |n| format!("host{n}.{random}.example");
            Answer::Names((0..count).map(name).collect())
        }
    }
}

fn assert_output(output: &Output) {
    assert_clean(&output.to_string());
    for text in output.explanation.iter().chain(&output.record) {
        assert_clean(text);
    }
    assert!(output.explanation.as_ref().map_or(0, String::len) <= 1000);
    // The first record, and one for each of the ten terms.
    assert!((1..=11).contains(&output.way.len()), "{output:?}");
}

fn assert_report(report: &Report) {
    for finding in &report.findings {
        if let Some(place) = &finding.place {
            let words = &report.published[place.record][place.at..];
            assert!(words.starts_with(&place.term), "{finding:?}");
        }
    }
    for entry in &report.right {
        assert_clean(&entry.record);
        assert!(entry.record.starts_with("v=spf1 "), "{entry:?}");
    }
}

/// Ten terms, each with ten names at most; the record itself, the client's names, and an explanation.
const LOOKUPS_MAX: usize = 10 * 11 + 1 + 11 + 1;
/// Fifty terms are followed; terms that cannot be read, and the senders' names, are asked about besides.
const LINT_LOOKUPS_MAX: usize = 50 * 21 + 1 + 10 * 12;
