//! What a validated answer proves. Hickory checks each set of records; here is checked that they belong together, and to the question.

use envelope::Domain;
use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::Proof as OfRecord;
use hickory_resolver::proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::domain::usage::{INVALID, ONION};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use crate::Error;

/// What is proven of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// The records are the owner's: these, and every alias (CNAME) on the way to them.
    pub is_secure: bool,
    /// The name asked for is in a signed zone, wherever its alias leads.
    pub is_name_secure: bool,
    /// The name that has the records, when the one asked for is an alias.
    pub canonical: Option<Domain>,
}

/// Of what hickory found. Who sits between us and the servers may have put together what does not belong together, each part with a
/// good signature: that is trouble, not an unsigned answer, and not "there is none".
pub(crate) async fn of(
    resolver: &TokioResolver,
    (asked, kind): (&Name, RecordType),
    found: &Result<Lookup, NetError>,
) -> Result<Proof, Error> {
    let (owner, proof) = match found {
        Ok(lookup) => of_answer(asked, kind, lookup)?,
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) if is_believed(none) => {
            (&none.query.name, Proof::default())
        }
        // RFC 9276 §3.2: a zone whose proofs of absence are too dear to check counts as unsigned.
        Err(NetError::Dns(DnsError::Nsec {
            query,
            response,
            proof: OfRecord::Insecure,
            ..
        })) if is_denied(&query.name, &response.authorities) => (&query.name, Proof::default()),
        Err(NetError::Dns(DnsError::NoRecordsFound(_) | DnsError::Nsec { .. })) => {
            return Err(not_proven("nothing shows that there is no such record"));
        }
        Err(_) => return Ok(Proof::default()),
    };
    follow(resolver, asked, owner).await?;
    Ok(proof)
}

/// Whether each alias on the way is there when it is asked for by itself. Of those that came with the answer, the last one alone has
/// been checked; and over TCP, hickory takes the answer to another question.
async fn follow(resolver: &TokioResolver, asked: &Name, owner: &Name) -> Result<(), Error> {
    let mut name = asked.clone();
    for _ in 0..=ALIASES_MAX {
        if name == *owner {
            return Ok(());
        }
        let Ok(lookup) = resolver.lookup(name.clone(), RecordType::CNAME).await else {
            break;
        };
        check_wildcards(&lookup)?;
        match alias(&name, lookup.answers()) {
            // Whatever follows is worth no more.
            Some((_, OfRecord::Insecure)) => return Ok(()),
            Some((target, OfRecord::Secure)) => name = target.clone(),
            _ => break,
        }
    }
    Err(not_proven("an alias is not there"))
}

/// Follows the aliases from the name asked to the records, and to the name that has them.
fn of_answer<'a>(
    asked: &'a Name,
    kind: RecordType,
    lookup: &'a Lookup,
) -> Result<(&'a Name, Proof), Error> {
    check_wildcards(lookup)?;
    let records = lookup.answers();
    let (mut owner, mut links) = (asked, Vec::new());
    while let Some((target, proof)) = alias(owner, records).filter(|_| links.len() < ALIASES_MAX) {
        links.push(proof);
        owner = target;
    }
    for record in records.iter().filter(|r| r.record_type() == kind) {
        if record.name != *owner {
            return Err(not_proven("a record of another name"));
        }
        links.push(record.proof);
    }
    if links.contains(&OfRecord::Bogus) {
        return Err(not_proven("a signature is wrong"));
    }
    let proof = Proof {
        is_secure: links.iter().all(OfRecord::is_secure),
        is_name_secure: links.first().is_some_and(OfRecord::is_secure),
        canonical: (owner != asked)
            .then(|| crate::hickory::host_name(owner))
            .flatten(),
    };
    Ok((owner, proof))
}

fn alias<'a>(owner: &Name, records: &'a [Record]) -> Option<(&'a Name, OfRecord)> {
    records.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *owner => Some((&target.0, record.proof)),
        _ => None,
    })
}

/// Whether "there is none" is shown. Hickory checks it where the zone is signed, but takes any zone's proof; and an answer whose
/// authority section is all of unsigned zones passes with it, whatever these zones have to do with the question.
fn is_believed(none: &NoRecords) -> bool {
    let name = &none.query.name;
    let Some(authorities) = &none.authorities else {
        // Hickory's own answer for names that RFC 6761 reserves.
        let is_reserved = INVALID.zone_of(name) || ONION.zone_of(name);
        return is_reserved && none.response_code == ResponseCode::NXDomain;
    };
    let is_of_zone = |record: &Record| {
        let kind = record.record_type();
        matches!(kind, RecordType::SOA | RecordType::NS) && record.name.zone_of(name)
    };
    let is_unsigned = |record| is_of_zone(record) && is_ours(name, authorities);
    is_denied(name, authorities) || authorities.iter().any(is_unsigned)
}

/// Whether it is proven that nothing has this name, by zones that it is in.
fn is_denied(name: &Name, authorities: &[Record]) -> bool {
    let is_proof = |record: &Record| record.proof.is_secure() && denier(record).is_some();
    is_ours(name, authorities) && authorities.iter().any(is_proof)
}

/// Whether no other zone has signed that something does not exist.
fn is_ours(name: &Name, authorities: &[Record]) -> bool {
    let mut deniers = authorities.iter().filter_map(denier);
    deniers.all(|zone| zone.zone_of(name))
}

fn denier(record: &Record) -> Option<&Name> {
    let input = signature(record)?.input();
    let is_denial = matches!(input.type_covered, RecordType::NSEC | RecordType::NSEC3);
    is_denial.then_some(&input.signer_name)
}

fn signature(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature),
        _ => None,
    }
}

/// RFC 4035 §5.3.4: a wildcard's record counts where nothing nearer exists. Hickory lets that pass with any zone's proof, and with none
/// where the authority section is of unsigned zones.
fn check_wildcards(lookup: &Lookup) -> Result<(), Error> {
    let is_replayed = |record: &Record| {
        let labels = signature(record).map(|signature| signature.input().num_labels);
        let is_wild = labels.is_some_and(|labels| labels < record.name.num_labels());
        is_wild && record.proof.is_secure() && !is_denied(&record.name, lookup.authorities())
    };
    match lookup.answers().iter().any(is_replayed) {
        true => Err(not_proven("nothing shows that a wildcard counts")),
        false => Ok(()),
    }
}

fn not_proven(why: &str) -> Error {
    Error::Trouble(format!("DNSSEC validation failed: {why}"))
}

/// Aliases that are followed, as hickory does.
const ALIASES_MAX: usize = 8;
