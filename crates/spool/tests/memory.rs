//! The suite over the engine in memory.

use spool::conformance::Engine;
use spool::memory::MemorySpool;
use spool::{Clock, Lifetime};

/// What is in it outlives the handles.
struct Memory(MemorySpool);

impl Engine for Memory {
    type Spool = MemorySpool;

    async fn open(&self, clock: &Clock) -> MemorySpool {
        self.0.reopen(clock.clone())
    }
}

fn memory() -> Memory {
    Memory(MemorySpool::new(Clock::real(), Lifetime::default()))
}

spool::conformance!(memory());
