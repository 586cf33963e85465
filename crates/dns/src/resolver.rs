//! The trait behind which a resolver stands, its answers and its three ways to fail.

use std::net::IpAddr;

use envelope::Domain;

use crate::{Fixed, Hickory};

/// What mail asks of DNS.
pub trait Resolver: Send + Sync + 'static {
    /// The MX records (RFC 5321 §5.1), in no particular order. `Err(NullMx)` when the domain takes no mail at all
    /// (RFC 7505), `Err(NoRecords)` when it has none and the implicit MX is to be tried.
    fn mx(&self, domain: &Domain) -> impl Future<Output = Result<Vec<Mx>, Error>> + Send;

    /// All addresses, A and AAAA, each family in the order of its answer.
    fn addresses(&self, name: &Domain) -> impl Future<Output = Result<Vec<IpAddr>, Error>> + Send;

    /// The TXT records: one entry a record, its character-strings joined without a gap (RFC 7208 §3.3). Any octets.
    fn txt(&self, name: &Domain) -> impl Future<Output = Result<Vec<Vec<u8>>, Error>> + Send;

    /// The names that the address points to (PTR).
    fn names(&self, address: IpAddr) -> impl Future<Output = Result<Vec<Domain>, Error>> + Send;
}

/// One MX record that names a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mx {
    /// Lower is better.
    pub preference: u16,
    /// The host that takes the mail.
    pub exchange: Domain,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name does not exist (NXDOMAIN): permanent.
    #[error("no such domain")]
    NoSuchDomain,
    /// The name exists and has no such records.
    #[error("no such records")]
    NoRecords,
    /// The domain's only MX is the root: it takes no mail (RFC 7505 §3): permanent.
    #[error("domain takes no mail (null MX)")]
    NullMx,
    /// Could not find out: timeout, SERVFAIL, REFUSED, an answer that makes no sense. Later may be better.
    #[error("{0}")]
    Trouble(String),
}

/// A resolver chosen at run time.
#[derive(Debug, Clone)]
pub enum Backend {
    /// The real DNS.
    Hickory(Hickory),
    /// A table in memory.
    Fixed(Fixed),
}

impl Resolver for Backend {
    async fn mx(&self, domain: &Domain) -> Result<Vec<Mx>, Error> {
        match self {
            Self::Hickory(resolver) => resolver.mx(domain).await,
            Self::Fixed(resolver) => resolver.mx(domain).await,
        }
    }

    async fn addresses(&self, name: &Domain) -> Result<Vec<IpAddr>, Error> {
        match self {
            Self::Hickory(resolver) => resolver.addresses(name).await,
            Self::Fixed(resolver) => resolver.addresses(name).await,
        }
    }

    async fn txt(&self, name: &Domain) -> Result<Vec<Vec<u8>>, Error> {
        match self {
            Self::Hickory(resolver) => resolver.txt(name).await,
            Self::Fixed(resolver) => resolver.txt(name).await,
        }
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<Domain>, Error> {
        match self {
            Self::Hickory(resolver) => resolver.names(address).await,
            Self::Fixed(resolver) => resolver.names(address).await,
        }
    }
}
