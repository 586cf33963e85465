//! The name of a client: what its address points to (PTR), if that name points back.
//!
//! The look-up starts at CONNECT and is awaited at DATA, so the dialogue mostly hides the wait, which has a short limit. If
//! it fails, the message goes on without the name.

use std::future::ready;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dns::Resolver;
use envelope::Domain;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Looks names up and remembers them.
pub(super) struct ClientNames {
    resolver: dns::Backend,
    known: Cache<IpAddr, Option<Domain>>,
    /// Bounds the look-ups under way.
    room: Arc<Semaphore>,
}

/// The name of one client, which any number of questions may wait for.
pub(super) struct ClientName(Shared<BoxFuture<'static, Option<Domain>>>);

impl ClientNames {
    /// Asks this resolver.
    pub(super) fn new(resolver: dns::Backend) -> Self {
        let known = Cache::builder()
            .max_capacity(KNOWN_MAX)
            .time_to_live(KNOWN_FOR)
            .build();
        Self {
            resolver,
            known,
            room: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }

    /// Begins to look a name up, unless it is known.
    pub(super) fn ask(&self, address: IpAddr) -> ClientName {
        if let Some(name) = self.known.get(&address) {
            return ClientName::of(ready(name));
        }
        // A flood of clients whose names cannot be found must not keep others waiting for theirs.
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            return ClientName::unknown();
        };
        let (resolver, known) = (self.resolver.clone(), self.known.clone());
        let asked = tokio::spawn(async move {
            let _room = room;
            let lookup = timeout(LOOKUP, confirmed(&resolver, address));
            let name = lookup.await.unwrap_or_default();
            known.insert(address, name.clone());
            name
        });
        ClientName::of(asked.map(Result::unwrap_or_default))
    }
}

impl ClientName {
    /// Nobody has asked.
    pub(super) fn unknown() -> Self {
        Self::of(ready(None))
    }

    fn of(name: impl Future<Output = Option<Domain>> + Send + 'static) -> Self {
        Self(name.boxed().shared())
    }

    /// The name, if it is known by now.
    pub(super) fn known(&self) -> Option<Domain> {
        self.0.clone().now_or_never().flatten()
    }

    /// Waits for it.
    pub(super) async fn get(&self) -> Option<Domain> {
        self.0.clone().await
    }
}

/// The first name that points back: anyone can make his own address point to any name.
async fn confirmed(resolver: &dns::Backend, address: IpAddr) -> Option<Domain> {
    let names = resolver.names(address).await.ok()?;
    for name in names.into_iter().take(NAMES_MAX) {
        if resolver.leads_to(name.as_str(), address).await == Ok(true) {
            return Some(name);
        }
    }
    None
}

/// For the whole of it, from CONNECT on.
const LOOKUP: Duration = Duration::from_secs(2);
/// Names of one address that are tried.
const NAMES_MAX: usize = 5;
/// A failure too is remembered, so that a resolver in trouble is waited for once a client, not once a message.
const KNOWN_FOR: Duration = Duration::from_mins(5);
const KNOWN_MAX: u64 = 50_000;
/// Look-ups under way at once; while there are so many, further clients have no names.
const LOOKUPS_MAX: usize = 1_000;
