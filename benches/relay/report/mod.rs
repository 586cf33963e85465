//! What the bench tells: results as JSON, tables for terminal and Markdown, plots, a progress line.
//!
//! Everything but the progress line is made from [`results::Results`], so that `relay report FILE…` makes it again from what was saved.

pub(crate) mod figure;
pub(crate) mod goal;
pub(crate) mod machine;
pub(crate) mod markdown;
pub(crate) mod plot;
pub(crate) mod progress;
pub(crate) mod results;
pub(crate) mod terminal;

use std::path::Path;
use std::{fs, io};

use results::Results;

/// Writes `results.json`, `results.md` and the plots that there is data for; makes the folder if need be.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(folder: &Path, results: &Results) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let json = serde_json::to_string_pretty(results)?;
    fs::write(folder.join("results.json"), json + "\n")?;
    fs::write(folder.join("results.md"), markdown::document(results))?;
    let plots = [
        ("throughput.svg", plot::throughput(results)),
        ("latency.svg", plot::latency(results)),
    ];
    for (name, svg) in plots {
        if let Some(svg) = svg {
            fs::write(folder.join(name), svg)?;
        }
    }
    Ok(())
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// When the file cannot be read, or is of another format; the text names it.
pub(crate) fn read(path: &Path) -> io::Result<Results> {
    let named = |error: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {error}", path.display()),
        )
    };
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    let results: Results = serde_json::from_str(&text).map_err(|error| named(&error))?;
    if results.format == Results::FORMAT {
        Ok(results)
    } else {
        Err(named(&format!(
            "format {} instead of {}: measure again",
            results.format,
            Results::FORMAT
        )))
    }
}
