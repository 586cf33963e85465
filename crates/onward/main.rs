//! The `onward` binary: reads the command line and the configuration, and starts what was asked for.

mod allocator;
mod at_rest;
mod auth_cli;
mod check;
mod cli;
mod config;
mod config_cli;
mod demo;
mod descriptors;
mod dkim_cli;
mod doctor;
mod doctor_cli;
mod explain_cli;
mod files;
mod forwards;
mod forwards_cli;
mod freeze_cli;
mod history_cli;
mod import;
mod init;
mod issuing;
mod keys;
mod lint_cli;
mod lists;
mod logins;
mod logs;
mod message;
mod papers;
mod print;
mod queue_cli;
mod queue_rows;
mod reload;
mod risks;
mod routing;
mod serve;
#[cfg(feature = "postgres")]
mod shared;
#[cfg(not(feature = "postgres"))]
#[path = "unshared.rs"]
mod shared;
mod site_cli;
mod sources;
mod spf_cli;
#[cfg(feature = "postgres")]
mod spool_carry;
mod spool_cli;
mod spool_export;
mod spool_import;
mod spool_mail;
#[cfg(feature = "postgres")]
mod spool_move;
#[cfg(feature = "postgres")]
mod spool_shared;
mod srs_cli;
mod srs_rotate;
mod status_check;
mod status_cli;
mod tls_cli;
mod tokens;
mod top_cli;
mod trace_cli;
mod users;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use control::{ClientError, Fault, FaultKind};

use cli::{Cli, Command};
use config::Config;
use history_cli::History;
use print::Printer;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => return not_understood(&wrong),
    };
    let print = Printer::new(cli.json);
    logs::start_tracing();
    if matches!(cli.command, Command::Serve)
        && let Err(error) = allocator::settle()
    {
        tracing::warn!(%error, "memory will not be given back after a load");
    }
    descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // A build without optimisation needs more than the usual 2 MiB where delivery asks a database. What is not used, costs nothing.
        .thread_stack_size(8 << 20)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            print.complain(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // As a task: on this thread, each wake-up would wake this thread besides a worker, for every message.
    match runtime.block_on(runtime.spawn(run(cli, print))) {
        Ok(Ok(exit)) => ExitCode::from(exit as u8),
        Ok(Err(error)) => {
            print.complain(&error);
            ExitCode::from(Exit::of(&*error) as u8)
        }
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}

/// Wrong usage, or a wish for help.
fn not_understood(wrong: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    match wrong.use_stderr() && json {
        true => {
            let text = wrong.render().to_string();
            Printer::new(true).complain(text.trim().trim_start_matches("error: "));
        }
        // A reader that has gone away is no error.
        false => drop(wrong.print()),
    }
    ExitCode::from(u8::try_from(wrong.exit_code()).unwrap_or(2))
}

/// How a command ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Fine = 0,
    /// It found a problem, and has printed it.
    Problem = 1,
    /// `status --check` found a condition that does not hold. (Elsewhere, 2 is wrong usage.)
    Critical = 2,
    /// What was selected or asked for is not there.
    NothingMatched = 3,
}

impl Exit {
    /// What was asked for is there, or not.
    pub(crate) const fn found(found: bool) -> Self {
        match found {
            true => Self::Fine,
            false => Self::NothingMatched,
        }
    }

    /// That of a command that failed.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let told = match error.downcast_ref() {
            Some(ClientError::Fault(fault)) => Some(fault),
            _ => error.downcast_ref::<Fault>(),
        };
        match told.is_some_and(|fault| fault.kind == FaultKind::Missing) {
            true => Self::NothingMatched,
            false => Self::Problem,
        }
    }

    /// A problem, unless all is well.
    pub(crate) const fn problem_unless(fine: bool) -> Self {
        match fine {
            true => Self::Fine,
            false => Self::Problem,
        }
    }
}

/// Why a command did not work: printed, with its hint. The exit code is that of a problem.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs one command.
async fn run(cli: Cli, print: Printer) -> Result<Exit, Failure> {
    let config = || Config::load(&cli.config);
    let socket = || config().map(|config| config.control.socket);
    let history = || config().map(|config| History::of(&config));
    match &cli.command {
        Command::Demo(args) => demo::run(args, print).await?,
        Command::Init(args) => init::run(args, print)?,
        Command::Papers { folder } => papers::run(folder, print)?,
        Command::Import(args) => return import::run(args, print),
        Command::Check { dns } => {
            let fine = check::run(&cli.config, *dns, print).await;
            return Ok(Exit::problem_unless(fine));
        }
        Command::Doctor { connect } => return doctor_cli::run(&config()?, *connect, print).await,
        Command::Spool(command) => return spool_cli::run(&config()?, command, print).await,
        Command::Config(command) => return config_cli::run(&cli.config, command, print).await,
        Command::Serve => serve::run(config()?, &cli.config).await?,
        Command::Queue(command) => return queue_cli::queue(&config()?, command, print).await,
        Command::Trace(args) => return Ok(trace_cli::run(&history()?, args, print).await?),
        Command::Stats(args) => return Ok(history_cli::stats(&history()?, args, print).await?),
        Command::Forwards(command) => return forwards_cli::run(&config()?, command, print).await,
        Command::Domain(command) => return forwards_cli::domain(&socket()?, command, print).await,
        Command::Freeze(command) => return freeze_cli::run(&socket()?, command, print).await,
        Command::Node(command) => return shared::node(&config()?, command, print).await,
        Command::Top => return top_cli::run(&socket()?, print).await,
        Command::Site(command) => return site_cli::run(&socket()?, command, print).await,
        Command::Tls(command) => return tls_cli::run(&socket()?, command, print).await,
        Command::Drain(args) => return site_cli::drain(&socket()?, args, print).await,
        Command::Status(args) => return status_cli::run(&cli.config, args, print).await,
        Command::Reload { force } => return queue_cli::reload(&socket()?, *force, print).await,
        Command::Explain(args) => return explain_cli::run(&socket()?, args, print).await,
        Command::Auth(args) => return auth_cli::run(args, &cli.config, print).await,
        Command::Dkim(cli::Dkim::Key(args)) => dkim_cli::key(args, &cli.config, print)?,
        Command::Http(cli::Http::Token(args)) => tokens::make(args, &config()?, print)?,
        Command::Spf(asked) => {
            let fine = match asked {
                cli::Spf::Check(claim) => spf_cli::check(claim, &cli.config, print).await?,
                cli::Spf::Lint(args) => lint_cli::lint(args, &cli.config, print).await?,
                cli::Spf::Build(args) => lint_cli::build(args, &cli.config, print).await?,
            };
            return Ok(Exit::problem_unless(fine));
        }
        Command::Srs(command) => return srs_cli::run(&config()?, command, print).await,
    }
    Ok(Exit::Fine)
}
