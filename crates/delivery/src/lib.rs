//! Delivery: takes due legs from [`Work`], finds the hosts that take their mail, talks SMTP to them, and hands every
//! leg back with exactly one outcome, or untried.
//!
//! ```text
//! Work::claim ─► host ─► site ─► lane ─► Connection ─► smtp::client::Session
//!                (DNS, once)  (queue, up/down)  (one connection, pulls work)          │
//! Work::settle / Work::release ◄──────────────────────────────────────────────────────┘
//! ```
//!
//! A **site** is what domains share that have the same MX set under the same policy (`plan`): concurrency, idle connections,
//! and the one fact whether it can be reached. A **lane** is one connection of a site: it carries one transaction after
//! another. When connections are short, `admission` says which site gets the next one.
//!
//! It knows nothing of the queue, of retry times, of bounces or of the log: those are on the other side of [`Work`].

mod admission;
mod allowed;
mod callout;
mod catch_panic;
mod connection;
mod dispatcher;
mod egress;
mod foresight;
mod health;
mod lane;
mod login;
mod memory;
mod mx;
mod opening;
mod orders;
mod parcel;
mod patience;
mod peer;
mod plan;
mod policy;
mod pressure;
mod providers;
mod reach;
mod route;
mod sessions;
mod settings;
mod shaping;
mod sites;
mod tls;
mod turns;
mod view;
mod work;

pub use allowed::is_public;
pub use callout::{CalloutSettings, Callouts, Finding};
pub use dispatcher::Dispatcher;
pub use egress::{Egress, Source};
pub use foresight::{Foreseen, Foresight, Hop};
pub use login::{Login, NotALogin};
pub use orders::{Change, Limit, NotASite, Order, SiteMatch, Wanted, holding};
pub use peer::Endpoint;
pub use route::{HopHost, Hops, NextHop, Route, RouteError, Routes};
pub use settings::Settings;
pub use shaping::{Layer, ReplyRule, Shape, Shaping, Then};
pub use sites::facts::Fact;
pub use tls::dane::tlsa_fits;
pub use view::{Reach, SiteView};
pub use work::{Body, BodyError, SiteEvent, Want, Work};
