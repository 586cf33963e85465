//! The public test suite of SPF (RFC 7208, release 2014.04), as the source package of pyspf ships it: 203 tests.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::Value;
use spf::{Answer, Evaluation, Lookup, Query, Step};
use testkit::program;

/// From the package's YAML to JSON. As in the suite's own driver, an SPF record (type 99) is a TXT record too, unless the name
/// has TXT records of its own.
const CONVERT: &str = r#"
import json, sys, tarfile, yaml
suite = tarfile.open(sys.argv[1]).extractfile("pyspf-2.0.14/test/rfc7208-tests.yml")
def records(entries):
    pairs = [pair for entry in entries for pair in ([("TIMEOUT", "")] if entry == "TIMEOUT" else entry.items())]
    has_txt = any(kind == "TXT" for kind, _ in pairs)
    for kind, value in pairs:
        if kind == "SPF":
            if has_txt: continue
            kind = "TXT"
        if kind == "MX": value = value[1]
        if kind == "TXT" and not isinstance(value, str): value = "".join(value)
        if value != "NONE": yield kind, value
scenarios = []
for scenario in yaml.safe_load_all(suite):
    tests = []
    for name, test in scenario["tests"].items():
        results = test["result"] if isinstance(test["result"], list) else [test["result"]]
        tests.append([name, test["host"], test["helo"], test["mailfrom"], results, test.get("explanation")])
    zone = {name.lower(): list(records(entries)) for name, entries in scenario["zonedata"].items()}
    scenarios.append([tests, zone])
json.dump(scenarios, sys.stdout)
"#;

type Test = (String, IpAddr, String, String, Vec<String>, Option<String>);
type Zone = HashMap<String, Vec<(String, Value)>>;

#[tokio::test]
#[ignore = "needs python3, PyYAML and the suite: ./test.sh installs and runs"]
async fn the_public_suite() {
    let package = format!("{}/{PACKAGE}", env!("CARGO_MANIFEST_DIR"));
    let converted = program::run("/usr/bin/python3", &["-c", CONVERT, &package], b"").await;
    let scenarios: Vec<(Vec<Test>, Zone)> =
        serde_json::from_str(&converted.success().stdout).expect("scenarios");
    let (mut tests, mut preferred, mut wrong) = (0, 0, Vec::new());
    for (name, host, helo, from, results, explanation, zone) in
        scenarios.into_iter().flat_map(|(tests, zone)| {
            let row = move |(name, host, helo, from, results, explanation): Test| {
                (name, host, helo, from, results, explanation, zone.clone())
            };
            tests.into_iter().map(row)
        })
    {
        let output = evaluate(query(host, &helo, &from), &zone);
        tests += 1;
        preferred += usize::from(output.verdict.as_str() == results[0]);
        let said = output.explanation.as_deref().unwrap_or("DEFAULT");
        let is_right = results
            .iter()
            .any(|result| result == output.verdict.as_str());
        if !is_right || explanation.is_some_and(|wanted| wanted != said) {
            wrong.push(format!(
                "{name}: {} {said:?}, not {results:?}: {output}",
                output.verdict
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Where the suite allows several results, the first is the one it prefers.
    assert_eq!((tests, preferred), (203, 203));
}

fn query(host: IpAddr, helo: &str, from: &str) -> Query {
    match from.rsplit_once('@') {
        Some((local, domain)) => Query::mail_from(host, helo, local, domain),
        None => Query::helo(host, helo),
    }
}

fn evaluate(query: Query, zone: &Zone) -> spf::Output {
    let mut evaluation = Evaluation::new(query);
    loop {
        match evaluation.step() {
            Step::Done(output) => return output,
            Step::Ask(lookups) => {
                for lookup in lookups {
                    let answer = answer(&lookup, zone);
                    evaluation.answer(lookup, answer);
                }
            }
        }
    }
}

fn answer(lookup: &Lookup, zone: &Zone) -> Answer {
    let (name, kind) = match lookup {
        Lookup::Txt(name) => (name.clone(), "TXT"),
        Lookup::A(name) => (name.clone(), "A"),
        Lookup::Aaaa(name) => (name.clone(), "AAAA"),
        Lookup::Mx(name) => (name.clone(), "MX"),
        Lookup::Ptr(address) => (reverse(*address), "PTR"),
    };
    let mut name = name.to_lowercase();
    for _ in 0..CNAMES_MAX {
        let Some(records) = zone.get(&name) else {
            return Answer::Nothing;
        };
        let of = |kind: &str| -> Vec<String> {
            let found = records.iter().filter(|(found, _)| found == kind);
            found
                .map(|(_, value)| value.as_str().expect("a text").to_owned())
                .collect()
        };
        let found = of(kind);
        if let ([], [alias]) = (&found[..], &of("CNAME")[..]) {
            name = alias.trim_end_matches('.').to_lowercase();
            continue;
        }
        return match (found.is_empty(), kind) {
            (true, _) if !of("TIMEOUT").is_empty() => Answer::Failed("timeout".to_owned()),
            (true, _) => Answer::Nothing,
            (_, "TXT") => Answer::Txt(found.into_iter().map(String::into_bytes).collect()),
            (_, "A" | "AAAA") => Answer::Addresses(
                found
                    .iter()
                    .map(|text| text.parse().expect("an address"))
                    .collect(),
            ),
            _ => {
                let names = found
                    .iter()
                    .map(|name| name.trim_end_matches('.').to_owned());
                Answer::Names(names.collect())
            }
        };
    }
    Answer::Failed("CNAME loop".to_owned())
}

fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = format!("{:032x}", address.to_bits());
            let digits: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", digits.join("."))
        }
    }
}

/// Where `test.sh` puts it.
const PACKAGE: &str = "target/suites/pyspf-2.0.14.tar.gz";
const CNAMES_MAX: usize = 8;
