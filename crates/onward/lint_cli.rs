//! `onward spf lint` and `onward spf build`: what is wrong with the record of a domain, and the one to publish.

use std::path::Path;

use relay::sender_policy;
use spf::{Level, Lint, Node, Place, Report};

use crate::Failure;
use crate::cli::{Build, LintOf};
use crate::config::{Config, Resolved};
use crate::print::{Printer, plural};
use crate::spf_cli::resolver;

/// Runs `onward spf lint`. False: mail suffers from what is published.
pub(crate) async fn lint(args: &LintOf, config: &Path, print: Printer) -> Result<bool, Failure> {
    let resolver = resolver(args.server, config)?;
    let report = sender_policy::evaluate(&resolver, Lint::new(args.domain.as_str(), &[])).await;
    print.value(&report, |print, report| print.lines(lines(report)));
    Ok(!report.is_bad())
}

/// Runs `onward spf build`. False: there is no record to publish that would do.
pub(crate) async fn build(args: &Build, config: &Path, print: Printer) -> Result<bool, Failure> {
    let resolver = resolver(args.server, config)?;
    let (mut senders, mut domains) = (args.address.clone(), args.domains.clone());
    if senders.is_empty() || domains.is_empty() {
        let config = Config::load(config)?;
        if domains.is_empty() {
            let Resolved { routing, .. } = Resolved::of(&config)?;
            let srs_domains = routing.forwarder.srs_domains(&routing.table);
            domains.extend(srs_domains.into_iter().cloned());
        }
        if senders.is_empty() {
            senders = match &config.doctor.addresses[..] {
                [] => config.sends_from(),
                seen => seen.to_vec(),
            };
        }
    }
    if let Some(hidden) = senders.iter().find(|sender| !delivery::is_public(**sender)) {
        return Err(format!("{hidden}{HIDDEN}").into());
    }
    if senders.is_empty() {
        return Err(NO_SENDERS.into());
    }
    let mut reports = Vec::new();
    for domain in &domains {
        reports
            .push(sender_policy::evaluate(&resolver, Lint::new(domain.as_str(), &senders)).await);
    }
    print.value(&reports, |print, reports| {
        print.lines(reports.iter().flat_map(built))
    });
    Ok(!reports.iter().any(Report::is_hopeless))
}

/// As comments of a zone file what is to be known, and the records.
fn built(report: &Report) -> Vec<String> {
    let findings = report.findings.iter();
    let known = findings.filter(|finding| finding.level > Level::Note);
    let known = known.map(|finding| format!("; {}: {}", report.domain, finding.text));
    let mut lines = Vec::from_iter(known);
    if report.right.is_empty() && !report.is_hopeless() {
        lines.push(format!("; {}: nothing to change", report.domain));
    }
    lines.extend(report.right.iter().map(ToString::to_string));
    lines
}

fn lines(report: &Report) -> Vec<String> {
    let published = report.published.iter();
    let mut lines = Vec::from_iter(published.map(|record| shortened(record, LINE_MAX)));
    let lookups = plural(report.lookups as u64, "look-up");
    let [ipv4, ipv6] = report.voids;
    lines.push(format!(
        "{}: {lookups} of 10, without a result {ipv4} (IPv4) and {ipv6} (IPv6) of 2",
        report.domain
    ));
    let tree = report.tree.iter();
    tree.for_each(|node| branch(node, 1, &mut lines));
    for finding in &report.findings {
        let level = match finding.level {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        lines.push(format!("\n{level}: {}", finding.text));
        let place = finding.place.iter();
        lines.extend(place.flat_map(|place| underlined(&report.published[place.record], place)));
        lines.push(format!("  {}", finding.why));
    }
    if !report.right.is_empty() {
        lines.push("\nto publish:".to_owned());
        lines.extend(report.right.iter().map(ToString::to_string));
    }
    lines
}

/// A term that asks DNS, and those below it.
fn branch(node: &Node, depth: usize, lines: &mut Vec<String>) {
    if node.lookups > 0 {
        let problem = node.problem().map(|problem| format!("  ({problem})"));
        let (term, problem) = (shortened(&node.term, LINE_MAX), problem.unwrap_or_default());
        lines.push(format!(
            "{:depth$}{:3} {term}{problem}",
            "",
            node.lookups,
            depth = depth * 2
        ));
    }
    let below = node.below.iter();
    below.for_each(|node| branch(node, depth + 1, lines));
}

/// The record around the place, and carets under it.
fn underlined(record: &str, place: &Place) -> [String; 2] {
    let before = printable(&record[..place.at]);
    let term = shortened(&place.term, AROUND);
    let after = shortened(&record[place.at + place.term.len()..], AROUND);
    let before = match before.len().checked_sub(AROUND) {
        Some(over) if over > 0 => format!("...{}", &before[over..]),
        _ => before,
    };
    let carets = "^".repeat(term.len());
    [
        format!("  {before}{term}{after}"),
        format!("  {:1$}{carets}", "", before.len()),
    ]
}

/// The beginning, in ASCII, so that what stands below stays below.
fn shortened(text: &str, max: usize) -> String {
    let text = printable(text);
    match text.len() > max {
        true => format!("{}...", &text[..max]),
        false => text,
    }
}

fn printable(text: &str) -> String {
    let shown = |c| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().map(shown).collect()
}

const HIDDEN: &str = " cannot stand in a record: others see another address\n\nhint: give the public ones with --address, or set `doctor.addresses`";
const NO_SENDERS: &str = "which addresses send is not known\n\nhint: give them with --address, or set `delivery.bind`, or `doctor.addresses` behind NAT";
const LINE_MAX: usize = 500;
const AROUND: usize = 60;
