//! A small ACME server (RFC 8555): it verifies every signature and nonce, really looks for the proof of a name (HTTP-01,
//! TLS-ALPN-01 of RFC 8737), signs with a CA of its own, and suggests when to renew (RFC 9773). And it can have a bad day.

mod look;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use data_encoding::BASE64URL_NOPAD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::tls::Identity;

/// A running server; dropped, it stops.
pub struct Acme {
    shared: Arc<Shared>,
    identity: Identity,
    listening: JoinHandle<()>,
}

/// How it is today.
#[derive(Debug, Clone, Default)]
pub enum Mood {
    /// It does what the RFC says.
    #[default]
    Well,
    /// It takes connections, and says nothing.
    Hangs,
    /// It answers everything with these octets.
    Says(String),
    /// It issues this instead of a chain.
    Issues(String),
}

struct Shared {
    base: String,
    ca: Issuer<'static, KeyPair>,
    ca_pem: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mood: Mood,
    looks_at: Option<SocketAddr>,
    life: Duration,
    window: Option<(Duration, Duration)>,
    nonces: BTreeSet<String>,
    count: usize,
    /// Public keys, as points.
    accounts: Vec<Vec<u8>>,
    orders: Vec<Order>,
    asked: Vec<String>,
}

#[derive(Default)]
struct Order {
    names: Vec<String>,
    /// For each name: nothing yet, proved, or why not.
    proofs: Vec<Option<Result<(), String>>>,
    chain: Option<String>,
    replaces: Option<Value>,
}

/// What is answered: a status, a header more, a body and its type.
struct Answer {
    status: &'static str,
    header: String,
    kind: &'static str,
    body: String,
}

impl Acme {
    /// Listens; it will look for proofs there.
    ///
    /// # Panics
    /// When loopback cannot be listened on.
    pub async fn start(looks_at: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("an address");
        let identity = Identity::new("127.0.0.1");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = params.self_signed(&key).expect("a CA").pem();
        let shared = Arc::new(Shared {
            base: format!("https://{address}"),
            ca: Issuer::new(params, key),
            ca_pem,
            state: Mutex::new(State {
                looks_at: Some(looks_at),
                life: Duration::from_hours(90 * 24),
                ..State::default()
            }),
        });
        let (acceptor, serving) = (identity.acceptor(), Arc::clone(&shared));
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move { shared.serve(stream, acceptor).await });
            }
        });
        Self {
            shared,
            identity,
            listening,
        }
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("{}/directory", self.shared.base)
    }

    /// The certificate of its web server, for those who are to believe it.
    pub fn root_pem(&self) -> &str {
        &self.identity.certificate_pem
    }

    /// It is like this from now on.
    pub fn is(&self, mood: Mood) {
        self.shared.state().mood = mood;
    }

    /// It knows no account any more.
    pub fn forgets(&self) {
        self.shared.state().accounts.clear();
    }

    /// Certificates are valid for so long from now on, and are to be renewed in this part of it, if that is said at all.
    pub fn issues_for(&self, life: Duration, window: Option<(Duration, Duration)>) {
        let mut state = self.shared.state();
        (state.life, state.window) = (life, window);
    }

    /// How many certificates it has issued.
    pub fn issued(&self) -> usize {
        let state = self.shared.state();
        state
            .orders
            .iter()
            .filter(|order| order.chain.is_some())
            .count()
    }

    /// How many of its orders replace a certificate.
    pub fn replaced(&self) -> usize {
        let state = self.shared.state();
        state
            .orders
            .iter()
            .filter(|order| order.replaces.is_some())
            .count()
    }

    /// The paths that were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.shared.state().asked.clone()
    }
}

impl Drop for Acme {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One question of one connection.
    async fn serve(&self, stream: TcpStream, acceptor: TlsAcceptor) -> Option<()> {
        let mut stream = acceptor.accept(stream).await.ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_it = name.eq_ignore_ascii_case("content-length");
            is_it.then(|| value.trim().parse().ok())?
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        let mood = {
            let mut state = self.state();
            state.asked.push(path.clone());
            state.mood.clone()
        };
        let text = match mood {
            Mood::Hangs => std::future::pending().await,
            Mood::Says(text) => text,
            Mood::Well | Mood::Issues(_) => {
                let answer = self.answer(&path, &body).await;
                let answer = answer.unwrap_or_else(|(kind, detail)| problem(kind, &detail));
                self.written(answer, head.starts_with("HEAD "))
            }
        };
        stream.write_all(text.as_bytes()).await.ok()?;
        stream.shutdown().await.ok()
    }

    fn written(&self, answer: Answer, is_head: bool) -> String {
        let nonce = {
            let mut state = self.state();
            state.count += 1;
            let nonce = format!("nonce-{}", state.count);
            state.nonces.insert(nonce.clone());
            nonce
        };
        let Answer {
            status,
            header,
            kind,
            body,
        } = answer;
        let length = body.len();
        let body = if is_head { "" } else { &body };
        format!(
            "HTTP/1.1 {status}\r\nReplay-Nonce: {nonce}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n{header}\r\n{body}"
        )
    }

    async fn answer(&self, path: &str, body: &[u8]) -> Result<Answer, (&'static str, String)> {
        let base = &self.base;
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let number = |at: usize| parts.get(at).and_then(|part| part.parse::<usize>().ok());
        if parts[0] == "directory" {
            let mut directory = json!({
                "newNonce": format!("{base}/nonce"),
                "newAccount": format!("{base}/account"),
                "newOrder": format!("{base}/order"),
            });
            if self.state().window.is_some() {
                directory["renewalInfo"] = format!("{base}/renewal").into();
            }
            return Ok(json_answer(&directory));
        }
        if parts[0] == "nonce" {
            return Ok(json_answer(&json!({})));
        }
        if parts[0] == "renewal" {
            return Ok(self.renewal());
        }
        let (account, payload) = self.verified(path, body)?;
        match (parts[0], number(1), number(2)) {
            ("account", None, None) => {
                if payload["termsOfServiceAgreed"] != true {
                    return Err(("userActionRequired", "agree".to_owned()));
                }
                let mut answer = json_answer(&json!({ "status": "valid" }));
                answer.header = format!("Location: {base}/account/{account}\r\n");
                Ok(answer)
            }
            ("order", None, None) => Ok(self.new_order(&payload)),
            ("order", Some(at), None) => {
                Ok(json_answer(&order(base, at, &self.state().orders[at])))
            }
            ("authorization", Some(at), Some(name)) => Ok(json_answer(&authorization(
                base,
                at,
                name,
                &self.state().orders[at],
            ))),
            ("challenge", Some(at), Some(name)) => Ok(self.look(account, at, name, parts[3]).await),
            ("finalize", Some(at), None) => self.finalize(at, &payload),
            ("certificate", Some(at), None) => {
                let state = self.state();
                let chain = match &state.mood {
                    Mood::Issues(text) => text.clone(),
                    _ => state.orders[at].chain.clone().unwrap_or_default(),
                };
                Ok(Answer {
                    kind: "application/pem-certificate-chain",
                    body: chain,
                    ..json_answer(&json!({}))
                })
            }
            _ => Err(("malformed", format!("there is no {path}"))),
        }
    }

    fn new_order(&self, payload: &Value) -> Answer {
        let base = &self.base;
        let names = payload["identifiers"].as_array().into_iter().flatten();
        let names = names.filter_map(|id| id["value"].as_str().map(str::to_owned));
        let names: Vec<_> = names.collect();
        let mut state = self.state();
        state.orders.push(Order {
            proofs: names.iter().map(|_| None).collect(),
            names,
            chain: None,
            replaces: payload.get("replaces").cloned(),
        });
        let number = state.orders.len() - 1;
        let mut answer = json_answer(&order(base, number, &state.orders[number]));
        answer.status = "201 Created";
        answer.header = format!("Location: {base}/order/{number}\r\n");
        answer
    }

    /// The server goes and sees.
    async fn look(&self, account: usize, at: usize, name: usize, kind: &str) -> Answer {
        let (domain, to, thumb) = {
            let state = self.state();
            let thumb = thumbprint(&state.accounts[account]);
            (state.orders[at].names[name].clone(), state.looks_at, thumb)
        };
        let token = token(at, name);
        let to = to.expect("an address");
        let looked = look::at(kind, to, &domain, &token, &format!("{token}.{thumb}")).await;
        let mut state = self.state();
        state.orders[at].proofs[name] = Some(looked);
        json_answer(&authorization(&self.base, at, name, &state.orders[at])["challenges"][0])
    }

    /// Who signed, and what. An account comes into being with its first question.
    fn verified(&self, path: &str, body: &[u8]) -> Result<(usize, Value), (&'static str, String)> {
        let malformed = |what: &str| ("malformed", what.to_owned());
        let jws: Value = serde_json::from_slice(body).map_err(|_| malformed("no JSON"))?;
        let part = |name: &str| jws[name].as_str().unwrap_or_default();
        let decoded = |text: &str| {
            BASE64
                .decode(text.as_bytes())
                .map_err(|_| malformed("base64"))
        };
        let head = decoded(part("protected"))?;
        let head: Value = serde_json::from_slice(&head).map_err(|_| malformed("no head"))?;
        let mut state = self.state();
        if !state
            .nonces
            .remove(head["nonce"].as_str().unwrap_or_default())
        {
            return Err(("badNonce", "unknown or used".to_owned()));
        }
        if head["url"] != format!("{}{path}", self.base) || head["alg"] != "ES256" {
            return Err(malformed("another url, or algorithm"));
        }
        let account = match head["kid"].as_str() {
            Some(kid) => kid
                .rsplit('/')
                .next()
                .and_then(|number| number.parse().ok()),
            None => {
                let axis = |name: &str| decoded(head["jwk"][name].as_str().unwrap_or_default());
                let point = [vec![4], axis("x")?, axis("y")?].concat();
                state.accounts.push(point);
                Some(state.accounts.len() - 1)
            }
        };
        let known = account.and_then(|account| Some((account, state.accounts.get(account)?)));
        let Some((account, key)) = known else {
            return Err(("accountDoesNotExist", "nobody knows it".to_owned()));
        };
        let signed = format!("{}.{}", part("protected"), part("payload"));
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
            .verify(signed.as_bytes(), &decoded(part("signature"))?)
            .map_err(|_| malformed("the signature is wrong"))?;
        let payload = decoded(part("payload"))?;
        Ok((
            account,
            serde_json::from_slice(&payload).unwrap_or_default(),
        ))
    }

    fn finalize(&self, at: usize, payload: &Value) -> Result<Answer, (&'static str, String)> {
        let mut state = self.state();
        let life = state.life;
        let of = &mut state.orders[at];
        if of.proofs.iter().any(|proof| *proof != Some(Ok(()))) {
            return Err(("orderNotReady", "prove it first".to_owned()));
        }
        let csr = BASE64.decode(payload["csr"].as_str().unwrap_or_default().as_bytes());
        let csr = csr.unwrap_or_default().into();
        let csr = CertificateSigningRequestParams::from_der(&csr);
        let mut csr = csr.map_err(|error| ("badCSR", error.to_string()))?;
        let wanted = CertificateParams::new(&of.names[..]).expect("names");
        if csr.params.subject_alt_names != wanted.subject_alt_names {
            return Err(("badCSR", "for other names".to_owned()));
        }
        let now = SystemTime::now();
        csr.params.not_before = now.into();
        csr.params.not_after = (now + life).into();
        csr.params.use_authority_key_identifier_extension = true;
        let certificate = csr.signed_by(&self.ca).expect("a signature");
        of.chain = Some(format!("{}{}", certificate.pem(), self.ca_pem));
        Ok(json_answer(&order(&self.base, at, of)))
    }

    /// Of the last certificate, whichever is asked about.
    fn renewal(&self) -> Answer {
        let (from, to) = self.state().window.unwrap_or_default();
        let at = |span: Duration| {
            let format = time::format_description::well_known::Rfc3339;
            let at = time::OffsetDateTime::from(SystemTime::now() + span);
            at.format(&format).expect("a date")
        };
        Answer {
            header: "Retry-After: 21600\r\n".to_owned(),
            ..json_answer(&json!({ "suggestedWindow": { "start": at(from), "end": at(to) } }))
        }
    }
}

fn order(base: &str, at: usize, order: &Order) -> Value {
    let is_ready = order.proofs.iter().all(|proof| *proof == Some(Ok(())));
    let is_lost = order
        .proofs
        .iter()
        .any(|proof| matches!(proof, Some(Err(_))));
    let status = match () {
        () if order.chain.is_some() => "valid",
        () if is_lost => "invalid",
        () if is_ready => "ready",
        () => "pending",
    };
    let names = order.names.iter();
    let names = names.map(|name| json!({ "type": "dns", "value": name }));
    let of = (0..order.names.len()).map(|name| format!("{base}/authorization/{at}/{name}"));
    let mut value = json!({
        "status": status,
        "identifiers": names.collect::<Vec<_>>(),
        "authorizations": of.collect::<Vec<_>>(),
        "finalize": format!("{base}/finalize/{at}"),
    });
    if let Some(replaced) = &order.replaces {
        value["replaces"] = replaced.clone();
    }
    if order.chain.is_some() {
        value["certificate"] = format!("{base}/certificate/{at}").into();
    }
    value
}

fn authorization(base: &str, at: usize, name: usize, order: &Order) -> Value {
    let (status, error) = match &order.proofs[name] {
        None => ("pending", None),
        Some(Ok(())) => ("valid", None),
        Some(Err(why)) => ("invalid", Some(why)),
    };
    let challenge = |kind: &str| {
        let mut value = json!({
            "type": kind,
            "url": format!("{base}/challenge/{at}/{name}/{kind}"),
            "token": token(at, name),
            "status": status,
        });
        if let Some(why) = error {
            value["error"] =
                json!({ "type": "urn:ietf:params:acme:error:unauthorized", "detail": why });
        }
        value
    };
    json!({
        "status": status,
        "identifier": { "type": "dns", "value": order.names[name] },
        "challenges": [challenge("http-01"), challenge("tls-alpn-01")],
    })
}

fn token(at: usize, name: usize) -> String {
    format!("token-{at}-{name}")
}

/// RFC 7638, of a point.
fn thumbprint(point: &[u8]) -> String {
    let (x, y) = point[1..].split_at(32);
    let (x, y) = (BASE64.encode(x), BASE64.encode(y));
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref())
}

fn json_answer(value: &Value) -> Answer {
    Answer {
        status: "200 OK",
        header: String::new(),
        kind: "application/json",
        body: value.to_string(),
    }
}

fn problem(kind: &str, detail: &str) -> Answer {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    Answer {
        status: "400 Bad Request",
        kind: "application/problem+json",
        ..json_answer(&json!({ "type": kind, "detail": detail }))
    }
}

/// A whole answer that is a problem, with a header more: `429 Too Many Requests`, `rateLimited`, `Retry-After: 5`.
pub fn refusal(status: &str, kind: &str, header: &str) -> Mood {
    let body = problem(kind, "not today").body;
    let length = body.len();
    Mood::Says(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\nContent-Length: {length}\r\nConnection: close\r\n{header}\r\n\r\n{body}"
    ))
}
