//! A web service that knows where addresses go: `?address=…` and `?domain=…`, with what a test tells it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running service; dropped, it stops, and its connections end.
pub struct Lookup {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// By what is asked: `address=alice@example.org`.
    answers: BTreeMap<String, String>,
    asked: Vec<String>,
    /// Said to everything, if there is one.
    status: Option<&'static str>,
    is_silent: bool,
}

impl Lookup {
    /// Listens on loopback; knows nobody.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let mut serving = JoinSet::new();
        let shared = Arc::clone(&state);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            address,
            state,
            _serving: serving,
        }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/lookup?token=x", self.address)
    }

    /// Answers `question` (`address=…`, `domain=…`) so from now on.
    pub fn says(&self, question: &str, json: &str) {
        let mut state = self.lock();
        state.answers.insert(question.to_owned(), json.to_owned());
    }

    /// Knows nothing of `question` from now on.
    pub fn forgets(&self, question: &str) {
        self.lock().answers.remove(question);
    }

    /// A hosted domain, and where an address in it goes.
    pub fn forwards(&self, address: &str, target: &str) {
        let domain = address.rsplit('@').next().unwrap_or_default();
        self.says(&format!("domain={domain}"), "{\"options\":{}}");
        let json = format!("{{\"targets\":[\"{target}\"]}}");
        self.says(&format!("address={address}"), &json);
    }

    /// Says this status to all, or what it knows.
    pub fn fails(&self, status: Option<&'static str>) {
        self.lock().status = status;
    }

    /// Says nothing at all from now on.
    pub fn falls_silent(&self) {
        self.lock().is_silent = true;
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().asked)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut request).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        request.clear();
        let question = text
            .split(' ')
            .nth(1)
            .and_then(|path| path.rsplit('&').next());
        let question = question
            .unwrap_or_default()
            .replace("%40", "@")
            .replace("%2B", "+");
        let answer = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.asked.push(question.clone());
            match (state.is_silent, state.status, state.answers.get(&question)) {
                (true, ..) => None,
                (_, Some(status), _) => Some((status, String::new())),
                (_, _, Some(json)) => Some((JSON, json.clone())),
                (_, _, None) => Some((NONE, "{}".to_owned())),
            }
        };
        let Some((status, body)) = answer else {
            return std::future::pending().await;
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

const JSON: &str = "200 OK\r\nContent-Type: application/json";
const NONE: &str = "404 Not Found\r\nContent-Type: application/json";
