//! Where mail goes and under which sender: the forwards table, SRS planning, loop detection, trace headers.
//!
//! The way of one message through this crate:
//!
//! ```text
//! RCPT TO     Forwarder::route     hosted → targets │ SRS address of ours → original sender │ refused │ not ours
//! DATA        Forwarder::plan      recipients → legs, each with its rewritten reverse path and Delivered-To;
//!                                  tokens to keep for senders that SRS cannot express
//!             trace::received      the Received header that goes on top
//! the body    HeaderScan::feed     counts Received, collects Delivered-To, up to the empty line
//! its end     Plan::check_loops    5.4.6, or go on
//! ```
//!
//! It does *not* read files or a clock, ask the spool or the DNS, or decide who may send to whom: a token is looked
//! up by the caller between two calls ([`SrsRecipient::Token`], [`Recalled`]), and [`Route::NotHosted`] is for
//! `policy` to judge.

mod forwarder;
mod plan;
mod replies;
mod scan;
pub mod table;
pub mod trace;

pub use forwarder::{
    Forwarder, Recalled, Route, Settings, SettingsError, SrsRecipient, SrsRefusal,
};
pub use plan::{LoopVerdict, Plan, PlanError, PlannedLeg, TokenMapping};
pub use scan::HeaderScan;
pub use table::{Resolution, Table};
