//! How long a peer may keep us waiting: as long as the protocol says, but less while other mail waits for the connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

/// A lane's patience with its peer.
#[derive(Clone)]
pub(crate) struct Patience {
    /// Each wait may last this long, even if other mail wants the connection.
    pub(crate) limit: Duration,
    is_wanted: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Patience {
    pub(crate) fn new(
        limit: Duration,
        is_wanted: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            limit,
            is_wanted: Arc::new(is_wanted),
        }
    }

    /// Whether other mail waits for the connection now.
    pub(crate) fn is_wanted(&self) -> bool {
        (self.is_wanted)()
    }

    /// Waits until it is over.
    pub(crate) async fn over(&self) {
        sleep(self.limit).await;
        while !self.is_wanted() {
            sleep(self.limit / 4).await;
        }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patience({:?})", self.limit)
    }
}
