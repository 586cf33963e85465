//! Bodies of the fuzz targets: what must hold of each parser and session, whatever bytes come.
//!
//! A target is a function of bytes that panics when something does not hold. `fuzz/` gives each to libFuzzer;
//! `tests/replay.rs` runs each over its corpus and over mutations of it, on the stable toolchain and in seconds.
//! How to run, and what to do with a finding: CONTRIBUTING.md.
//!
//! An input is a plan of fixed size (how to split, what to answer) and then plain bytes, so that a seed can be written
//! by hand. Where there is a plain definition of what is right, the target has it, and compares.
//!
//! The reader of notices (DSN) has no target: it does not exist yet.

mod authentic;
mod bounce;
mod client;
mod command;
mod dot;
mod forwards;
mod input;
mod memory;
mod milter;
mod proxy;
mod reply;
mod server;
mod spf;
mod spool;
mod srs;

pub use input::xorshift;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its binary in `fuzz/fuzz_targets/` and of its folder in `fuzz/corpus/`.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("authentic", authentic::check),
    target("bounce", bounce::check),
    target("client", client::check),
    target("command", command::check),
    target("dot", dot::check),
    target("forwards", forwards::check),
    target("header", forwards::check_header),
    target("mailbox", command::check_mailbox),
    target("milter", milter::check),
    target("proxy", proxy::check),
    target("record", spool::check_record),
    target("reply", reply::check),
    target("segment", spool::check_segment),
    target("server", server::check),
    target("spf", spf::check),
    target("spool", spool::check_spool),
    target("srs", srs::check),
];

const fn target(name: &'static str, check: fn(&[u8])) -> Target {
    Target { name, check }
}

/// Runs the target of this name.
pub fn check(name: &str, data: &[u8]) {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        panic!("no target is called {name}")
    };
    (target.check)(data);
}
