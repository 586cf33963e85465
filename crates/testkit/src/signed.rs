//! A fake DNS server with signed zones below a signed root, for what validates DNSSEC.
//!
//! ```text
//! signed.test ZONE signed          plain.test ZONE unsigned
//! wrong.test  ZONE bogus           the root vouches for another key than the one that signed
//! old.test    ZONE expired         the signatures have run out
//! signed.test MX 10 mx.signed.test and so on, as in [`crate::dns`]: a record goes to the zone that it lies in
//! ```
//!
//! It is authoritative for all of them and follows no alias into another zone. What lies in no zone is the root's.
//!
//! Records that are forged may have a TTL, and the signature of a zone or of its wildcard:
//!
//! ```text
//! signed.test 3600 SOA -
//! b.signed.test CNAME mx.signed.test @*.signed.test
//! a.signed.test NSEC z.signed.test @signed.test
//! hash.signed.test NSEC3 150 @signed.test          the number of iterations
//! . CODE NXDOMAIN                                  not a record: how the answer ends
//! plain.test QUESTION MX                           and which question it repeats: over TCP, where nobody compares
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_server::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, NSEC3, RRSIG, SigInput};
use hickory_server::proto::dnssec::{
    Algorithm, DigestType, DnssecSigner, Nsec3HashAlgorithm, SigningKey, TBS,
};
use hickory_server::proto::op::{Metadata, Query, ResponseCode};
use hickory_server::proto::rr::rdata::{NS, SOA};
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordType, SerialNumber};
use hickory_server::proto::serialize::binary::{BinDecoder, BinEncodable};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{
    AxfrPolicy, Catalog, MessageResponseBuilder, Queries, ZoneType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::dns::{absolute, bind_both, not_sent, record};

type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

/// A running server; it stops when dropped.
pub struct SignedDns {
    address: SocketAddr,
    anchor: String,
    keys: BTreeMap<Name, Key>,
    forged: Forged,
    _server: Server<Zones>,
}

/// What is answered in place of what is in the zones.
type Forged = Arc<Mutex<BTreeMap<(Name, RecordType), Answer>>>;

#[derive(Clone, Default)]
struct Answer {
    code: ResponseCode,
    question: Option<Vec<u8>>,
    answer: Vec<Record>,
    authority: Vec<Record>,
}

/// A zone's key, as it is kept in files (PKCS #8).
struct Key(PrivatePkcs8KeyDer<'static>);

struct Zones {
    all: Catalog,
    /// Only the root: the parent is asked for DS.
    parent: Catalog,
    forged: Forged,
}

impl SignedDns {
    /// Starts a server with these zones and records.
    ///
    /// # Panics
    /// When a line is not understood, or no port is free for both UDP and TCP.
    pub async fn start(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<_> = lines.map(|line| Line::parse(line).expect(line)).collect();
        let (mut all, mut parent) = (Catalog::new(), Catalog::new());
        let mut keys = BTreeMap::new();
        let mut root = zone(&Name::root());
        let kinds: BTreeMap<_, _> = lines.iter().filter_map(Line::zone).collect();
        for (origin, kind) in &kinds {
            let mut zone = zone(origin);
            fill(
                &mut zone,
                lines
                    .iter()
                    .filter(|line| line.zone_of(&kinds) == Some(*origin)),
            );
            let ns = zone_server();
            root.upsert_mut(Record::from_rdata((*origin).clone(), TTL, ns), 0);
            let key = match *kind {
                "unsigned" => None,
                "signed" => Some(Key::sign(&mut zone, origin, DAY)),
                // Valid for no longer than the second in which they are made.
                "expired" => Some(Key::sign(&mut zone, origin, Duration::ZERO)),
                "bogus" => {
                    Key::sign(&mut zone, origin, DAY);
                    Some(Key::sign(&mut self::zone(origin), origin, DAY))
                }
                kind => panic!("not a kind of zone: {kind}"),
            };
            if let Some(key) = key {
                let ds = digest(key.signer(origin, DAY).dnskey(), origin);
                keys.insert((*origin).clone(), key);
                let ds = RData::DNSSEC(DNSSECRData::DS(ds));
                root.upsert_mut(Record::from_rdata((*origin).clone(), TTL, ds), 0);
            }
            all.upsert((*origin).into(), vec![Arc::new(zone)]);
        }
        fill(
            &mut root,
            lines.iter().filter(|line| line.zone_of(&kinds).is_none()),
        );
        let key = Key::sign(&mut root, &Name::root(), DAY);
        let key = key.signer(&Name::root(), DAY).to_dnskey();
        let root = Arc::new(root);
        all.upsert(Name::root().into(), vec![root.clone()]);
        parent.upsert(Name::root().into(), vec![root]);
        if kinds.values().any(|kind| *kind == "expired") {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let forged = Forged::default();
        let zones = Zones {
            all,
            parent,
            forged: Arc::clone(&forged),
        };
        let (udp, tcp) = bind_both().await;
        let mut server = Server::new(zones);
        let address = udp.local_addr().expect("a bound socket has an address");
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 4096);
        Self {
            address,
            anchor: format!(". {TTL} IN DNSKEY {key}\n"),
            keys,
            forged,
            _server: server,
        }
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The root's key as a zone file has it: a file of trust anchors.
    pub fn anchor(&self) -> &str {
        &self.anchor
    }

    /// From now on, this question is answered by these records (`name KIND value`), and with these in the authority section;
    /// without signatures, but those that the lines ask for.
    ///
    /// # Panics
    /// When a line is not understood.
    pub fn forge(&self, name: &str, kind: &str, answer: &[&str], authority: &[&str]) {
        let mut forged = Answer::default();
        for line in answer {
            let line = Line::parse(line).expect(line);
            match line.kind {
                "CODE" => forged.code = code(line.value),
                "QUESTION" => {
                    let query = Query::query(line.name, kind_of(line.value));
                    forged.question = Some(query.to_bytes().expect("a question"));
                }
                _ => forged.answer.extend(self.forged(&line)),
            }
        }
        let authority = authority.iter().map(|line| Line::parse(line).expect(line));
        forged.authority = authority.flat_map(|line| self.forged(&line)).collect();
        self.answer(name, kind, forged);
    }

    /// From now on, this question is answered by SERVFAIL.
    pub fn fail(&self, name: &str, kind: &str) {
        let code = ResponseCode::ServFail;
        self.answer(
            name,
            kind,
            Answer {
                code,
                ..Answer::default()
            },
        );
    }

    /// From now on, all answers are what the zones say.
    pub fn relent(&self) {
        let mut forged = self.forged.lock().unwrap_or_else(PoisonError::into_inner);
        forged.clear();
    }

    /// The record, and its signature.
    fn forged(&self, line: &Line<'_>) -> Vec<Record> {
        let record = line.record().expect("a record");
        let signature = line.signer.map(|signer| {
            let name = absolute(signer.trim_start_matches("*.")).expect("a valid name");
            let labels = match signer.starts_with("*.") {
                true => name.num_labels(),
                false => record.name.num_labels(),
            };
            let zones = self.keys.iter().filter(|(zone, _)| zone.zone_of(&name));
            let zone = zones.max_by_key(|(zone, _)| zone.num_labels());
            let (zone, key) = zone.expect("a signed zone");
            let signer = key.signer(zone, DAY);
            signature(&record, labels, &signer)
        });
        std::iter::once(record).chain(signature).collect()
    }

    fn answer(&self, name: &str, kind: &str, answer: Answer) {
        let name = absolute(name).expect("a valid name");
        let mut forged = self.forged.lock().unwrap_or_else(PoisonError::into_inner);
        forged.insert((name, kind_of(kind)), answer);
    }
}

/// One line of the text.
struct Line<'a> {
    name: Name,
    ttl: u32,
    kind: &'a str,
    value: &'a str,
    signer: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let (mut kind, mut value) = rest.trim().split_once(' ')?;
        let ttl = kind.parse();
        if ttl.is_ok() {
            (kind, value) = value.trim().split_once(' ')?;
        }
        let signed = value.split_once(" @");
        Some(Self {
            name: absolute(name)?,
            ttl: ttl.unwrap_or(TTL),
            kind,
            value: signed.map_or(value, |(value, _)| value).trim(),
            signer: signed.map(|(_, signer)| signer),
        })
    }

    fn zone(&self) -> Option<(&Name, &'a str)> {
        (self.kind == "ZONE").then_some((&self.name, self.value))
    }

    /// The deepest zone that it lies in.
    fn zone_of<'z>(&self, zones: &BTreeMap<&'z Name, &str>) -> Option<&'z Name> {
        let above = zones.keys().filter(|zone| zone.zone_of(&self.name));
        above.max_by_key(|zone| zone.num_labels()).copied()
    }

    fn record(&self) -> Option<Record> {
        let types = [RecordType::A, RecordType::NSEC, RecordType::RRSIG];
        let data = match self.kind {
            "SOA" => start_of_zone(self.ttl),
            "NSEC" => {
                let nsec = NSEC::new(absolute(self.value)?, types);
                RData::DNSSEC(DNSSECRData::NSEC(nsec))
            }
            "NSEC3" => {
                let (iterations, next) = (self.value.parse().ok()?, vec![0xff; 20]);
                let hash = Nsec3HashAlgorithm::SHA1;
                let nsec3 = NSEC3::new(hash, false, iterations, Vec::new(), next, types);
                RData::DNSSEC(DNSSECRData::NSEC3(nsec3))
            }
            kind => record(kind, self.value)?,
        };
        Some(Record::from_rdata(self.name.clone(), self.ttl, data))
    }
}

#[async_trait]
impl RequestHandler for Zones {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut responder: R,
    ) -> ResponseInfo {
        let info = request.request_info().expect("one question");
        let kind = info.query.query_type();
        let asked = (Name::from(info.query.name()), kind);
        let forged = {
            let forged = self.forged.lock().unwrap_or_else(PoisonError::into_inner);
            forged.get(&asked).cloned()
        };
        let Some(forged) = forged else {
            let zones = match kind {
                RecordType::DS => &self.parent,
                _ => &self.all,
            };
            return zones.handle_request::<R, T>(request, responder).await;
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = forged.code;
        let question = forged.question.as_deref().map(|octets| {
            let question = Queries::read(&mut BinDecoder::new(octets), 1);
            question.expect("a question")
        });
        metadata.truncation = question.is_some() && request.protocol() == Protocol::Udp;
        let builder = match &question {
            Some(question) if !metadata.truncation => MessageResponseBuilder::new(question, None),
            _ => MessageResponseBuilder::from_message_request(request),
        };
        let response = builder.build(metadata, &forged.answer, &forged.authority, [], []);
        let sent = responder.send_response(response).await;
        sent.unwrap_or_else(|_| not_sent(metadata))
    }
}

fn zone(origin: &Name) -> Zone {
    let proofs = Some(NxProofKind::Nsec);
    let mut zone = Zone::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, proofs);
    for data in [start_of_zone(TTL), zone_server()] {
        zone.upsert_mut(Record::from_rdata(origin.clone(), TTL, data), 0);
    }
    zone
}

fn fill<'a>(zone: &mut Zone, lines: impl Iterator<Item = &'a Line<'a>>) {
    for line in lines.filter(|line| line.kind != "ZONE") {
        let record = line.record().expect("a record");
        zone.upsert_mut(record, 0);
    }
}

impl Key {
    fn sign(zone: &mut Zone, origin: &Name, valid: Duration) -> Self {
        let key = Self(Ed25519SigningKey::generate_pkcs8().expect("randomness"));
        let signer = key.signer(origin, valid);
        zone.add_zone_signing_key_mut(signer).expect("a key");
        zone.secure_zone_mut().expect("a zone with a key");
        key
    }

    fn signer(&self, origin: &Name, valid: Duration) -> DnssecSigner {
        let key = Ed25519SigningKey::from_pkcs8(&self.0).expect("a key");
        let public = DNSKEY::from_key(&key.to_public_key().expect("a key has a public one"));
        DnssecSigner::new(public, Box::new(key), origin.clone(), valid)
    }
}

/// As the signature of a name with so many labels, which is a wildcard's if the record has more.
fn signature(record: &Record, labels: u8, signer: &DnssecSigner) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = u32::try_from(now.expect("after 1970").as_secs()).expect("before 2106");
    let input = SigInput {
        type_covered: record.record_type(),
        algorithm: Algorithm::ED25519,
        num_labels: labels,
        original_ttl: record.ttl,
        sig_expiration: SerialNumber::new(now + 3600),
        sig_inception: SerialNumber::new(now - 3600),
        key_tag: signer.calculate_key_tag().expect("a key"),
        signer_name: signer.signer_name().clone(),
    };
    let records = std::iter::once(record);
    let signed = TBS::from_input(&record.name, DNSClass::IN, &input, records);
    let signed = signer
        .sign(&signed.expect("a record"))
        .expect("a signature");
    let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signed)));
    Record::from_rdata(record.name.clone(), record.ttl, data)
}

fn digest(key: &DNSKEY, origin: &Name) -> DS {
    let digest = key.to_digest(origin, DigestType::SHA256);
    let digest = digest.expect("SHA-256").as_ref().to_vec();
    let tag = key.calculate_key_tag().expect("a key");
    DS::new(tag, Algorithm::ED25519, DigestType::SHA256, digest)
}

fn zone_server() -> RData {
    RData::NS(NS(absolute("ns.test").expect("a valid name")))
}

fn kind_of(kind: &str) -> RecordType {
    RecordType::from_str(kind).expect("a known record type")
}

fn code(code: &str) -> ResponseCode {
    match code {
        "NXDOMAIN" => ResponseCode::NXDomain,
        code => panic!("not a code that is used here: {code}"),
    }
}

fn start_of_zone(ttl: u32) -> RData {
    let name = |text| absolute(text).expect("a valid name");
    RData::SOA(SOA::new(
        name("ns.test"),
        name("root.test"),
        1,
        3600,
        600,
        86400,
        ttl,
    ))
}

/// One second: a test that changes answers must not meet a long-lived cache.
const TTL: u32 = 1;
const DAY: Duration = Duration::from_secs(86_400);
