//! Where mail goes and under which sender: the forwards table, SRS planning, loop detection, trace headers.
//!
//! The way of one message through this crate:
//!
//! ```text
//! RCPT TO     Forwarder::route     hosted → targets │ SRS address of ours → original sender │ refused │ not ours
//! DATA        Forwarder::plan      routes → legs, each with its rewritten reverse path and Delivered-To;
//!                                  a token from the caller for a sender that SRS cannot express
//!             trace::received      the Received header that goes on top
//! the body    HeaderScan::feed     counts Received, collects Delivered-To, up to the empty line
//! its end     Plan::remove_loops   legs that would go round are left out
//! ```
//!
//! ```
//! use envelope::{ForwardPath, Recipient, ReversePath, Timestamp};
//! use forwarder::{Forwarder, Settings, Table};
//!
//! let table = Table::parse("forwards", b"alice@example.org alice@mail.example.com".to_vec())?;
//! let forwarder = Forwarder::new(
//!     srs::Srs::new(srs::Settings::new(["tops3cr3t"]))?,
//!     Settings {
//!         hostname: "mx1.example.net".parse()?,
//!         srs_domain: "fwd.example.net".parse()?,
//!         postmaster: None,
//!         received_max: 50,
//!         more_srs_domains: Vec::new(),
//!         return_paths: Default::default(),
//!     },
//! )?;
//! let sender = ReversePath::Mailbox("a@b.example".parse()?);
//! let alice = Recipient::new(ForwardPath::Mailbox("alice@example.org".parse()?));
//!
//! let now = Timestamp::from_unix_millis(1_795_266_072_000);
//! let route = forwarder.route(&table, &alice.forward_path, now);
//! let token = &mut |_: &_, _| "NONE".into();
//! let legs = forwarder.plan(&table, &sender, None, [(&alice, route)], now, token).into_legs();
//! assert_eq!(legs[0].target.to_string(), "alice@mail.example.com");
//! assert_eq!(legs[0].reverse_path.to_string(), "<SRS0=FU0P=JK=b.example=a@fwd.example.net>");
//! assert_eq!(&*legs[0].trace, "Delivered-To: alice@example.org\r\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It does *not* read files or a clock, ask the spool or the DNS, or decide who may send to whom: a token is looked
//! up by the caller between two calls ([`Route::Token`], [`Forwarder::route_return`]), and [`Route::NotHosted`] is for
//! `policy` to judge.

mod fold;
mod forwarder;
mod plan;
mod replies;
mod return_path;
mod scan;
pub mod table;
pub mod trace;

pub use fold::fold;
pub use forwarder::{Forwarder, Route, Settings, SettingsError, SrsRecipient, SrsRefusal};
pub use plan::{LEGS_MAX, Looping, Plan, PlannedLeg};
pub use return_path::{ReturnPath, ReturnPathError, ReturnPaths};
pub use scan::{HeaderScan, has_header};
pub use table::{Resolution, Table};
