//! The `onward` binary: a forwarding MX with SRS.
mod cli;
mod config;
mod init;
mod log;
mod print;
fn main() {}
