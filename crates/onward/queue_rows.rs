//! How legs, messages and counts of the queue are printed.

use std::collections::HashSet;
use std::fmt::Display;

use control::{Count, LegRow, MessageDetails, Page, QueueAction, Summary, SummaryBy, SummaryRow};
use envelope::Timestamp;
use journal::shown;
use spool::Clock;

use crate::print::{Printer, plural, span};
use crate::trace_cli::way_of;

pub(crate) fn print_page(print: Printer, page: &Page) {
    if page.legs.is_empty() {
        return print.line("nothing is queued that matches");
    }
    print_legs(print, &page.legs);
    if let Some(next) = &page.next {
        print.line(format_args!("… and more: `--after {next}` goes on"));
    }
}

fn print_legs(print: Printer, legs: &[LegRow]) {
    let now = Clock::real().now();
    let mut told = HashSet::new();
    let rows = legs.iter().map(|row| {
        [
            row.leg.to_string(),
            row.state.name().to_owned(),
            age(row.arrived, now),
            row.expires.map(|at| until(at, now)).unwrap_or_default(),
            row.size.to_string(),
            row.attempts.to_string(),
            row.next_try.map(|at| until(at, now)).unwrap_or_default(),
            row.reverse_path.clone(),
            row.recipient.clone(),
            row.target.clone(),
            why(row, &mut told),
        ]
    });
    let heads = [
        "leg", "state", ">age", ">expires", ">size", ">tries", ">next", "from", "to", "target",
        "why",
    ];
    print.table(heads, rows);
}

/// Why it is still here. What ails a site is told once: many wait for the same.
fn why<'r>(row: &'r LegRow, told: &mut HashSet<&'r str>) -> String {
    let pending = row
        .pending
        .map(|action| format!("{} pending", action.name()));
    // When it is due has a column of its own.
    let waits = row
        .waits
        .as_deref()
        .filter(|waits| waits.starts_with("site "));
    let is_new = waits.is_none_or(|waits| told.insert(waits));
    let last = (is_new && !row.last.is_empty()).then(|| clipped(&row.last));
    let waits = waits.map(|waits| match waits.split(' ').nth(1) {
        Some(site) if !is_new => format!("site {site}, as above"),
        _ => waits.to_owned(),
    });
    let parts: Vec<String> = pending.into_iter().chain(waits).chain(last).collect();
    parts.join("; ")
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(LAST_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn age(arrived: Timestamp, now: Timestamp) -> String {
    span(now.since(arrived).as_secs() * 1000)
}

fn until(at: Timestamp, now: Timestamp) -> String {
    match at > now {
        true => span(at.since(now).as_secs() * 1000),
        false => "now".to_owned(),
    }
}

pub(crate) fn print_message(print: Printer, message: &MessageDetails, header: &[u8]) {
    let field = |name, value: &dyn Display| print.line(format_args!("{name:<8} {value}"));
    let now = Clock::real().now();
    field("message", &message.id);
    let age = age(message.arrived, now);
    field("arrived", &format_args!("{}, {age} ago", message.arrived));
    let (from, origin) = (shown::line(&message.reverse_path), &message.origin);
    field("from", &format_args!("{from} ({origin})"));
    field("size", &format_args!("{} octets", message.size));
    if let Some(envid) = &message.envid {
        field("envid", &shown::line(envid));
    }
    if let Some(parsed) = mail_parser::MessageParser::default().parse_headers(header) {
        // What the message itself claims.
        let author = parsed
            .from()
            .and_then(|from| from.first())
            .and_then(|address| address.address());
        let claims = [
            ("subject", parsed.subject()),
            ("author", author),
            ("id", parsed.message_id()),
        ];
        for (name, value) in claims {
            field(name, &shown::line(value.unwrap_or("(none)")));
        }
    }
    for row in &message.legs {
        print_leg(print, row, now);
    }
    match &message.history {
        Some(history) => {
            print.line("\nevery leg and attempt:");
            let lines = history.legs.iter().flat_map(way_of);
            lines.for_each(|line| print.line(shown::line(&line)));
        }
        None => print.line("\nno history of it: attempts, and legs that ended, are not known"),
    }
}

fn print_field(print: Printer, name: &str, value: &str) {
    if !value.is_empty() {
        print.line(format_args!("  {name:<8}{}", shown::line(value)));
    }
}

fn print_leg(print: Printer, row: &LegRow, now: Timestamp) {
    let field = |name, value: &str| print_field(print, name, value);
    print.line(format_args!(
        "\nleg {} {}",
        row.leg.number,
        row.state.name()
    ));
    field("to", &format!("{} → {}", row.recipient, row.target));
    field("sender", &row.sender);
    field("options", &row.options);
    field("tried", &plural(u64::from(row.attempts), "time"));
    let moment = |at: Timestamp| format!("{at}, in {}", until(at, now));
    field("next", &row.next_try.map(moment).unwrap_or_default());
    field("expires", &row.expires.map(moment).unwrap_or_default());
    field("waits", row.waits.as_deref().unwrap_or_default());
    field("last", &row.last);
    field("pending", row.pending.map_or("", QueueAction::name));
}

pub(crate) fn print_summary(print: Printer, by: SummaryBy, summary: &Summary) {
    let now = Clock::real().now();
    let ages = summary.age_minutes.iter().map(|most| format!(">{most}m"));
    let older = summary.age_minutes.last().map(|most| format!(">{most}m+"));
    let heads = [by.name().to_owned(), ">legs".to_owned()].into_iter();
    let heads = heads.chain(ages).chain(older);
    let row = |row: &SummaryRow| {
        let name = match row.name.as_str() {
            "" => "(not tried yet)",
            name => name,
        };
        let oldest = row.oldest.map(|at| age(at, now)).unwrap_or_default();
        let ages = row.ages.iter().map(ToString::to_string);
        let cells = [name.to_owned(), row.legs.to_string()].into_iter();
        cells.chain(ages).chain([oldest]).collect::<Vec<_>>()
    };
    let rows = [&summary.total].into_iter().chain(&summary.rows);
    let rows = rows.chain(&summary.others).map(row);
    print.table(heads.chain([">oldest".to_owned()]), rows);
}

/// `done` says what has happened to the legs that were changed.
pub(crate) fn print_count(print: Printer, action: QueueAction, count: &Count, done: &str) {
    let legs = |legs| plural(legs, "leg");
    print.line(format_args!("{} {done}", legs(count.done)));
    match (count.pending, action) {
        (0, _) => {}
        (tried, QueueAction::Remove) => print.line(format_args!(
            "{} {done} while being tried: that attempt goes on, and may deliver them",
            legs(tried)
        )),
        (tried, _) => print.line(format_args!(
            "{} being tried: {done} after that attempt, unless it delivers them or fails for good",
            legs(tried)
        )),
    }
    let rest = count.matched - count.done - count.pending;
    if rest > 0 {
        print.line(format_args!("{} left as they were", legs(rest)));
    }
    if !count.paused.is_empty() {
        print.line(format_args!(
            "those for {} wait all the same: paused, see `onward site list`",
            count.paused.join(", ")
        ));
    }
}

/// The counts, and the first legs.
pub(crate) fn print_dry_run(print: Printer, action: QueueAction, count: &Count, done: &str) {
    print_count(print, action, count, &format!("would be {done}"));
    if !count.legs.is_empty() {
        print_legs(print, &count.legs);
    }
    if count.done + count.pending > count.legs.len() as u64 {
        print.line("… and more");
    }
}

/// Of what the last attempt came to, a list shows no more; a peer may say a lot.
const LAST_CHARS: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_no_more_of_a_reply_than_fits() {
        assert_eq!(clipped("short"), "short");
        let long = clipped(&"\u{e9}".repeat(500));
        assert_eq!(long.chars().count(), LAST_CHARS + 1);
    }
}
