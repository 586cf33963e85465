//! The hickory resolver against a real DNS server on loopback, with zones, SERVFAIL, silence and a count of questions.

#![expect(clippy::unwrap_used, reason = "a test: its helpers may panic too")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dns::{Error, Hickory, Mx, Resolver, Settings};
use envelope::Domain;
use hickory_server::Server;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::proto::op::{Header, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, PTR, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// Names with `servfail` or `drop` in them get that; every other one goes to the zones.
struct Handler {
    zones: Catalog,
    questions: Arc<Mutex<HashMap<String, usize>>>,
}

struct Fake {
    address: SocketAddr,
    questions: Arc<Mutex<HashMap<String, usize>>>,
    // Serves until dropped.
    _server: Server<Handler>,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let info = request.request_info().unwrap();
        // Case is randomised by nobody here, but questions are compared without it all the same.
        let name = info.query.name().to_string().to_lowercase();
        let question = format!("{name} {}", info.query.query_type());
        *self.questions.lock().unwrap().entry(question).or_default() += 1;
        if name.contains("drop") {
            return ResponseInfo::from(Header {
                metadata: Metadata::response_from_request(&request.metadata),
                counts: Default::default(),
            });
        }
        if name.contains("servfail") {
            let builder = MessageResponseBuilder::from_message_request(request);
            let reply = builder.error_msg(&request.metadata, ResponseCode::ServFail);
            return response.send_response(reply).await.unwrap();
        }
        self.zones.handle_request::<R, T>(request, response).await
    }
}

impl Fake {
    async fn start() -> Self {
        let mut zones = Catalog::new();
        for (origin, zone) in [
            ("test.", forward_zone()),
            ("2.0.192.in-addr.arpa.", reverse_zone()),
        ] {
            zones.upsert(n(origin).into(), vec![Arc::new(zone)]);
        }
        let questions = Arc::default();
        let handler = Handler {
            zones,
            questions: Arc::clone(&questions),
        };
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        let mut server = Server::new(handler);
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 4096);
        Self {
            address,
            questions,
            _server: server,
        }
    }

    fn resolver(&self) -> Hickory {
        Hickory::new(&Settings {
            servers: vec![self.address],
            timeout: Duration::from_millis(200),
            ..Settings::default()
        })
        .unwrap()
    }

    fn asked(&self, question: &str) -> usize {
        let questions = self.questions.lock().unwrap();
        questions.get(question).copied().unwrap_or(0)
    }
}

fn n(name: &str) -> Name {
    Name::from_ascii(name).unwrap()
}

fn d(name: &str) -> Domain {
    name.parse().unwrap()
}

fn zone(origin: &str) -> InMemoryZoneHandler<TokioRuntimeProvider> {
    let mut zone = InMemoryZoneHandler::empty(n(origin), ZoneType::Primary, AxfrPolicy::Deny, None);
    let soa = SOA::new(n("ns.test."), n("root.test."), 1, 3600, 600, 86400, 30);
    zone.upsert_mut(Record::from_rdata(n(origin), 60, RData::SOA(soa)), 0);
    let ns = RData::NS(NS(n("ns.test.")));
    zone.upsert_mut(Record::from_rdata(n(origin), 60, ns), 0);
    zone
}

fn forward_zone() -> InMemoryZoneHandler<TokioRuntimeProvider> {
    let mut zone = zone("test.");
    let mx = |preference, name: &str| RData::MX(MX::new(preference, n(name)));
    let not_a_host = Name::from_labels([b"a b".as_slice(), b"test"]).unwrap();
    let long: Vec<String> = (0..30).map(|i| format!("{i:0>100}")).collect();
    let records = [
        ("two.test.", mx(20, "mx2.test.")),
        ("two.test.", mx(10, "MX1.test.")),
        ("null.test.", mx(0, ".")),
        ("mixed.test.", mx(0, ".")),
        ("mixed.test.", mx(10, "mx1.test.")),
        ("bad.test.", RData::MX(MX::new(10, not_a_host))),
        ("alias.test.", RData::CNAME(CNAME(n("two.test.")))),
        ("mx1.test.", RData::A(A::new(127, 0, 0, 2))),
        (
            "mx1.test.",
            RData::AAAA(AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
        ),
        ("mx2.test.", RData::A(A::new(127, 0, 0, 3))),
        (
            "spf.test.",
            RData::TXT(TXT::new(vec!["v=spf1 ".into(), "-all".into()])),
        ),
        ("long.test.", RData::TXT(TXT::new(long))),
    ];
    let odd = Name::from_labels([b"a+b c\\".as_slice(), b"test"]).unwrap();
    let text = RData::TXT(TXT::new(vec!["odd".into()]));
    zone.upsert_mut(Record::from_rdata(odd, 60, text), 0);
    for (name, data) in records {
        zone.upsert_mut(Record::from_rdata(n(name), 60, data), 0);
    }
    zone
}

fn reverse_zone() -> InMemoryZoneHandler<TokioRuntimeProvider> {
    let mut zone = zone("2.0.192.in-addr.arpa.");
    let pointer = RData::PTR(PTR(n("mx1.test.")));
    zone.upsert_mut(
        Record::from_rdata(n("2.2.0.192.in-addr.arpa."), 60, pointer),
        0,
    );
    zone
}

async fn mx(resolver: &Hickory, name: &str) -> Result<Vec<String>, Error> {
    let mut found = resolver.mx(name).await?.records;
    found.sort();
    let text = |mx: &Mx| format!("{} {}", mx.preference, mx.exchange);
    Ok(found.iter().map(text).collect())
}

#[tokio::test]
async fn mx_records() {
    let fake = Fake::start().await;
    let resolver = fake.resolver();
    let both = vec!["10 mx1.test".to_owned(), "20 mx2.test".to_owned()];
    assert_eq!(mx(&resolver, "two.test").await, Ok(both.clone()));
    assert_eq!(mx(&resolver, "alias.test").await, Ok(both.clone()));
    assert_eq!(mx(&resolver, "mixed.test").await, Ok(both[..1].to_vec()));
    assert_eq!(mx(&resolver, "null.test").await, Err(Error::NullMx));
    assert_eq!(mx(&resolver, "mx1.test").await, Err(Error::NoRecords));
    assert_eq!(mx(&resolver, "nope.test").await, Err(Error::NoSuchDomain));
    assert!(matches!(
        mx(&resolver, "bad.test").await,
        Err(Error::Trouble(_))
    ));
    // The second answer came from the cache.
    assert_eq!(mx(&resolver, "two.test").await, Ok(both));
    assert_eq!(fake.asked("two.test. MX"), 1);
}

#[tokio::test]
async fn addresses_texts_and_names() {
    let fake = Fake::start().await;
    let resolver = fake.resolver();
    let v6: IpAddr = "fd00::1".parse().unwrap();
    let v4: IpAddr = "127.0.0.2".parse().unwrap();
    let addresses = async |name: &str| resolver.addresses(name).await.map(|found| found.records);
    assert_eq!(addresses("mx1.test").await, Ok(vec![v6, v4]));
    assert_eq!(
        addresses("mx2.test").await,
        Ok(vec!["127.0.0.3".parse().unwrap()])
    );
    assert_eq!(addresses("spf.test").await, Err(Error::NoRecords));
    assert_eq!(addresses("nope.test").await, Err(Error::NoSuchDomain));
    assert_eq!(
        resolver.txt("spf.test").await,
        Ok(vec![b"v=spf1 -all".to_vec()])
    );
    assert_eq!(
        resolver.txt("a+b c\\.test").await,
        Ok(vec![b"odd".to_vec()])
    );
    for impossible in ["", "a..test", &"a".repeat(64), &"a.".repeat(128)] {
        let found = resolver.txt(impossible).await;
        assert_eq!(found, Err(Error::NoSuchDomain), "{impossible:?}");
    }
    // Over 512 octets and over EDNS' 1232: comes by TCP.
    let long = resolver.txt("long.test").await.unwrap();
    assert_eq!(long[0].len(), 3000);
    assert_eq!(
        resolver.names("192.0.2.2".parse().unwrap()).await,
        Ok(vec![d("mx1.test")])
    );
    assert_eq!(
        resolver.names("192.0.2.9".parse().unwrap()).await,
        Err(Error::NoSuchDomain)
    );
}

#[tokio::test]
async fn trouble_is_not_absence_and_is_remembered() {
    let fake = Fake::start().await;
    let resolver = fake.resolver();
    for name in ["servfail.test", "drop.test", "elsewhere.example"] {
        let result = mx(&resolver, name).await;
        assert!(
            matches!(result, Err(Error::Trouble(_))),
            "{name}: {result:?}"
        );
    }
    let asked = fake.asked("drop.test. MX");
    assert!(asked > 0, "never asked");
    for _ in 0..100 {
        assert!(mx(&resolver, "drop.test").await.is_err());
    }
    assert_eq!(fake.asked("drop.test. MX"), asked);
    // Another kind of record of the same name is another question.
    assert!(resolver.addresses("servfail.test").await.is_err());
    assert_ne!(fake.asked("servfail.test. A"), 0);
}

#[tokio::test]
async fn a_dead_server_costs_a_bounded_wait() {
    let fake = Fake::start().await;
    let resolver = fake.resolver();
    assert!(mx(&resolver, "drop.test").await.is_err());
    // Two rounds of 200 ms, over UDP and perhaps TCP.
    let asked = fake.asked("drop.test. MX");
    assert!((1..=4).contains(&asked), "asked {asked} times");
}

/// Blocklists are asked about most clients time and again, and mostly list nobody.
#[tokio::test]
async fn an_answer_is_kept_and_so_is_that_there_is_none() {
    let fake = Fake::start().await;
    let resolver = fake.resolver();
    for (name, exists) in [
        ("mx2.test", true),
        ("nope.test", false),
        ("spf.test", false),
    ] {
        for _ in 0..3 {
            assert_eq!(resolver.ipv4(name).await.is_ok(), exists, "{name}");
        }
        assert_eq!(fake.asked(&format!("{name}. A")), 1, "{name}");
    }
}
