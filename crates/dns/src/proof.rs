//! What a validated answer proves. Hickory checks each set of records; here is checked that they belong together, and to the question.

use envelope::Domain;
use hickory_resolver::net::NoRecords;
use hickory_resolver::proto::dnssec::Proof as OfRecord;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use crate::Error;

/// See [`crate::Answer`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) is_secure: bool,
    pub(crate) is_name_secure: bool,
    pub(crate) canonical: Option<Domain>,
}

/// Follows the aliases from the name asked to the records. Who sits between us and the servers may have put in others, with good
/// signatures of their own: such an answer is trouble, not an unsigned one.
pub(crate) fn of_answer(
    asked: &Name,
    kind: RecordType,
    records: &[Record],
) -> Result<Proof, Error> {
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
    Ok(Proof {
        is_secure: links.iter().all(OfRecord::is_secure),
        is_name_secure: links.first().is_some_and(OfRecord::is_secure),
        canonical: (owner != asked)
            .then(|| crate::hickory::host_name(owner))
            .flatten(),
    })
}

fn alias<'a>(owner: &Name, records: &'a [Record]) -> Option<(&'a Name, OfRecord)> {
    records.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *owner => Some((&target.0, record.proof)),
        _ => None,
    })
}

/// Why "there is none" is not to be believed. Hickory checks it where the zone is signed; but an answer whose authority section is
/// all of unsigned zones passes with it, whatever these zones have to do with the question.
pub(crate) fn doubt(kind: RecordType, none: &NoRecords) -> Option<Error> {
    let is_about = |record: &Record| {
        let is_of_zone = matches!(record.record_type(), RecordType::SOA | RecordType::NS);
        record.proof.is_secure() || (is_of_zone && record.name.zone_of(&none.query.name))
    };
    let is_believed = match &none.authorities {
        Some(records) => records.iter().any(is_about),
        // Hickory's own answer for names that RFC 6761 reserves; from elsewhere it does no harm but where it means "no DANE".
        None => kind != RecordType::TLSA && none.response_code == ResponseCode::NXDomain,
    };
    (!is_believed).then(|| not_proven("nothing shows that there is no such record"))
}

fn not_proven(why: &str) -> Error {
    Error::Trouble(format!("DNSSEC validation failed: {why}"))
}

/// Aliases that are followed, as hickory does.
const ALIASES_MAX: usize = 8;
