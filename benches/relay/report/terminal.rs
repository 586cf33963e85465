//! Tables for the terminal: the medians, aligned, with the spread of the first figure.

use std::fmt::Write as _;

use super::figure::Figure;
use super::goal::Goal;
use super::markdown;
use super::results::{Measurement, Results};

/// Every scenario, then the goals.
pub(crate) fn show(results: &Results) -> String {
    let mut text = String::new();
    for scenario in markdown::scenarios(results) {
        let rows = markdown::rows(results, scenario);
        let tables = markdown::tables(&rows).into_iter();
        let tables = tables.map(|columns| align(&cells(&rows, &columns)));
        let tables: Vec<_> = tables.collect();
        let _ = write!(text, "\n{scenario}\n{}", tables.join("\n"));
    }
    text + &goals(&results.goals)
}

/// The goals, each with its verdict.
fn goals(goals: &[Goal]) -> String {
    if goals.is_empty() {
        return String::new();
    }
    let rows = goals.iter().map(|goal| {
        [goal.verdict(), &goal.text, &goal.wanted, &goal.found]
            .map(str::to_owned)
            .to_vec()
    });
    let head = ["", "goal", "wanted", "found"].map(str::to_owned).to_vec();
    let rows: Vec<_> = [head].into_iter().chain(rows).collect();
    format!("\ngoals\n{}", align(&rows))
}

/// One finished measurement in a line: its first figures.
pub(crate) fn summary(figures: impl IntoIterator<Item = (Figure, f64)>) -> String {
    let shown = figures
        .into_iter()
        .map(|(figure, value)| format!("{} {}", figure.title(), figure.unit().show(value)));
    shown.collect::<Vec<_>>().join(", ")
}

fn cells(rows: &[&Measurement], columns: &[Figure]) -> Vec<Vec<String>> {
    let mut head = vec!["point".to_owned(), "system".to_owned()];
    head.extend(columns.iter().map(|figure| figure.title().to_owned()));
    let mut table = vec![head];
    for row in rows {
        let mut line = vec![row.point.label.clone(), row.system.clone()];
        line.extend(columns.iter().map(|figure| {
            let spread = row.spread(*figure);
            spread.map_or_else(String::new, |spread| figure.unit().show(spread.median))
        }));
        table.push(line);
    }
    table
}

/// Columns as wide as their widest cell; the first two to the left, figures to the right when there are more than four columns.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if column < 2 || columns <= 4 {
                write!(line, "  {cell:<width$}")
            } else {
                write!(line, "  {cell:>width$}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
