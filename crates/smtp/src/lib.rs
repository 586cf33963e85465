//! SMTP without I/O: server and client sessions that mirror each other.
//!
//! Bytes and times go in (`handle_*`), events come out (`poll_event`), bytes to write gather in `output`.
//! Who drives a session does the rest: sockets, TLS, timers, decisions.
//!
//! This crate decides nothing about mail (that is `policy`), knows no DNS and stores nothing. Whatever bytes a peer
//! sends, no function here panics on them.

pub mod client;
pub mod command;
pub mod dot;
pub mod extensions;
pub mod limits;
pub mod line;
pub mod params;
pub mod path;
pub mod reply;
pub mod server;
pub mod xclient;
pub mod xtext;

pub use extensions::Capabilities;
