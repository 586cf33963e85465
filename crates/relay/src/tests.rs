//! What tests of this crate begin with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use envelope::Timestamp;
use forwarder::{Forwarder, Table};
use journal::Journal;
use spool::{Clock, IdSource, Schedule};

use crate::{Core, Routing, Settings};

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

/// What all parts of a relay share.
pub(crate) fn core<S>(spool: S, routing: Routing, journal: Journal) -> Core<S> {
    Core {
        spool: Arc::new(spool),
        routing: Arc::new(ArcSwap::from_pointee(routing)),
        ids: Arc::new(IdSource::new()),
        clock: Clock::real(),
        journal,
    }
}

/// With small limits.
pub(crate) fn settings() -> Settings {
    Settings {
        accept_nonnull: false,
        bounces_per_day: 2,
        schedule: Schedule::default(),
        postmaster: "postmaster@mx.fwd.test".parse().unwrap(),
        bounce_octets_max: 1000,
        delivery: delivery::Settings::new("mx.fwd.test".parse().unwrap()),
    }
}
