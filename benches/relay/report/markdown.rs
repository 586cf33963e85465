//! Tables in Markdown, for `results.md` and `benches/RESULTS.md`.
//!
//! A row for each system at each point, a column for each figure that any of them has; speed, latency and cost in tables of their own
//! where there are many. A cell is the median, and
//! `min–max` below it when there was more than one repeat.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::figure::{Figure, Group};
use super::goal::Goal;
use super::results::{Measurement, Results, Run, Spread};

/// Between these lines of a file, [`replace_in`] writes.
pub(crate) const BEGIN: &str = "<!-- begin: written by the bench, not by hand -->";
pub(crate) const END: &str = "<!-- end: written by the bench -->";

/// The whole report.
pub(crate) fn document(results: &Results) -> String {
    let mut text = String::new();
    push(&mut text, &runs(&results.runs));
    push(&mut text, &goals(&results.goals));
    for scenario in scenarios(results) {
        push(&mut text, &table(results, scenario));
    }
    text
}

/// Writes the report into a file that people wrote, between two marks.
///
/// # Errors
/// When the file cannot be read or written, or has no marks.
pub(crate) fn replace_in(path: &Path, results: &Results) -> io::Result<()> {
    let old = std::fs::read_to_string(path)?;
    let new = replaced(&old, &document(results)).ok_or_else(|| {
        let text = format!(
            "{} has no lines `{BEGIN}` and `{END}`: the tables go between them",
            path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    std::fs::write(path, new)
}

pub(crate) fn replaced(old: &str, tables: &str) -> Option<String> {
    let (head, rest) = old.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n\n{}\n\n{END}{tail}", tables.trim()))
}

fn push(text: &mut String, part: &str) {
    if !part.is_empty() {
        text.push_str(part);
        text.push('\n');
    }
}

/// The scenarios in the order in which they were measured.
pub(crate) fn scenarios(results: &Results) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for measurement in &results.measurements {
        if !names.contains(&measurement.scenario.as_str()) {
            names.push(&measurement.scenario);
        }
    }
    names
}

fn runs(runs: &[Run]) -> String {
    let mut text = "## Where and how\n\n".to_owned();
    for run in runs {
        line(&mut text, format_args!("* `{}`", run.command));
        line(
            &mut text,
            format_args!(
                "  * {}, took {:.0} s, seed {}, scale {}",
                run.started, run.took, run.seed, run.scale
            ),
        );
        line(&mut text, format_args!("  * {}", run.machine.describe()));
        for system in &run.systems {
            line(
                &mut text,
                format_args!(
                    "  * {}: {}. {}",
                    system.system, system.version, system.configured
                ),
            );
        }
        for note in &run.notes {
            line(&mut text, format_args!("  * {note}"));
        }
    }
    text
}

pub(crate) fn goals(goals: &[Goal]) -> String {
    if goals.is_empty() {
        return String::new();
    }
    let mut text = "## Goals\n\n| figure | goal | found | |\n|---|---|---|---|\n".to_owned();
    for goal in goals {
        let found = format!("{} | {}", goal.found, goal.verdict());
        line(
            &mut text,
            format_args!("| {} | {} | {found} |", goal.text, goal.wanted),
        );
    }
    text
}

/// One scenario: a table for each group of figures, or one when there are few.
pub(crate) fn table(results: &Results, scenario: &str) -> String {
    let rows = rows(results, scenario);
    let mut text = format!("## {scenario}\n\n");
    let tables = tables(&rows)
        .into_iter()
        .map(|columns| part(&rows, &columns));
    text.push_str(&tables.collect::<Vec<_>>().join("\n"));
    text
}

fn part(rows: &[&Measurement], columns: &[Figure]) -> String {
    let mut text = "| point | system |".to_owned();
    for figure in columns {
        let _ = write!(text, " {} |", figure.title());
    }
    text.push_str(" repeats |\n|---|---|");
    text.push_str(&"---:|".repeat(columns.len() + 1));
    text.push('\n');
    for row in rows {
        let _ = write!(text, "| {} | {} |", row.point.label, row.system);
        for figure in columns {
            let cell = row.spread(*figure).map(|spread| cell(*figure, spread));
            let _ = write!(text, " {} |", cell.unwrap_or_default());
        }
        line(&mut text, format_args!(" {} |", row.repeats.len()));
    }
    text
}

/// The measurements of a scenario: systems at one point together, points in the order in which they came.
pub(crate) fn rows<'a>(results: &'a Results, scenario: &str) -> Vec<&'a Measurement> {
    let all = results.measurements.iter();
    let mut rows: Vec<&Measurement> = all.filter(|m| m.scenario == scenario).collect();
    let mut points: Vec<&str> = Vec::new();
    for row in &rows {
        if !points.contains(&row.point.label.as_str()) {
            points.push(&row.point.label);
        }
    }
    rows.sort_by_key(|row| points.iter().position(|label| *label == row.point.label));
    rows
}

/// The columns of each table.
pub(crate) fn tables(rows: &[&Measurement]) -> Vec<Vec<Figure>> {
    let all = columns(rows);
    if all.len() <= COLUMNS_MAX {
        return vec![all];
    }
    let groups = [Group::Speed, Group::Latency, Group::Cost];
    let of = |group| {
        let columns = all.iter().copied();
        columns.filter(|figure| figure.group() == group).collect()
    };
    let tables = groups.into_iter().map(of);
    tables
        .filter(|columns: &Vec<Figure>| !columns.is_empty())
        .collect()
}

/// Figures that any row has. What should be nothing, and is nothing everywhere, gets no column.
fn columns(rows: &[&Measurement]) -> Vec<Figure> {
    let is_shown = |figure: &Figure| {
        let mut spreads = rows.iter().filter_map(|row| row.spread(*figure)).peekable();
        match figure {
            Figure::Lost | Figure::Duplicates | Figure::Damaged => {
                spreads.any(|spread| spread.max > 0.0)
            }
            // Every message has it, unless a system is `no relay`.
            _ => spreads.peek().is_some(),
        }
    };
    Figure::ALL.into_iter().filter(is_shown).collect()
}

fn cell(figure: Figure, spread: Spread) -> String {
    let unit = figure.unit();
    let median = unit.show(spread.median);
    if spread.count == 1 {
        return median;
    }
    let bare = |value: f64| {
        let shown = unit.show(value);
        shown.split(' ').next().unwrap_or("").replace("/s", "")
    };
    format!("{median}<br>{}–{}", bare(spread.min), bare(spread.max))
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

/// More columns are split.
const COLUMNS_MAX: usize = 8;
