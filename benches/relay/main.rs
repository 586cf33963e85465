//! The relay bench: `cargo bench --bench relay -- --help` says what it can do, `benches/README.md` what its figures mean.
//!
//! `load` and `sink` are the tools, `system` is what is measured, `stand` joins them, `scenario` says what is asked, `runner` in which order
//! and how often, `report` what is told. Its tests are in `tests`, which is another target: cargo gives benches without harness none.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that starts others, waits for them, and prints its result"
)]

mod command;
mod cost;
mod cpu;
mod descriptors;
mod latency;
mod load;
mod report;
mod runner;
mod scenario;
mod sink;
mod stamp;
mod stand;
mod stop;
mod system;

fn main() -> std::process::ExitCode {
    command::run(std::env::args_os())
}
