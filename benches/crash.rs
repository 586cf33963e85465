//! The crash campaign as a program: a release relay under load, killed with SIGKILL again and again.
//!
//! `cargo bench --bench crash -- --runs 1000 [--seed S] [--connections C] [--json]`. The exit code is 1 when anything was lost,
//! damaged or unexplained; the spool is kept then. The same code runs twenty short runs in `cargo test`
//! (`tests/flow/crash_under_load.rs`).

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints its result"
)]

use std::io::{IsTerminal as _, stderr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use testkit::campaign::{self, Settings};

/// Kill a relay under load, again and again, and prove that nothing was lost.
#[derive(Parser)]
struct Arguments {
    /// Runs, each ended by SIGKILL.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// What sizes, recipients and moments are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Clients at the same time.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=900))]
    connections: u32,
    /// The longest load of a usual run, in milliseconds; one run in ten lasts up to four times as long.
    #[arg(long, default_value_t = 1500)]
    load_ms: u64,
    /// Wipe the end of the log after each kill: the campaign must then find losses.
    #[arg(long)]
    wipe: bool,
    /// Have clients answered by destinations (`answer=destination`).
    #[arg(long)]
    online: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench` to every bench; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = Settings {
        program: env!("CARGO_BIN_EXE_onward").to_owned(),
        runs: arguments.runs,
        seed: arguments.seed,
        connections: arguments.connections,
        load: Duration::from_millis(arguments.load_ms),
        drain_every: 50,
        wipe: arguments.wipe,
        online: arguments.online,
    };
    let shows_progress = stderr().is_terminal();
    let report = campaign::run(settings, |line| {
        if shows_progress {
            eprint!("\r{line}\x1b[K");
        }
    })
    .await;
    if shows_progress {
        eprintln!();
    }
    if arguments.json {
        println!("{}", report.json());
    } else {
        println!("{report}");
    }
    ExitCode::from(u8::from(!report.is_good()))
}
