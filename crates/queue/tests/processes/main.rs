//! Tests of the engine that start other programs: themselves, to be killed, and `mount`.
//!
//! They need a process of their own, and run one at a time: between fork and exec a child has a copy of every open file of
//! ours, and with it the lock of a spool that another test has closed and wants to open again.

#[cfg(debug_assertions)]
mod crash;
mod small_disk;

/// Held by each test for as long as it runs.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
