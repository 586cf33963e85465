//! A fake DNS server: records from a compact text, answers over UDP and TCP on a free port of 127.0.0.1.
//!
//! ```text
//! example.test        MX    10 mx.example.test
//! mx.example.test     A     127.0.0.5
//! null.test           MX    0 .
//! www.example.test    CNAME mx.example.test
//! example.test        TXT   v=spf1 -all
//! 7.2.0.192.in-addr.arpa  PTR  mail.client.test
//! _25._tcp.mx.example.test  TLSA  3 1 1 0123abcd…
//! broken.test         SERVFAIL
//! silent.test         DROP
//! ```
//!
//! A name that is in the table, or above one that is, exists; any other is NXDOMAIN. `SERVFAIL` and `DROP` hold for the name and
//! all below it. Every question is counted. It does not sign, delegate or transfer zones.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

/// A running server; it stops when dropped.
pub struct Dns {
    address: SocketAddr,
    zones: Zones,
    _server: Server<Zones>,
}

/// The records and what was asked, shared with the server's tasks.
#[derive(Clone, Default)]
struct Zones(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    ttl: u32,
    records: BTreeMap<String, Vec<RData>>,
    servfail: BTreeSet<String>,
    drop: BTreeSet<String>,
    asked: BTreeMap<(String, RecordType), usize>,
}

enum Answer {
    Records(Vec<Record>),
    Code(ResponseCode),
    Silence,
}

impl Dns {
    /// Starts a server with these records.
    ///
    /// # Panics
    /// When a line is not understood, or no port is free for both UDP and TCP.
    pub async fn start(records: &str) -> Self {
        Self::serve(bind_both().await, TTL, records)
    }

    /// Starts a server on an address of one's own, whose answers may be kept for so many seconds.
    ///
    /// # Errors
    /// When the address cannot be bound.
    ///
    /// # Panics
    /// When a line is not understood.
    pub async fn start_at(address: SocketAddr, ttl: u32, records: &str) -> io::Result<Self> {
        let udp = UdpSocket::bind(address).await?;
        let tcp = TcpListener::bind(udp.local_addr()?).await?;
        Ok(Self::serve((udp, tcp), ttl, records))
    }

    fn serve((udp, tcp): (UdpSocket, TcpListener), ttl: u32, records: &str) -> Self {
        let zones = Zones::default();
        zones.with(|table| table.ttl = ttl);
        let mut server = Server::new(zones.clone());
        let address = udp.local_addr().expect("a bound socket has an address");
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 4096);
        let dns = Self {
            address,
            zones,
            _server: server,
        };
        dns.add(records);
        dns
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds records, in the format of this module's head.
    ///
    /// # Panics
    /// When a line is not understood.
    pub fn add(&self, records: &str) {
        self.zones.with(|table| {
            for line in records.lines().map(str::trim) {
                if !line.is_empty() && !line.starts_with('#') {
                    table
                        .add(line)
                        .unwrap_or_else(|| panic!("not a DNS record: {line:?}"));
                }
            }
        });
    }

    /// Forgets all records, SERVFAIL and DROP marks of a name (not those below it).
    pub fn remove(&self, name: &str) {
        let name = canonical(name);
        self.zones.with(|table| {
            table.records.remove(&name);
            table.servfail.remove(&name);
            table.drop.remove(&name);
        });
    }

    /// How often `name` was asked for with this type (`"MX"`, `"A"`, …).
    pub fn asked(&self, name: &str, kind: &str) -> usize {
        let kind = RecordType::from_str(kind).expect("a known record type");
        let key = (canonical(name), kind);
        self.zones
            .with(|table| table.asked.get(&key).copied().unwrap_or(0))
    }
}

impl Zones {
    fn with<T>(&self, f: impl FnOnce(&mut Table) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Table {
    fn add(&mut self, line: &str) -> Option<()> {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let name = canonical(name);
        let rest = rest.trim();
        let (kind, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let value = value.trim();
        let data = match kind {
            "SERVFAIL" => {
                self.servfail.insert(name);
                return Some(());
            }
            "DROP" => {
                self.drop.insert(name);
                return Some(());
            }
            _ => record(kind, value)?,
        };
        self.records.entry(name).or_default().push(data);
        Some(())
    }

    fn answer(&mut self, name: &str, kind: RecordType) -> Answer {
        *self.asked.entry((name.to_owned(), kind)).or_default() += 1;
        let marked = |set: &BTreeSet<String>| set.iter().any(|mark| is_within(name, mark));
        if marked(&self.drop) {
            return Answer::Silence;
        }
        if marked(&self.servfail) {
            return Answer::Code(ResponseCode::ServFail);
        }
        if !self.records.keys().any(|known| is_within(known, name)) {
            return Answer::Code(ResponseCode::NXDomain);
        }
        Answer::Records(self.follow(name, kind))
    }

    /// The records of a name, through its CNAMEs as a recursive server gives them.
    fn follow(&self, name: &str, kind: RecordType) -> Vec<Record> {
        let mut found = Vec::new();
        let mut owner = name.to_owned();
        for _ in 0..CNAMES_MAX {
            let Some(data) = self.records.get(&owner) else {
                break;
            };
            let mut next = None;
            for datum in data {
                let alias = match datum {
                    RData::CNAME(CNAME(target)) => Some(canonical(&target.to_ascii())),
                    _ => None,
                };
                if datum.record_type() == kind || alias.is_some() {
                    let owner = absolute(&owner).expect("names in the table are valid");
                    found.push(Record::from_rdata(owner, self.ttl, datum.clone()));
                }
                next = next.or(alias);
            }
            match next {
                Some(target) if kind != RecordType::CNAME => owner = target,
                _ => break,
            }
        }
        found
    }
}

#[async_trait]
impl RequestHandler for Zones {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut responder: R,
    ) -> ResponseInfo {
        let builder = MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let (answer, ttl) = match request.request_info() {
            Ok(info) => {
                let name = canonical(&info.query.name().to_string());
                self.with(|table| (table.answer(&name, info.query.query_type()), table.ttl))
            }
            Err(_) => (Answer::Code(ResponseCode::FormErr), TTL),
        };
        let (records, code) = match answer {
            Answer::Silence => return not_sent(metadata),
            Answer::Records(records) => (records, ResponseCode::NoError),
            Answer::Code(code) => (Vec::new(), code),
        };
        metadata.response_code = code;
        // A negative answer is one only with the SOA of its zone (RFC 2308 §2).
        let negative = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
        let soa = (negative && records.is_empty()).then(|| soa(ttl));
        let response = builder.build(metadata, &records, [], &soa, []);
        match responder.send_response(response).await {
            Ok(info) => info,
            Err(_) => not_sent(metadata),
        }
    }
}

/// The data of a record from the words behind its name.
pub(crate) fn record(kind: &str, value: &str) -> Option<RData> {
    Some(match kind {
        "A" => RData::A(A(value.parse().ok()?)),
        "AAAA" => RData::AAAA(AAAA(value.parse().ok()?)),
        "CNAME" => RData::CNAME(CNAME(absolute(value)?)),
        "PTR" => RData::PTR(PTR(absolute(value)?)),
        "TXT" => RData::TXT(TXT::from_bytes(
            value.as_bytes().chunks(TXT_STRING_OCTETS).collect(),
        )),
        "MX" => {
            let (preference, exchange) = value.split_once(' ')?;
            RData::MX(MX::new(
                preference.parse().ok()?,
                absolute(exchange.trim())?,
            ))
        }
        "TLSA" => RData::try_from_str(RecordType::TLSA, value).ok()?,
        _ => return None,
    })
}

pub(crate) fn not_sent(metadata: Metadata) -> ResponseInfo {
    ResponseInfo::from(Header {
        metadata,
        counts: HeaderCounts::default(),
    })
}

/// UDP and TCP on one free port. The kernel picks the UDP port; the same TCP port may be taken, then again.
pub(crate) async fn bind_both() -> (UdpSocket, TcpListener) {
    for _ in 0..BIND_TRIES {
        let udp = UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("a free UDP port on 127.0.0.1");
        let address = udp.local_addr().expect("a bound socket has an address");
        if let Ok(tcp) = TcpListener::bind(address).await {
            return (udp, tcp);
        }
    }
    panic!("no port of 127.0.0.1 is free for both UDP and TCP");
}

/// Lower case, without the final dot: the form of the table's keys.
fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

pub(crate) fn absolute(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).ok()
}

fn is_within(name: &str, parent: &str) -> bool {
    name == parent
        || name
            .strip_suffix(parent)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// The root's, which is above every name.
fn soa(ttl: u32) -> Record {
    let name = |text| absolute(text).expect("a valid name");
    let soa = SOA::new(name("ns.test"), name("root.test"), 1, 3600, 600, 86400, ttl);
    Record::from_rdata(Name::root(), ttl, RData::SOA(soa))
}

/// One second: a test that changes records must not meet a long-lived cache.
const TTL: u32 = 1;
/// A TXT record is made of strings, each with one octet for its length.
const TXT_STRING_OCTETS: usize = 255;
const CNAMES_MAX: usize = 8;
const BIND_TRIES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zones: &str, name: &str, kind: RecordType, expected: &str) {
        let mut table = Table::default();
        for line in zones.split(';') {
            table.add(line.trim()).expect("a record");
        }
        let got = match table.answer(name, kind) {
            Answer::Records(records) => records
                .iter()
                .map(|record| record.data.to_string())
                .collect::<Vec<_>>()
                .join(", "),
            Answer::Code(code) => format!("{code:?}"),
            Answer::Silence => "silence".to_owned(),
        };
        assert_eq!(got, expected, "{name} {kind}");
    }

    #[test]
    fn answers() {
        let zones = "a.test MX 10 mx.a.test; a.test MX 20 mx2.a.test; mx.a.test A 127.0.0.5; \
                     null.test MX 0 .; www.a.test CNAME mx.a.test; a.test TXT v=spf1 -all; \
                     bad.test SERVFAIL; mute.test DROP; mx.a.test AAAA ::1";
        check(
            zones,
            "a.test",
            RecordType::MX,
            "10 mx.a.test., 20 mx2.a.test.",
        );
        check(zones, "null.test", RecordType::MX, "0 .");
        check(zones, "www.a.test", RecordType::A, "mx.a.test., 127.0.0.5");
        check(zones, "mx.a.test", RecordType::AAAA, "::1");
        check(zones, "mx.a.test", RecordType::MX, "");
        check(zones, "a.test", RecordType::TXT, "v=spf1 -all");
        check(zones, "test", RecordType::MX, "");
        check(zones, "nope.test", RecordType::MX, "NXDomain");
        check(zones, "x.bad.test", RecordType::A, "ServFail");
        check(zones, "mute.test", RecordType::A, "silence");
    }

    /// Over a real socket, with a question made by hand: header, one question, class IN.
    #[tokio::test]
    async fn answers_over_udp_and_counts() {
        let dns = Dns::start("a.test MX 10 mx.a.test").await;
        let question =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x0f\x00\x01";
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(question, dns.address()).await.unwrap();
        let mut answer = [0; 512];
        let octets = tokio::time::timeout(crate::PATIENCE, socket.recv(&mut answer))
            .await
            .expect("an answer")
            .unwrap();
        assert_eq!(&answer[..2], b"\x12\x34");
        assert_eq!(answer[3] & 0x0f, 0, "NOERROR");
        assert_eq!(&answer[6..8], b"\x00\x01", "one answer in {octets} octets");
        assert_eq!(dns.asked("A.test.", "MX"), 1);
        assert_eq!(dns.asked("a.test", "A"), 0);
    }
}
