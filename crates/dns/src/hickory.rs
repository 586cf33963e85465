//! The real DNS: a stub resolver on hickory, and a memory of what it found out, by TTL.
//!
//! UDP first, TCP when an answer is truncated. Names that RFC 6761 reserves (`localhost`, `invalid`, the reverse names of
//! loopback) are answered by hickory itself and reach no server.
//!
//! With [`Settings::dnssec`], the answers that come with a proof are validated here, from the root down, whatever the servers say of
//! them: those must pass DNSSEC records on. All other questions are asked without it, since each costs several more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::Domain;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::{MX, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use moka::sync::Cache;

use crate::proof::{self, Proof};
use crate::resolver::both_families;
use crate::settings::{Settings, SetupError, anchors, resolver};
use crate::{Answer, Error, Mx, Resolver, Tlsa};

/// A resolver that asks DNS servers. Clones share the memory.
#[derive(Debug, Clone)]
pub struct Hickory {
    resolver: Arc<TokioResolver>,
    /// Validates.
    validating: Option<Arc<TokioResolver>>,
    /// Hickory's own cache keeps whole messages, as large as they are, and copies one for each question; and it keeps no failures:
    /// a domain with broken DNS and a long queue must not cost a timeout for each message.
    known: Cache<Asked, Known>,
    failures_kept: Duration,
}

/// A question: the name, the kind, and whether with proof.
type Asked = (Box<str>, RecordType, bool);

/// What was found out, and until when that holds.
#[derive(Debug, Clone)]
struct Known {
    answer: Result<(Arc<[RData]>, Proof), Error>,
    until: Instant,
}

impl Hickory {
    /// A resolver on the servers of `settings`. Reads the system's configuration when there are none.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let weigh = |(name, ..): &Asked, known: &Known| known.octets(name);
        let known = Cache::builder().weigher(weigh);
        let validating = match settings.dnssec {
            true => Some(resolver(settings, Some(anchors(settings)?))?),
            false => None,
        };
        Ok(Self {
            resolver: resolver(settings, None)?,
            validating,
            known: known.max_capacity(KNOWN_OCTETS_MAX).build(),
            failures_kept: settings.failures_kept,
        })
    }

    /// One type of record of a name. What `pick` leaves out is of no use, as a PTR that names no possible host.
    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let (records, _) = self.known(name, kind, None).await?;
        some(records.iter().filter_map(pick).collect())
    }

    /// The same with its proof, where that is wanted.
    async fn proven<T>(
        &self,
        name: &str,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, Error> {
        let validating = self.validating.as_ref();
        let (records, proof) = self.known(name, kind, validating).await?;
        let records = some(records.iter().filter_map(pick).collect())?;
        Ok(Answer { records, proof })
    }

    async fn known(
        &self,
        name: &str,
        kind: RecordType,
        validating: Option<&Arc<TokioResolver>>,
    ) -> Result<(Arc<[RData]>, Proof), Error> {
        let asked = (Box::from(name), kind, validating.is_some());
        let kept = self.known.get(&asked);
        let known = match kept.filter(|known| known.until > Instant::now()) {
            Some(known) => known,
            None => {
                // Boxed: hickory's futures are large, and whatever waits for them may have to move on a thread's stack.
                let known = Box::pin(self.find_out(wire_name(name)?, kind, validating)).await;
                self.known.insert(asked, known.clone());
                known
            }
        };
        known.answer
    }

    async fn find_out(
        &self,
        name: Name,
        kind: RecordType,
        validating: Option<&Arc<TokioResolver>>,
    ) -> Known {
        let resolver = validating.unwrap_or(&self.resolver);
        let found = resolver.lookup(name.clone(), kind).await;
        let proof = match validating {
            Some(resolver) => proof::of(resolver, (&name, kind), &found).await,
            None => Ok(Proof::default()),
        };
        let kept = match &found {
            Ok(lookup) => lookup.valid_until(),
            Err(error) => Instant::now() + self.absence_kept(error),
        };
        let answer = proof.and_then(|proof| {
            let lookup = found.map_err(without_answer)?;
            let records = lookup.answers().iter().map(|record| &record.data);
            Ok((of_kind(kind, records), proof))
        });
        let until = match &answer {
            // What is not believed does not say for how long.
            Err(Error::Trouble(_)) => Instant::now() + self.failures_kept,
            _ => kept,
        };
        Known { answer, until }
    }

    fn absence_kept(&self, error: &NetError) -> Duration {
        let NetError::Dns(DnsError::NoRecordsFound(none)) = error else {
            return self.failures_kept;
        };
        let of_zone = |soa: &Record<SOA>| soa.ttl.min(soa.data.minimum);
        // Where hickory validates, it takes the TTL away.
        let ttl = none
            .negative_ttl
            .or_else(|| none.soa.as_deref().map(of_zone));
        Duration::from_secs(ttl.unwrap_or(0).into()).min(NEGATIVE_KEPT_MAX)
    }
}

/// What was asked for. Whatever else a server puts beside it is not kept: it would not be counted either.
fn of_kind<'a>(kind: RecordType, records: impl Iterator<Item = &'a RData>) -> Arc<[RData]> {
    let asked = records.filter(|data| data.record_type() == kind);
    asked.cloned().collect()
}

impl Known {
    /// About what it takes to keep.
    fn octets(&self, name: &str) -> u32 {
        let of_record = |data: &RData| match data {
            RData::TXT(txt) => txt.txt_data.iter().map(|text| text.len()).sum(),
            RData::TLSA(tlsa) => tlsa.cert_data.len(),
            _ => 0,
        };
        let records: usize = match &self.answer {
            Ok((records, _)) => records
                .iter()
                .map(|data| RECORD_OCTETS + of_record(data))
                .sum(),
            Err(Error::Trouble(reason)) => reason.len(),
            Err(_) => 0,
        };
        u32::try_from(ENTRY_OCTETS + name.len() + records).unwrap_or(u32::MAX)
    }
}

impl Resolver for Hickory {
    async fn mx(&self, name: &str) -> Result<Answer<Mx>, Error> {
        let exchange = |data: &RData| match data {
            RData::MX(mx) => Some(mx.clone()),
            _ => None,
        };
        let answer = self.proven(name, RecordType::MX, exchange).await?;
        exchanges(answer)
    }

    async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, Error> {
        self.records(name, RecordType::A, ipv4_of).await
    }

    async fn ipv6(&self, name: &str) -> Result<Vec<Ipv6Addr>, Error> {
        self.records(name, RecordType::AAAA, ipv6_of).await
    }

    async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, Error> {
        let (v6, v4) = tokio::join!(
            self.proven(name, RecordType::AAAA, ipv6_of),
            self.proven(name, RecordType::A, ipv4_of)
        );
        both_families(v6, v4)
    }

    async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Error> {
        let text = |data: &RData| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        };
        self.records(name, RecordType::TXT, text).await
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<Domain>, Error> {
        let host = |data: &RData| match data {
            RData::PTR(ptr) => host_name(&ptr.0),
            _ => None,
        };
        let name = Name::from(address).to_ascii();
        let name = name.trim_end_matches('.');
        self.records(name, RecordType::PTR, host).await
    }

    async fn tlsa(&self, name: &str) -> Result<Answer<Tlsa>, Error> {
        let association = |data: &RData| match data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        };
        self.proven(name, RecordType::TLSA, association).await
    }

    async fn validation(&self) -> Option<Result<(), Error>> {
        let validating = self.validating.as_ref()?;
        let root = self.find_out(Name::root(), RecordType::NS, Some(validating));
        Some(root.await.answer.and_then(|(_, proof)| {
            let unsigned = || Error::Trouble("the root has no signatures".to_owned());
            proof.is_secure.then_some(()).ok_or_else(unsigned)
        }))
    }
}

fn ipv4_of(data: &RData) -> Option<Ipv4Addr> {
    match data {
        RData::A(a) => Some(a.0),
        _ => None,
    }
}

fn ipv6_of(data: &RData) -> Option<Ipv6Addr> {
    match data {
        RData::AAAA(aaaa) => Some(aaaa.0),
        _ => None,
    }
}

/// The hosts of an MX answer. Records that name no possible host are skipped; if no other is left, that is trouble,
/// since the owner may repair it.
fn exchanges(answer: Answer<MX>) -> Result<Answer<Mx>, Error> {
    // RFC 7505 §3: a null MX stands alone; beside others it means nothing and falls to the rule below.
    if answer.records.iter().all(|mx| mx.exchange.is_root()) {
        return Err(Error::NullMx);
    }
    let host = |mx: MX| {
        Some(Mx {
            preference: mx.preference,
            exchange: host_name(&mx.exchange)?,
        })
    };
    let hosts = answer.filter_map(host);
    if hosts.records.is_empty() {
        return Err(Error::Trouble(
            "its MX records name no possible host".to_owned(),
        ));
    }
    Ok(hosts)
}

/// A name as a question holds it, every octet as it is: what has no wire form does not exist.
fn wire_name(name: &str) -> Result<Name, Error> {
    let labels = name.split('.').map(str::as_bytes);
    Name::from_labels(labels).map_err(|_| Error::NoSuchDomain)
}

/// A name from the wire as a domain, if it can be one.
pub(crate) fn host_name(name: &Name) -> Option<Domain> {
    name.to_ascii().trim_end_matches('.').parse().ok()
}

fn without_answer(error: NetError) -> Error {
    if error.is_nx_domain() {
        return Error::NoSuchDomain;
    }
    match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => Error::NoRecords,
        NetError::Dns(DnsError::Nsec { response, .. }) => match response.response_code {
            ResponseCode::NXDomain => Error::NoSuchDomain,
            _ => Error::NoRecords,
        },
        error => Error::Trouble(error.to_string()),
    }
}

fn some<T>(records: Vec<T>) -> Result<Vec<T>, Error> {
    (!records.is_empty())
        .then_some(records)
        .ok_or(Error::NoRecords)
}

/// Room for a hundred thousand answers, or for a thousand of the largest there are.
const KNOWN_OCTETS_MAX: u64 = 64 << 20;
/// An answer in memory, and each of its records, besides names and texts.
const ENTRY_OCTETS: usize = 300;
const RECORD_OCTETS: usize = 200;
/// What does not exist may soon (RFC 2308 §5: one to three hours).
const NEGATIVE_KEPT_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::rdata::{NULL, TXT};

    /// What fills the memory is what counts, not how many answers it is.
    #[test]
    fn large_answers_take_their_room() {
        let text = vec!["x".repeat(250); 240];
        let large = Known {
            answer: Ok((Arc::from([RData::TXT(TXT::new(text))]), Proof::default())),
            until: Instant::now(),
        };
        let none = Known {
            answer: Err(Error::NoRecords),
            until: large.until,
        };
        assert!((60_000..61_000).contains(&large.octets("large.test")));
        assert!((250..400).contains(&none.octets("none.test")));
    }

    #[test]
    fn only_what_was_asked_for_is_kept() {
        let text = RData::TXT(TXT::new(vec!["v=spf1 -all".to_owned()]));
        let large = RData::NULL(NULL::with(vec![0; 60_000]));
        let kept = of_kind(RecordType::TXT, [&large, &text, &large].into_iter());
        assert_eq!(*kept, [text]);
    }
}
