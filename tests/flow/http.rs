//! The HTTP API: the same questions as over the control socket, asked with a token.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};
use testkit::daemon::{Relay, Setup};
use testkit::net::Net;
use testkit::sender::Plain;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::{origin_sends, relay};

const FORWARDS: &str = "alice@example.test alice@target.test\n";

/// What is answered to one request on a connection of its own.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        serde_json::from_str(&self.body).expect("JSON")
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Answer {
    let mut answer = Vec::new();
    // Who sends too much is not read to the end, and so the connection reset behind the answer.
    let _ = stream.write_all(request).await;
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    Answer {
        status: status.parse().expect("a number"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: mx\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A running relay, where it answers, and a token for it.
pub(crate) struct Api {
    pub(crate) relay: Relay,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

impl Api {
    pub(crate) async fn start(net: &Net, setup: Setup, scopes: &str) -> Self {
        let address = net.address();
        let setup = setup.set("http.bind", &format!("\"{address}\""));
        let token = token(&setup, "panel", scopes).await;
        Self {
            relay: setup.start().await,
            address,
            token,
        }
    }

    pub(crate) async fn raw(&self, request: &[u8]) -> Answer {
        raw(self.address, request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.raw(&request("GET", path, &self.token, "")).await
    }

    /// An answer, which must be as the API describes itself.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let answer = self.get(&format!("/api/v1{path}")).await.json(200);
        let api = self.get("/api/v1/openapi.json").await.json(200);
        let path = path.split('?').next().expect("a path");
        let schema =
            &described(&api, path)["get"]["responses"]["200"]["content"]["application/json"];
        assert_described(&answer, &schema["schema"], path);
        answer
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        let (path, body) = (format!("/api/v1{path}"), body.to_string());
        self.raw(&request("POST", &path, &self.token, &body)).await
    }
}

/// What is said of this path, with its parameters.
fn described<'a>(api: &'a Value, path: &str) -> &'a Value {
    let paths = api["paths"].as_object().expect("paths");
    let fits = |template: &&String| {
        template.split('/').count() == path.split('/').count()
            && template
                .split('/')
                .zip(path.split('/'))
                .all(|(named, part)| named == part || named.starts_with('{'))
    };
    let templates: Vec<_> = paths.keys().filter(fits).collect();
    let template = templates
        .iter()
        .min_by_key(|template| template.matches('{').count());
    &paths[*template.unwrap_or_else(|| panic!("{path} is not described"))]
}

fn assert_described(value: &Value, schema: &Value, place: &str) {
    if *schema == json!({}) {
        // It may be anything.
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &schema["type"];
    let is_kind = kinds.is_null() || kinds.to_string().contains(&format!("\"{kind}\""));
    assert!(is_kind, "{place}: {value} is no {kinds}");
    if let Value::Array(values) = value {
        values
            .iter()
            .for_each(|value| assert_described(value, &schema["items"], place));
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        let (known, others) = (&schema["properties"][name], &schema["additionalProperties"]);
        assert!(
            !known.is_null() || !others.is_null(),
            "{place} is not described"
        );
        assert_described(value, if known.is_null() { others } else { known }, &place);
    }
}

pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let stream = TcpStream::connect(address).await.expect("connected");
    converse(stream, request).await
}

pub(crate) async fn token(setup: &Setup, name: &str, scopes: &str) -> String {
    let made = ["http", "token", name, "--scope", scopes];
    let made = setup.run(&made).await.success();
    made.stdout.trim().to_owned()
}

pub(crate) fn hourly(net: &Net) -> Setup {
    relay(net, FORWARDS).set("queue.retry", "[\"1h\"]")
}

#[tokio::test]
async fn what_is_queued_is_shown_and_changed() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 451 4.7.1 not now").await;
    let api = Api::start(&net, hourly(&net), "read,queue").await;
    for subject in ["one", "two"] {
        origin_sends(&api.relay, "alice@example.test", subject).await;
    }
    api.relay.wait_for_count(2, "deferred").await;

    let first = api.read("/queue?to=target.test&limit=1").await;
    let leg = first["legs"][0]["leg"].as_str().expect("a leg").to_owned();
    let next = first["next"].as_str().expect("another page");
    let second = api.read(&format!("/queue?limit=1&cursor={next}")).await;
    assert_ne!(second["legs"][0]["leg"], *leg);
    assert_eq!(api.read("/queue?state=held").await["legs"], json!([]));
    let summary = api.read("/queue/summary?by=site").await;
    assert_eq!(summary["total"]["legs"], 2, "{summary}");

    let id = leg.split('.').next().expect("a message");
    let message = api.read(&format!("/messages/{id}")).await;
    assert_eq!(message["legs"][0]["leg"], *leg, "{message}");
    let unknown = api.get("/api/v1/messages/0000000000000000000000000Z").await;
    let problem = unknown.json(404);
    assert!(
        unknown.head.contains("application/problem+json"),
        "{}",
        unknown.head
    );
    assert!(problem["hint"].is_string(), "{problem}");

    let mut act = json!({"action": "hold", "selector": {"ids": [leg]}, "dry_run": true});
    let tried = api.post("/queue/act", act.clone()).await.json(200);
    assert_eq!((&tried["matched"], &tried["done"]), (&json!(1), &json!(1)));
    assert_eq!(api.read("/queue?state=held").await["legs"], json!([]));
    act["dry_run"] = json!(false);
    act["reason"] = json!("ticket 7");
    let done = api.post("/queue/act", act).await.json(200);
    assert_eq!(done["done"], 1, "{done}");
    assert_eq!(api.read("/queue?state=held").await["legs"][0]["leg"], *leg);
    let event = api.relay.wait_for("operator action=hold by=panel").await;
    assert_eq!(event.text("reason"), "ticket 7");
    // A forgotten selector does not mean everything, nor does a mistyped field mean nothing.
    let all = api
        .post("/queue/act", json!({"action": "remove", "selector": {}}))
        .await;
    assert!(all.json(422)["hint"].is_string());
    let typo = json!({"action": "remove", "selector": {"all": true}, "dryrun": true});
    api.post("/queue/act", typo).await.json(400);
    assert_eq!(api.read("/status").await["queue"]["held"], 1);
}

#[tokio::test]
async fn sites_history_and_the_rest_are_asked() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let api = Api::start(&net, hourly(&net), "read,queue").await;
    origin_sends(&api.relay, "alice@example.test", "one").await;
    api.relay.wait_for("delivered").await;
    let sites = api.read("/sites").await;
    assert_eq!(sites["sites"][0]["site"], "mx.target.test", "{sites}");
    let pause = json!({"for_secs": 60, "reason": "they asked for it"});
    let paused = api.post("/sites/target.test/pause", pause).await.json(200);
    assert_eq!(paused["now"]["by"], "token panel", "{paused}");
    api.relay.wait_for("site-paused by=panel").await;
    let site = api.read("/sites/mx.target.test").await;
    assert_eq!(site[0]["state"], "paused", "{site}");
    let why = site[0]["why"].as_str().expect("a text");
    assert!(why.contains("by token panel: they asked for it"), "{why}");
    // The pause is known after a restart, and whose it was.
    let Api {
        relay,
        address,
        token,
    } = api;
    let relay = relay.stop().await.start().await;
    let api = Api {
        relay,
        address,
        token,
    };
    assert_eq!(api.read("/sites").await["orders"][0]["by"], "token panel");
    let resumed = api
        .post("/sites/target.test/resume", json!({}))
        .await
        .json(200);
    assert_eq!(resumed["now"], Value::Null);
    let limit = json!({"per_minute": 9});
    let limited = api.post("/sites/target.test/limit", limit).await.json(200);
    assert_eq!(limited["now"]["per_minute"], 9, "{limited}");

    let traced = api.read("/trace?to=alice@target.test").await;
    assert_eq!(traced["messages"][0]["status"], "delivered", "{traced}");
    let stats = api
        .read("/stats?by=forward&since=2026-01-01T00:00:00Z")
        .await;
    assert_eq!(stats["rows"][0]["delivered"], 1, "{stats}");
    assert_eq!(api.read("/freezes").await["freezes"], json!([]));
    let lift = api.post("/freezes/lift", json!({"key": "user:ann"})).await;
    lift.json(404);
    let mail = json!({
        "to": "eve@example.test", "from": "ann@sender.test", "ip": "192.0.2.1", "hello": "c.test",
    });
    let explained = api.post("/explain", mail).await.json(200);
    assert_eq!(
        explained["refusal"]["rule"], "hosted-unknown",
        "{explained}"
    );
    assert!(api.read("/doctor").await.is_array());
    assert_eq!(api.read("/drain").await["on"], false);
}

#[tokio::test]
async fn a_token_is_good_for_its_scopes_only() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 451 4.7.1 not now").await;
    let mut api = Api::start(&net, hourly(&net), "read").await;
    origin_sends(&api.relay, "alice@example.test", "one").await;
    let deferred = api.relay.wait_for("deferred").await;
    let content = format!("/api/v1/messages/{}/content", deferred.text("id"));
    for (method, path) in [
        ("POST", "/api/v1/drain"),
        ("POST", "/api/v1/queue/act"),
        ("GET", &*content),
    ] {
        let refused = api.raw(&request(method, path, &api.token, "{}")).await;
        assert!(
            refused.json(403)["detail"]
                .as_str()
                .unwrap()
                .contains("scope")
        );
    }
    for path in ["/api/v1/status", "/metrics"] {
        let wrong = api.raw(&request("GET", path, "onward_wrong", "")).await;
        assert!(
            wrong
                .head
                .to_lowercase()
                .contains("www-authenticate: bearer"),
            "{}",
            wrong.head
        );
        wrong.json(401);
        let none = format!("GET {path} HTTP/1.1\r\nHost: mx\r\nConnection: close\r\n\r\n");
        api.raw(none.as_bytes()).await.json(401);
    }

    // A new token is known after a reload.
    let other = token(api.relay.setup(), "other", "admin,content").await;
    api.raw(&request("GET", &content, &other, ""))
        .await
        .json(401);
    api.relay.run(&["reload"]).await;
    api.token = other;
    let mail = api.get(&content).await;
    api.relay
        .wait_for("operator-asked action=queue-cat by=other")
        .await;
    assert!(
        mail.status == 200 && mail.body.contains("Subject: one"),
        "{}",
        mail.body
    );
    api.get("/api/v1/status").await.json(403);
    let reload = json!({"dry_run": true});
    let reloaded = api.post("/reload", reload.clone()).await.json(200);
    assert!(
        reloaded["lines"].to_string().contains("tokens: 2"),
        "{reloaded}"
    );
    api.relay.setup().write(
        "forwards",
        "alice@example.test alice@target.test\nnonsense\n",
    );
    let kept = api.post("/reload", reload).await.json(422);
    assert_eq!(kept["line"], 2, "{kept}");
    assert!(
        kept["file"].as_str().unwrap().ends_with("forwards"),
        "{kept}"
    );
}

#[tokio::test]
async fn a_token_is_made_once_and_not_kept() {
    let net = Net::new().await;
    let setup = relay(&net, FORWARDS);
    let token = token(&setup, "panel", "read").await;
    let file = std::fs::read_to_string(setup.path("api.token")).unwrap();
    assert!(file.starts_with("panel ") && !file.contains(&token));
    let again = ["http", "token", "panel", "--scope", "read"];
    let wanted = ["api.token:2: `panel` is there twice"];
    setup.run_into_error(&again, &wanted).await;
}

#[tokio::test]
async fn a_drained_relay_is_alive_and_not_ready() {
    let net = Net::new().await;
    let api = Api::start(&net, hourly(&net), "admin").await;
    assert_eq!(api.get("/readyz").await.status, 200);
    let drained = api.post("/drain", json!({"on": true})).await.json(200);
    assert_eq!(drained["on"], true);
    // It is looked up once a second.
    while api.get("/readyz").await.status != 503 {}
    assert_eq!(api.get("/healthz").await.status, 200);
    api.relay.wait_for("drained by=panel").await;
}

#[tokio::test]
async fn prometheus_reads_the_metrics() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let api = Api::start(&net, hourly(&net), "read").await;
    origin_sends(&api.relay, "alice@example.test", "one").await;
    api.relay.wait_for("delivered").await;
    let delivered =
        "onward_delivery_total{site=\"mx.target.test\",result=\"delivered\",class=\"\"} 1";
    let listener = api.relay.address();
    let received = format!("onward_received_total{{listener=\"{listener}\",tls=\"\"}} 1");
    let page = loop {
        let page = api.get("/metrics").await;
        // The counts may come a moment later.
        if page.body.contains(delivered) && page.body.contains(&received) {
            break page;
        }
    };
    assert!(
        page.head.contains("text/plain; version=0.0.4"),
        "{}",
        page.head
    );
    for line in [
        "onward_queue_legs{state=\"waiting\"} 0",
        "onward_site_up{site=\"mx.target.test\"} 1",
        "onward_forwards 1",
        "onward_http_wrong_tokens_total 0",
    ] {
        assert!(
            page.body.lines().any(|found| found == line),
            "{line}\n{}",
            page.body
        );
    }
}

#[tokio::test]
async fn bad_clients_get_their_answer_and_mail_goes_on() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let api = Api::start(&net, hourly(&net), "read,queue").await;
    let head = |length: &str| {
        let token = &api.token;
        format!(
            "POST /api/v1/queue/act HTTP/1.1\r\nHost: mx\r\nAuthorization: Bearer {token}\r\n{length}\r\n\r\n"
        )
    };
    let large = head("Content-Length: 1000000000").into_bytes();
    api.raw(&[large, vec![b' '; 5 << 20]].concat())
        .await
        .json(413);
    let mut endless = head("Transfer-Encoding: chunked").into_bytes();
    for _ in 0..40 {
        endless.extend_from_slice(b"20000\r\n");
        endless.resize(endless.len() + 0x20000, b' ');
        endless.extend_from_slice(b"\r\n");
    }
    api.raw(&endless).await.json(413);
    let deep = format!("{{\"selector\":{}", "[".repeat(100_000));
    for body in [
        "{",
        "[]",
        "\"x\"",
        &deep,
        "{\"action\":\"burn\",\"selector\":{\"all\":true}}",
    ] {
        let request = request("POST", "/api/v1/queue/act", &api.token, body);
        api.raw(&request).await.json(400);
    }
    for (path, status) in [
        ("/api/v1/none", 404),
        ("/api/v1/queue/act", 405),
        ("/api/v1/messages/%00", 400),
        ("/api/v1/messages/%ff", 400),
        ("/api/v1/sites?limt=5", 400),
        ("/api/v1/queue?limit=x", 400),
    ] {
        api.get(path).await.json(status);
    }
    let began = Instant::now();
    let wrong = request("GET", "/api/v1/status", "wrong", "");
    let mut tries = JoinSet::new();
    for _ in 0..50 {
        let (address, wrong) = (api.address, wrong.clone());
        tries.spawn(async move { raw(address, &wrong).await.status });
    }
    let mut statuses = tries.join_all().await;
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [401, 429]);
    assert!(began.elapsed().as_secs() < 20);
    // All connections taken, and silent.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(api.address).await.expect("connected"));
    }
    assert_eq!(api.get("/healthz").await.status, 503);
    origin_sends(&api.relay, "alice@example.test", "one").await;
    sink.message().await;
    drop(silent);
    while api.get("/healthz").await.status != 200 {}
}

#[tokio::test]
async fn a_socket_or_tls() {
    let net = Net::new().await;
    let setup = relay(&net, FORWARDS);
    let socket = setup.path("http.sock");
    let setup = setup.set("http.bind", &format!("\"unix:{}\"", socket.display()));
    setup
        .run_into_error(&["check"], &["api.token", "onward http token"])
        .await;
    let token = token(&setup, "panel", "read").await;
    let relay = setup.start().await;
    let stream = UnixStream::connect(&socket).await.expect("connected");
    let status = converse(stream, &request("GET", "/api/v1/status", &token, "")).await;
    assert_eq!(status.json(200)["hostname"], "mx.fwd.test");
    let setup = relay.stop().await;
    assert!(!socket.exists());
    // Where nothing can be answered, mail goes on; and reading it is logged.
    let nowhere = setup.path("none/http.sock");
    let setup = setup.set("http.bind", &format!("\"unix:{}\"", nowhere.display()));
    let checked = setup.run(&["check"]).await;
    assert!(checked.stdout.contains("risk http"), "{checked}");
    let setup = setup.start().await.stop().await;

    let free = std::net::TcpListener::bind("0.0.0.0:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let setup = setup.set("http.bind", &format!("\"{free}\""));
    setup
        .run_into_error(&["check"], &["`http.bind`", "add [tls]"])
        .await;
    let _relay = setup.with_tls().start().await;
    let address = SocketAddr::from(([127, 0, 0, 1], free.port()));
    let mut client = Plain::connect_silently(address).await.handshake().await;
    client
        .raw(b"GET /healthz HTTP/1.1\r\nHost: mx\r\n\r\n")
        .await;
    assert_eq!(client.line().await.as_deref(), Some("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn the_log_is_followed_as_it_is_written() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let api = Api::start(&net, hourly(&net), "read").await;
    let path = "/api/v1/events?event=received,delivered&site=target.test";
    let mut stream = TcpStream::connect(api.address).await.expect("connected");
    let asked = request("GET", path, &api.token, "");
    stream.write_all(&asked).await.expect("sent");
    let mut text = String::new();
    let mut more = async |part: &str| {
        while !text.contains(part) {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.expect("read");
            assert_ne!(read, 0, "{text}");
            text += std::str::from_utf8(&buffer[..read]).expect("UTF-8");
        }
        text.clone()
    };
    let head = more("\r\n\r\n").await;
    assert!(head.contains("text/event-stream"), "{head}");
    origin_sends(&api.relay, "alice@example.test", "one").await;
    let event = more("\n\n").await;
    let event = event.split_once("data: ").expect("an event").1;
    let event: Value = serde_json::from_str(event.split_once('\n').unwrap().0).expect("JSON");
    assert_eq!(event["event"], "delivered");
    assert_eq!(event["site"], "mx.target.test");
    api.get("/api/v1/events?kind=x").await.json(400);

    // A thousand that come and read nothing: some follow, the others are sent away, and mail goes on.
    let mut followers = Vec::new();
    for _ in 0..1000 {
        let mut follower = TcpStream::connect(api.address).await.expect("connected");
        let asked = request("GET", "/api/v1/events", &api.token, "");
        let _ = follower.write_all(&asked).await;
        followers.push(follower);
    }
    sink.message().await;
    let began = Instant::now();
    for subject in ["two", "three"] {
        origin_sends(&api.relay, "alice@example.test", subject).await;
        sink.message().await;
    }
    assert!(began.elapsed().as_secs() < 5);
    drop(followers);
    while api.get("/healthz").await.status != 200 {}
}

#[tokio::test]
async fn wrong_tokens_and_scrapes_keep_no_mail_waiting() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let api = Api::start(&net, hourly(&net), "read").await;
    let mut asking = JoinSet::new();
    for client in 0..40 {
        let (address, token) = (api.address, api.token.clone());
        let asked = match client % 8 {
            0 => request("GET", "/metrics", &token, ""),
            _ => request("GET", "/api/v1/status", "wrong", ""),
        };
        asking.spawn(async move {
            for _ in 0..10 {
                raw(address, &asked).await;
            }
        });
    }
    let began = Instant::now();
    for subject in 0..20 {
        origin_sends(&api.relay, "alice@example.test", &subject.to_string()).await;
        sink.message().await;
    }
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    asking.join_all().await;
    let wrong = "onward_http_wrong_tokens_total 350";
    while !api.get("/metrics").await.body.contains(wrong) {}
}

#[tokio::test]
async fn what_comes_again_is_done_once() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let mut api = Api::start(&net, hourly(&net), "read,queue").await;
    origin_sends(&api.relay, "alice@example.test", "one").await;
    api.relay.wait_for("delivered").await;
    let pause = async |api: &Api, key: &str, secs: u32| {
        let body = format!("{{\"for_secs\": {secs}}}");
        let path = "/api/v1/sites/target.test/pause";
        let asked = request("POST", path, &api.token, &body);
        let key = format!("\r\nIdempotency-Key: {key}\r\n\r\n");
        let asked = String::from_utf8(asked)
            .unwrap()
            .replacen("\r\n\r\n", &key, 1);
        api.raw(asked.as_bytes()).await
    };
    let first = pause(&api, "7", 60).await.json(200);
    assert_eq!(pause(&api, "7", 60).await.json(200), first);
    pause(&api, "7", 61).await.json(422);
    let second = pause(&api, "8", 60).await.json(200);
    assert_ne!(second["now"]["until"], first["now"]["until"]);
    // Keys of others are other keys.
    api.token = token(api.relay.setup(), "other", "queue").await;
    api.relay.run(&["reload"]).await;
    assert_eq!(
        pause(&api, "7", 61).await.json(200)["now"]["by"],
        "token other"
    );
}
