//! The command line of the bench: what to measure, with which systems, for how long, and where the results go.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use clap::{Args, Parser, Subcommand};

use crate::load::Sizes;
use crate::report::progress::Progress;
use crate::report::results::{Results, Run, SystemNote};
use crate::report::{self, machine::Machine, markdown, terminal};
use crate::runner::{Bench, LoadPoint, Settings, Tools};
use crate::scenario::{Scenario, USUAL_CONNECTIONS, USUAL_SIZE};
use crate::system::System;
use crate::{load, sink, stop};

/// Measure mail relays: Onward, and the ones that people run now, in turn, on this machine.
///
/// Without arguments: scenario `relay` with every system that is found, five repeats, some 25 minutes. Every system forwards each
/// message with SRS and commits it to disk before its 250, on the same file system; where one cannot, the results say so. Nothing leaves this machine: load, relays and
/// destinations live on 127.0.0.0/8.
#[derive(Parser)]
#[command(
    name = "relay",
    bin_name = "cargo bench --bench relay --",
    args_conflicts_with_subcommands = true,
    after_help = "Every run needs an otherwise idle machine: others' work is in the figures. benches/README.md says what they mean.\n\
                  Exit codes: 0 all was measured, 1 something failed, 2 wrong usage, 130 Ctrl-C."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    measure: Measure,
    /// Given by `cargo bench` to every bench; means nothing here
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Send mail to an SMTP server, as fast as it takes it or at a fixed rate
    Load(load::command::Arguments),
    /// Receive mail on one or many addresses, answer by script, check what comes
    Sink(sink::command::Arguments),
    /// Make tables and plots again from what was saved; several runs are joined, the last one wins
    Report(Report),
}

#[derive(Args)]
struct Measure {
    /// What to measure [default: relay]
    #[arg(value_name = "SCENARIO", value_enum)]
    scenarios: Vec<Scenario>,
    /// A short look, under a minute for `relay`: one point, one repeat, small counts
    #[arg(long)]
    quick: bool,
    /// Systems to measure: direct (no relay: the limit of tools and loopback), onward, postfix, exim, opensmtpd [default: for `relay`
    /// all that are found, for the others onward]
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_enum)]
    systems: Vec<System>,
    /// How often each measurement is repeated [default: 5; 3 beside `relay`; 1 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    repeats: Option<u16>,
    /// No measurement begins that would end later than this [default: 60m; 45s with --quick]
    #[arg(long, value_name = "SPAN")]
    time_limit: Option<humantime::Duration>,
    /// Numbers of connections for `relay` [default: 1,10,100,400 with 10k, and 100 with 2k and 100k]
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: Vec<u16>,
    /// Sizes of messages for `relay`: octets, with k or m for KiB and MiB, or `real` for sizes spread as real mail's
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    sizes: Vec<Sizes>,
    /// How long one measured load should last [default: 4s; 2s with --quick]
    #[arg(long, value_name = "SPAN")]
    length: Option<humantime::Duration>,
    /// Multiply the counts of the other scenarios by this [default: 1; 0.01 with --quick]
    #[arg(long, value_name = "FACTOR", value_parser = scale)]
    scale: Option<f64>,
    /// Who sends and receives in `relay`: this bench, or smtp-source and smtp-sink
    #[arg(long, value_enum, default_value_t = Tools::Ours)]
    tools: Tools,
    /// What addresses, sizes and shares are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where spools are made while a system runs: on the disk that is to be measured, never in memory
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    folder: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Report {
    /// `results.json` of earlier runs
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Where results go.
#[derive(Args)]
struct Output {
    /// Write results.json, results.md and plots into this folder
    #[arg(long, value_name = "DIR", default_value = "target/bench-relay")]
    out: PathBuf,
    /// Publish: write the tables into this file, too, between its marks (benches/RESULTS.md), JSON and plots into `results/` beside it
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs the program with these arguments, the first of which is its name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // Help goes to standard output, and is no failure.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match &cli.command {
        Some(Command::Load(arguments)) => load::command::run(arguments),
        Some(Command::Sink(arguments)) => sink::command::run(arguments),
        Some(Command::Report(arguments)) => arguments.run(),
        None => cli.measure.run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

impl Measure {
    fn run(&self) -> io::Result<ExitCode> {
        let begun = Instant::now();
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        stop::install()?;
        let deadline = begun + self.time_limit();
        let (progress, drawing) = Progress::on_terminal(deadline);
        let machine = Machine::look(&self.folder);
        let (systems, notes, skipped) = self.find();
        if !systems.iter().any(|system| *system != System::Direct) {
            let hint = skipped.join("\n");
            return Err(io::Error::other(format!("no system to measure\n\n{hint}")));
        }
        let mut bench = Bench::new(self.settings(systems), progress, deadline);
        skipped.into_iter().for_each(|text| bench.note(text));
        machine
            .warning()
            .into_iter()
            .for_each(|text| bench.note(text));
        if self.is_in_memory(&machine) {
            bench.note(format!(
                "{} is in memory, where an fdatasync costs nothing: give --folder a folder on a disk",
                self.folder.display()
            ));
        }
        for scenario in self.scenarios() {
            bench.settings.systems = self.systems_for(scenario, &notes);
            scenario.run(&mut bench);
        }
        drop(drawing);
        let failures = bench.failures();
        let describe = |(_, mut note): (System, SystemNote)| {
            if let Some(how) = bench.counted(&note.system) {
                note.configured = format!("{}. {how}", note.configured);
            }
            note
        };
        let notes = notes.into_iter();
        let relays = notes.filter(|(system, _)| *system != System::Direct);
        let systems = relays.map(describe).collect();
        let mut results = bench.results;
        results.runs.push(Run {
            command: command_line(),
            started,
            took: begun.elapsed().as_secs_f64(),
            machine,
            systems,
            scale: bench.settings.scale,
            seed: self.seed,
            notes: bench.notes,
        });
        self.output.write(&results)?;
        Ok(ExitCode::from(u8::from(failures > 0)))
    }

    /// The systems that were asked for and are here, what they are, and why others are not measured.
    fn find(&self) -> (Vec<System>, Vec<(System, SystemNote)>, Vec<String>) {
        let wanted = match self.systems.as_slice() {
            [] if self.scenarios().contains(&Scenario::Relay) => &System::ALL[..],
            [] => &[System::Onward],
            named => named,
        };
        let (mut notes, mut skipped) = (Vec::new(), Vec::new());
        for system in System::ALL {
            if !wanted.contains(&system) {
                continue;
            }
            match system.find() {
                Ok(found) => notes.push((
                    system,
                    SystemNote {
                        system: system.to_string(),
                        version: found.version,
                        configured: found.durability.to_owned(),
                    },
                )),
                Err(missing) => skipped.push(format!(
                    "{system} is skipped: {}; to get it: {}",
                    missing.reason,
                    one_line(missing.advice)
                )),
            }
        }
        (
            notes.iter().map(|(system, _)| *system).collect(),
            notes,
            skipped,
        )
    }

    /// Beside `relay`, peers are measured only when they are named.
    fn systems_for(&self, scenario: Scenario, found: &[(System, SystemNote)]) -> Vec<System> {
        let is_wanted = |system: &System| {
            !self.systems.is_empty() || scenario == Scenario::Relay || *system == System::Onward
        };
        found
            .iter()
            .map(|(system, _)| *system)
            .filter(is_wanted)
            .collect()
    }

    fn scenarios(&self) -> Vec<Scenario> {
        if self.scenarios.is_empty() {
            vec![Scenario::Relay]
        } else {
            self.scenarios.clone()
        }
    }

    fn settings(&self, systems: Vec<System>) -> Settings {
        let repeats = match self.scenarios().as_slice() {
            _ if self.quick => 1,
            [Scenario::Relay] => 5,
            _ => 3,
        };
        let length = Duration::from_secs(if self.quick { 2 } else { 4 });
        Settings {
            systems,
            repeats: self.repeats.map_or(repeats, usize::from),
            points: self.points(),
            length: self.length.map_or(length, Into::into),
            scale: self.scale.unwrap_or(if self.quick { 0.01 } else { 1.0 }),
            seed: self.seed,
            folder: self.folder.clone(),
            tools: self.tools,
            is_quick: self.quick,
        }
    }

    /// All that was asked for with each other; by default a cross through 100 connections and 10 KiB.
    fn points(&self) -> Vec<LoadPoint> {
        let connections: Vec<usize> = self.connections.iter().copied().map(usize::from).collect();
        let point = |connections, sizes| LoadPoint { connections, sizes };
        match (connections.as_slice(), self.sizes.as_slice()) {
            ([], []) if self.quick => vec![point(USUAL_CONNECTIONS, USUAL_SIZE)],
            ([], []) => {
                let with_usual = [1, 10, 100, 400].map(|count| point(count, USUAL_SIZE));
                let others = [2 << 10, 100 << 10];
                let others = others.map(|size| point(USUAL_CONNECTIONS, Sizes::Fixed(size)));
                with_usual.into_iter().chain(others).collect()
            }
            (counts, []) => counts
                .iter()
                .map(|count| point(*count, USUAL_SIZE))
                .collect(),
            ([], sizes) => sizes
                .iter()
                .map(|size| point(USUAL_CONNECTIONS, *size))
                .collect(),
            (counts, sizes) => {
                let all = counts
                    .iter()
                    .flat_map(|count| sizes.iter().map(|size| (*count, *size)));
                all.map(|(count, size)| point(count, size)).collect()
            }
        }
    }

    fn time_limit(&self) -> Duration {
        let default = Duration::from_secs(if self.quick { 45 } else { 3600 });
        self.time_limit.map_or(default, Into::into)
    }

    fn is_in_memory(&self, machine: &Machine) -> bool {
        matches!(machine.file_system.as_str(), "tmpfs" | "ramfs")
    }
}

impl Report {
    fn run(&self) -> io::Result<ExitCode> {
        let mut all = Results {
            format: Results::FORMAT,
            ..Results::default()
        };
        for file in &self.files {
            all.join(report::read(file)?);
        }
        self.output.write(&all)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Output {
    fn write(&self, results: &Results) -> io::Result<()> {
        report::write(&self.out, results)?;
        if let Some(path) = &self.results {
            markdown::replace_in(path, results)?;
            let folder = path.with_file_name("results");
            report::write(&folder, results)?;
            // The tables are in the file.
            fs::remove_file(folder.join("results.md"))?;
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(results)?);
        } else {
            print!("{}", terminal::show(results));
            println!("\n{}", self.out.join("results.md").display());
        }
        Ok(())
    }
}

/// Shell commands on one line; a loop's `do` takes no semicolon.
pub(crate) fn one_line(commands: &str) -> String {
    let lines: Vec<_> = commands.lines().map(str::trim).collect();
    lines.join("; ").replace("; do; ", "; do ")
}

/// More than nothing, and no more than tenfold.
fn scale(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok();
    factor
        .filter(|factor| *factor > 0.0 && *factor <= 10.0)
        .ok_or_else(|| format!("`{text}` is not a factor: a number above 0, at most 10"))
}

/// As it can be typed again: cargo hides the program's own path.
fn command_line() -> String {
    let arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let arguments: Vec<_> = arguments.collect();
    if arguments.is_empty() {
        return "cargo bench --bench relay".to_owned();
    }
    format!("cargo bench --bench relay -- {}", arguments.join(" "))
}
