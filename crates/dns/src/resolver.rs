//! The trait behind which a resolver stands, its answers and its three ways to fail.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use envelope::Domain;

use crate::{Fixed, Hickory, Proof};

/// What mail asks of DNS.
///
/// A name to ask for is text without a final dot, its labels between dots. A label may hold any octets: a selector of DKIM, or
/// the local part that a macro of SPF puts in, need not be a host name. What fits in no question (an empty label, one over 63
/// octets, over 255 in all) does not exist.
pub trait Resolver: Send + Sync + 'static {
    /// The MX records (RFC 5321 §5.1), in no particular order. `Err(NullMx)` when the domain takes no mail at all
    /// (RFC 7505), `Err(NoRecords)` when it has none and the implicit MX is to be tried.
    fn mx(&self, name: &str) -> impl Future<Output = Result<Answer<Mx>, Error>> + Send;

    /// The A records, in the order of the answer.
    fn ipv4(&self, name: &str) -> impl Future<Output = Result<Vec<Ipv4Addr>, Error>> + Send;

    /// The AAAA records, in the order of the answer.
    fn ipv6(&self, name: &str) -> impl Future<Output = Result<Vec<Ipv6Addr>, Error>> + Send;

    /// All addresses, AAAA before A. One family is enough: a failure of the other counts only when there is nothing else.
    fn addresses(&self, name: &str) -> impl Future<Output = Result<Answer<IpAddr>, Error>> + Send {
        async {
            let (v6, v4) = tokio::join!(self.ipv6(name), self.ipv4(name));
            both_families(v6.map(Answer::from), v4.map(Answer::from))
        }
    }

    /// Whether a name has this address. Only the address's own family is asked for: trouble with the other says nothing.
    fn leads_to(
        &self,
        name: &str,
        address: IpAddr,
    ) -> impl Future<Output = Result<bool, Error>> + Send {
        async move {
            Ok(match address {
                IpAddr::V4(v4) => self.ipv4(name).await?.contains(&v4),
                IpAddr::V6(v6) => self.ipv6(name).await?.contains(&v6),
            })
        }
    }

    /// The TXT records: one entry a record, its character-strings joined without a gap (RFC 7208 §3.3). Any octets.
    fn txt(&self, name: &str) -> impl Future<Output = Result<Vec<Vec<u8>>, Error>> + Send;

    /// The names that the address points to (PTR).
    fn names(&self, address: IpAddr) -> impl Future<Output = Result<Vec<Domain>, Error>> + Send;

    /// The TLSA records (RFC 6698). They mean something only where DNSSEC proves them. A resolver that is no real one need not
    /// know of them.
    fn tlsa(&self, _name: &str) -> impl Future<Output = Result<Answer<Tlsa>, Error>> + Send {
        async { Err(Error::NoRecords) }
    }

    /// Whether the servers pass on what validation needs; none where nothing is validated.
    fn validation(&self) -> impl Future<Output = Option<Result<(), Error>>> + Send {
        async { None }
    }
}

/// Records, and what DNSSEC proves of them. A resolver that does not validate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// Never empty.
    pub records: Vec<T>,
    /// What is proven.
    pub proof: Proof,
}

impl<T> Answer<T> {
    /// The same, of other records; may leave none.
    pub(crate) fn filter_map<U>(self, record: impl Fn(T) -> Option<U>) -> Answer<U> {
        Answer {
            records: self.records.into_iter().filter_map(record).collect(),
            proof: self.proof,
        }
    }
}

impl<T> From<Vec<T>> for Answer<T> {
    fn from(records: Vec<T>) -> Self {
        let proof = Proof::default();
        Self { records, proof }
    }
}

/// One MX record that names a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mx {
    /// Lower is better.
    pub preference: u16,
    /// The host that takes the mail.
    pub exchange: Domain,
}

/// One TLSA record (RFC 6698 §2.1): which certificates a server may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlsa {
    /// 2: the issuer's certificate, 3: the server's own; others do not count for mail (RFC 7672 §3.1).
    pub usage: u8,
    /// 0: the whole certificate, 1: its public key.
    pub selector: u8,
    /// 0: the octets themselves, 1: their SHA-256, 2: their SHA-512.
    pub matching: u8,
    /// These.
    pub data: Vec<u8>,
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

macro_rules! ask {
    ($self:ident.$what:ident($($of:expr)?)) => {
        match $self {
            Self::Hickory(resolver) => resolver.$what($($of)?).await,
            Self::Fixed(resolver) => resolver.$what($($of)?).await,
        }
    };
}

impl Resolver for Backend {
    async fn mx(&self, name: &str) -> Result<Answer<Mx>, Error> {
        ask!(self.mx(name))
    }

    async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, Error> {
        ask!(self.ipv4(name))
    }

    async fn ipv6(&self, name: &str) -> Result<Vec<Ipv6Addr>, Error> {
        ask!(self.ipv6(name))
    }

    async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Error> {
        ask!(self.txt(name))
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<Domain>, Error> {
        ask!(self.names(address))
    }

    async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, Error> {
        ask!(self.addresses(name))
    }

    async fn tlsa(&self, name: &str) -> Result<Answer<Tlsa>, Error> {
        ask!(self.tlsa(name))
    }

    async fn validation(&self) -> Option<Result<(), Error>> {
        ask!(self.validation())
    }
}

/// Proven as far as each family that has any is.
pub(crate) fn both_families(
    v6: Result<Answer<Ipv6Addr>, Error>,
    v4: Result<Answer<Ipv4Addr>, Error>,
) -> Result<Answer<IpAddr>, Error> {
    match (v6, v4) {
        (Ok(v6), Ok(v4)) => {
            let v6_first = v6.records.into_iter().map(IpAddr::V6);
            let records = v6_first.chain(v4.records.into_iter().map(IpAddr::V4));
            let proof = Proof {
                is_secure: v6.proof.is_secure && v4.proof.is_secure,
                is_name_secure: v6.proof.is_name_secure && v4.proof.is_name_secure,
                canonical: v4.proof.canonical,
            };
            let records = records.collect();
            Ok(Answer { records, proof })
        }
        (Ok(v6), Err(_)) => Ok(v6.filter_map(|a| Some(IpAddr::V6(a)))),
        (Err(_), Ok(v4)) => Ok(v4.filter_map(|a| Some(IpAddr::V4(a)))),
        (Err(trouble @ Error::Trouble(_)), Err(_)) => Err(trouble),
        (Err(_), Err(error)) => Err(error),
    }
}
