//! The name of a client: what its address points to (PTR), if that name points back.
//!
//! The look-up starts at CONNECT and is awaited at DATA, so the dialogue mostly hides the wait, which has a short limit. If
//! it fails, the message goes on without the name.

use std::net::IpAddr;
use std::time::Duration;

use dns::Resolver;
use envelope::Domain;
use moka::sync::Cache;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Looks names up and remembers them.
pub(super) struct ClientNames {
    resolver: dns::Backend,
    known: Cache<IpAddr, Option<Domain>>,
}

/// The name of one client.
pub(super) enum ClientName {
    Known(Option<Domain>),
    Asked(JoinHandle<Option<Domain>>),
}

impl ClientNames {
    /// Asks this resolver.
    pub(super) fn new(resolver: dns::Backend) -> Self {
        let known = Cache::builder()
            .max_capacity(KNOWN_MAX)
            .time_to_live(KNOWN_FOR)
            .build();
        Self { resolver, known }
    }

    /// Begins to look a name up, unless it is known.
    pub(super) fn ask(&self, address: IpAddr) -> ClientName {
        if let Some(name) = self.known.get(&address) {
            return ClientName::Known(name);
        }
        let (resolver, known) = (self.resolver.clone(), self.known.clone());
        ClientName::Asked(tokio::spawn(async move {
            let lookup = timeout(LOOKUP, confirmed(&resolver, address));
            let name = lookup.await.unwrap_or_default();
            known.insert(address, name.clone());
            name
        }))
    }
}

impl ClientName {
    /// Waits for it.
    pub(super) async fn get(&mut self) -> Option<&Domain> {
        if let Self::Asked(task) = self {
            let name = task.await.unwrap_or_default();
            *self = Self::Known(name);
        }
        match self {
            Self::Known(name) => name.as_ref(),
            Self::Asked(_) => None,
        }
    }
}

/// The first name that points back: anyone can make his own address point to any name.
async fn confirmed(resolver: &dns::Backend, address: IpAddr) -> Option<Domain> {
    let names = resolver.names(address).await.ok()?;
    for name in names.into_iter().take(NAMES_MAX) {
        let addresses = resolver.addresses(name.as_str()).await;
        if addresses.is_ok_and(|addresses| addresses.contains(&address)) {
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
