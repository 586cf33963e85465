//! A site as operators see it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use envelope::{Diagnosis, Host};

use crate::orders::{Limit, Order};

/// All that is known of a site.
#[derive(Debug, Clone)]
pub struct SiteView {
    /// Its name: that of its best MX, or of the host or address of a route.
    pub name: String,
    /// The names of its hosts, the best first; none in a view of all sites.
    pub mx: Vec<String>,
    /// Some of the hosts whose mail it takes; none in a view of all sites.
    pub takes: Vec<Host>,
    /// How many those are.
    pub takes_count: usize,
    /// How TLS is used with it.
    pub tls: String,
    /// The egress that its mail leaves from.
    pub egress: Option<Arc<str>>,
    /// Addresses of ours that rest there, and for how long; none in a view of all sites.
    pub resting: Vec<(IpAddr, Duration)>,
    /// Whether it can be reached.
    pub reach: Reach,
    /// An operator has paused it.
    pub pause: Option<Order>,
    /// What operators allow.
    pub limit: Limit,
    /// What is sent to it at most, as `shaping` says, and to which sites together.
    pub shape: String,
    /// Connections open or being made.
    pub connections: usize,
    /// How many it may have at present.
    pub window: usize,
    /// Legs in memory that wait for a connection.
    pub waiting: usize,
}

/// Whether a site can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// As far as it is known.
    Up,
    /// It wants no more connections than it has: in its words.
    Crowded(Diagnosis),
    /// It answers "not now" to all mail, the last time with this.
    Deferring(Diagnosis),
    /// It can be reached, but says that we send too much: it is sent one message at a time, with pauses between.
    Throttled {
        /// For how long.
        lasts: Duration,
        /// What it says.
        reason: Diagnosis,
        /// Until the next message.
        probe_in: Duration,
    },
    /// No host of it can be reached.
    Down {
        /// For how long.
        lasts: Duration,
        /// What the last attempt met.
        reason: Diagnosis,
        /// Until the next attempt.
        probe_in: Duration,
    },
}
