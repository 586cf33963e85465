//! The suite over the embedded engine.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use queue::{LogSpool, Settings};
use spool::Clock;
use spool::conformance::Engine;

use crate::support;

struct Embedded(tempfile::TempDir);

impl Engine for Embedded {
    type Spool = LogSpool;

    async fn open(&self, clock: &Clock) -> LogSpool {
        let settings = Settings {
            clock: clock.clone(),
            ..support::settings(self.0.path())
        };
        LogSpool::open(settings).unwrap()
    }
}

fn embedded() -> Embedded {
    Embedded(tempfile::tempdir().unwrap())
}

spool::conformance!(embedded());
