//! The checks of the relay bench: each tool, the tools against each other, the reports, and a short run of the whole.

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

/// One file for each part.
#[cfg(test)]
mod tests {
    mod bad_relay;
    mod body;
    mod checks;
    mod command;
    mod figure;
    mod goal;
    mod latency;
    mod machine;
    mod markdown;
    mod open_loop;
    mod plot;
    mod progress;
    mod report;
    mod results;
    mod runner;
    mod scenario;
    mod smoke;
    mod stamp;
    mod stand;
    mod stop;
    mod system;
    mod template;
    mod terminal;
    mod tools;
}
