//! The `onward` binary: reads the command line and the configuration, and starts what was asked for.

mod allocator;
mod auth_cli;
mod check;
mod cli;
mod config;
mod demo;
mod descriptors;
mod dkim_cli;
mod explain_cli;
mod forwards;
mod freeze_cli;
mod init;
mod keys;
mod lists;
mod message;
mod print;
mod queue_cli;
mod reload;
mod risks;
mod routing;
mod serve;
mod spf_cli;
mod spool_cli;
mod spool_export;
mod srs_cli;
mod users;
mod wire;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Cli, Command};
use config::Config;
use print::{Printer, complain};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_tracing();
    if matches!(cli.command, Command::Serve)
        && let Err(error) = allocator::settle()
    {
        tracing::warn!(%error, "memory will not be given back after a load");
    }
    descriptors::raise();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // As a task: on this thread, each wake-up would wake this thread besides a worker, for every message.
    match runtime.block_on(runtime.spawn(run(cli))) {
        Ok(Ok(fine)) => ExitCode::from(u8::from(!fine)),
        Ok(Err(error)) => {
            complain(error);
            ExitCode::FAILURE
        }
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}

/// Runs one command. An error is printed and is exit code 1; so is a problem that a command has printed itself (false).
async fn run(cli: Cli) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let print = Printer { json: cli.json };
    let config = || Config::load(&cli.config);
    match &cli.command {
        Command::Demo(args) => demo::run(args, print).await?,
        Command::Init(args) => init::run(args, print)?,
        Command::Check => return Ok(check::run(&cli.config, print).await),
        Command::Spool(command) => return Ok(spool_cli::run(&config()?, command, print).await?),
        Command::Serve => serve::run(&config()?, &cli.config).await?,
        Command::Queue(command) => {
            queue_cli::queue(&config()?.control.socket, command, print).await?;
        }
        Command::Freeze(command) => {
            freeze_cli::run(&config()?.control.socket, command, print).await?;
        }
        Command::Status => queue_cli::status(&config()?.control.socket, print).await?,
        Command::Reload { force } => {
            queue_cli::reload(&config()?.control.socket, *force, print).await?;
        }
        Command::Explain(args) => {
            return Ok(explain_cli::run(&config()?.control.socket, args, print).await?);
        }
        Command::Auth(args) => auth_cli::run(args, &cli.config, print).await?,
        Command::Dkim(cli::Dkim::Key(args)) => dkim_cli::key(args, &cli.config, print)?,
        Command::Spf(cli::Spf::Check(claim)) => {
            return Ok(spf_cli::check(claim, &cli.config, print).await?);
        }
        Command::Srs(command) => srs_cli::run(&config()?, command, print).await?,
    }
    Ok(true)
}

/// Trouble of the program itself goes to journald if systemd started us, else to standard error. `ONWARD_LOG` sets the
/// level (`debug`, or `delivery=trace` for one stage).
fn start_tracing() {
    let wanted = std::env::var("ONWARD_LOG").ok();
    let filter = wanted
        .and_then(|wanted| wanted.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let registry = tracing_subscriber::registry().with(filter);
    let journald = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journald {
        Some(journald) => registry.with(journald).init(),
        None => {
            let colours = std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let stderr = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .fmt_fields(print::escaped_fields());
            registry.with(stderr.with_ansi(colours)).init();
        }
    }
}
