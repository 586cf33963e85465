//! The suite over the embedded engine.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use queue::{LogSpool, Settings};
use spool::Clock;
use spool::conformance::Engine;

struct Embedded(tempfile::TempDir);

impl Engine for Embedded {
    type Spool = LogSpool;

    fn open(&self, clock: &Clock) -> LogSpool {
        let settings = Settings {
            segment_bytes: Settings::SEGMENT_BYTES_MIN,
            min_free_bytes: 0,
            min_free_inodes: 0,
            checkpoint_every: Duration::from_millis(20),
            clock: clock.clone(),
            ..Settings::new(self.0.path())
        };
        LogSpool::open(settings).unwrap()
    }
}

fn embedded() -> Embedded {
    Embedded(tempfile::tempdir().unwrap())
}

spool::conformance!(embedded());
