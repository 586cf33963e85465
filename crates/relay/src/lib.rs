//! The stages joined: mail in, mail out, and what operators ask of both.
//!
//! A library without command line, configuration files or printing: the binary reads those and hands values in. Each stage
//! knows the nouns of `envelope` only; here they meet.

pub mod counting;
pub mod dnsbl;
pub mod doctor;
pub mod dovecot;
pub mod filters;
pub mod giver;
mod histories;
pub mod inbound;
pub mod keys;
pub mod lists;
mod lookups;
mod nodes;
mod on_disk;
pub mod operator;
mod origin;
pub mod outbound;
mod relay;
mod replies;
pub mod routing;
pub mod sender_policy;
pub mod store;
pub mod sts;
#[cfg(test)]
mod tests;
pub mod tls_reports;
pub mod together;
pub mod users;

pub use relay::{Core, Relay, Settings};
pub use routing::{BounceTo, Connect, Routing, TierWay, Unroutable};
