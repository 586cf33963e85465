//! The load harness as a program: the source of mail and the destination, to be run by hand.
//!
//! `cargo bench --bench relay -- load --to 127.0.0.1:25 --connections 100` and `cargo bench --bench relay -- sink --bind 127.0.0.2:25`;
//! each says more with `--help`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints its result"
)]
#![expect(dead_code, reason = "the runner that uses the rest is not here yet")]

mod latency;
mod load;
mod sink;
mod stamp;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load a mail relay, and receive what it sends on.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Given by `cargo bench` to every bench; means nothing here.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Send mail to an SMTP server, as fast as it takes it or at a fixed rate.
    Load(load::command::Arguments),
    /// Receive mail on one or many addresses, answer by script, check what comes.
    Sink(sink::command::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Load(arguments) => load::command::run(&arguments),
        Command::Sink(arguments) => sink::command::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
