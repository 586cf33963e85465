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

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_server::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_server::proto::dnssec::{Algorithm, DigestType, DnssecSigner, SigningKey};
use hickory_server::proto::op::{Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{NS, SOA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};

use crate::dns::{absolute, bind_both, not_sent, record};

type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

/// A running server; it stops when dropped.
pub struct SignedDns {
    address: SocketAddr,
    anchor: String,
    forged: Forged,
    _server: Server<Zones>,
}

/// What is answered in place of what is in the zones, without signatures: answer and authority sections.
type Forged = Arc<Mutex<BTreeMap<(Name, RecordType), Answer>>>;

#[derive(Clone)]
enum Answer {
    Code(ResponseCode),
    Sections(Vec<Record>, Vec<Record>),
}

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
                "signed" => Some(sign(&mut zone, origin, DAY)),
                // Valid for no longer than the second in which they are made.
                "expired" => Some(sign(&mut zone, origin, Duration::ZERO)),
                "bogus" => {
                    sign(&mut zone, origin, DAY);
                    Some(sign(&mut self::zone(origin), origin, DAY))
                }
                kind => panic!("not a kind of zone: {kind}"),
            };
            if let Some(key) = key {
                let ds = RData::DNSSEC(DNSSECRData::DS(digest(&key, origin)));
                root.upsert_mut(Record::from_rdata((*origin).clone(), TTL, ds), 0);
            }
            all.upsert((*origin).into(), vec![Arc::new(zone)]);
        }
        fill(
            &mut root,
            lines.iter().filter(|line| line.zone_of(&kinds).is_none()),
        );
        let key = sign(&mut root, &Name::root(), DAY);
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

    /// From now on, this question is answered without any signature: by these records (`name KIND value`), and with these in
    /// the authority section.
    ///
    /// # Panics
    /// When a record is not understood.
    pub fn forge(&self, name: &str, kind: &str, answer: &[&str], authority: &[&str]) {
        let records = |lines: &[&str]| {
            let lines = lines.iter().map(|line| Line::parse(line).expect(line));
            lines.map(|line| line.record().expect("a record")).collect()
        };
        self.answer(
            name,
            kind,
            Answer::Sections(records(answer), records(authority)),
        );
    }

    /// From now on, this question is answered by SERVFAIL.
    pub fn fail(&self, name: &str, kind: &str) {
        self.answer(name, kind, Answer::Code(ResponseCode::ServFail));
    }

    fn answer(&self, name: &str, kind: &str, answer: Answer) {
        let kind = RecordType::from_str(kind).expect("a known record type");
        let name = absolute(name).expect("a valid name");
        let mut forged = self.forged.lock().unwrap_or_else(PoisonError::into_inner);
        forged.insert((name, kind), answer);
    }
}

/// One line of the text.
struct Line<'a> {
    name: Name,
    kind: &'a str,
    value: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let (kind, value) = rest.trim().split_once(' ')?;
        Some(Self {
            name: absolute(name)?,
            kind,
            value: value.trim(),
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
        let data = match self.kind {
            "SOA" => start_of_zone(),
            kind => record(kind, self.value)?,
        };
        Some(Record::from_rdata(self.name.clone(), TTL, data))
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
        let builder = MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let sent = match forged {
            None if kind == RecordType::DS => {
                return self.parent.handle_request::<R, T>(request, responder).await;
            }
            None => return self.all.handle_request::<R, T>(request, responder).await,
            Some(Answer::Code(code)) => {
                metadata.response_code = code;
                responder
                    .send_response(builder.build_no_records(metadata))
                    .await
            }
            Some(Answer::Sections(answer, authority)) => {
                let response = builder.build(metadata, &answer, &authority, [], []);
                responder.send_response(response).await
            }
        };
        sent.unwrap_or_else(|_| not_sent(metadata))
    }
}

fn zone(origin: &Name) -> Zone {
    let proofs = Some(NxProofKind::Nsec);
    let mut zone = Zone::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, proofs);
    for data in [start_of_zone(), zone_server()] {
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

fn sign(zone: &mut Zone, origin: &Name, valid: Duration) -> DNSKEY {
    let pkcs8 = Ed25519SigningKey::generate_pkcs8().expect("randomness");
    let key = Ed25519SigningKey::from_pkcs8(&pkcs8).expect("a key just made");
    let public = DNSKEY::from_key(&key.to_public_key().expect("a key has a public one"));
    let signer = DnssecSigner::new(public.clone(), Box::new(key), origin.clone(), valid);
    zone.add_zone_signing_key_mut(signer).expect("a key");
    zone.secure_zone_mut().expect("a zone with a key");
    public
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

fn start_of_zone() -> RData {
    let name = |text| absolute(text).expect("a valid name");
    RData::SOA(SOA::new(
        name("ns.test"),
        name("root.test"),
        1,
        3600,
        600,
        86400,
        TTL,
    ))
}

/// One second: a test that changes answers must not meet a long-lived cache.
const TTL: u32 = 1;
const DAY: Duration = Duration::from_secs(86_400);
