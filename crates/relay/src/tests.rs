//! What tests of this crate begin with.

use envelope::Timestamp;
use forwarder::{Forwarder, Table};
use spool::Clock;

use crate::Routing;

/// This moment.
pub(crate) fn now() -> Timestamp {
    Clock::real().now()
}

/// The routing of a relay with this forwards file.
pub(crate) fn routing(forwards: &str) -> Routing {
    let settings = forwarder::Settings {
        hostname: "mx.fwd.test".parse().unwrap(),
        srs_domain: "fwd.test".parse().unwrap(),
        postmaster: None,
        received_max: 50,
    };
    let srs = srs::Srs::new(srs::Settings::new(["tops3cr3t"])).unwrap();
    Routing {
        forwarder: Forwarder::new(srs, settings).unwrap(),
        table: Table::parse("forwards", forwards.into()).unwrap(),
        relay_domains: Vec::new(),
        trusted: policy::Networks::default(),
    }
}
