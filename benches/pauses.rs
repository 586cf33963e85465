//! Nodes on one PostgreSQL under load while something stands still or dies, as a program.
//!
//! `cargo bench --bench pauses --features postgres -- --hurt link --seconds 30 [--rate R] [--clients C] [--seed S]`. It says how long
//! clients waited before, during and after, what the node did meanwhile, and what came twice. The exit code is 1 when anything was
//! lost, damaged or unexplained.

#![expect(clippy::print_stdout, reason = "a program that prints its result")]

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use testkit::campaign::nodes::{self, Hurt, Settings};

/// Hurt a node, or what it needs, under load, and prove that nothing was lost.
#[derive(Parser)]
struct Arguments {
    /// What happens.
    #[arg(long)]
    hurt: What,
    /// For how long; a node that was killed is watched for so long.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Load before and after.
    #[arg(long, default_value_t = 40)]
    around: u64,
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Clients of each node.
    #[arg(long, default_value_t = 10)]
    clients: usize,
    /// Messages a second that each node is offered.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// What sizes and recipients are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by `cargo bench` to every bench; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// A process of the database stands still that commits for the first node.
    Backend,
    /// The database stands still.
    Primary,
    /// The way from the first node to the database stands still.
    Link,
    /// The first node is killed.
    Node,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = nodes::run(Settings {
        program: env!("CARGO_BIN_EXE_onward").to_owned(),
        hurt: match arguments.hurt {
            What::Backend => Hurt::Backend,
            What::Primary => Hurt::Primary,
            What::Link => Hurt::Link,
            What::Node => Hurt::Node,
        },
        pause: Duration::from_secs(arguments.seconds),
        around: Duration::from_secs(arguments.around),
        nodes: arguments.nodes,
        clients: arguments.clients,
        rate: arguments.rate,
        seed: arguments.seed,
    })
    .await;
    println!("{report}");
    ExitCode::from(u8::from(!report.account.findings.is_empty()))
}
