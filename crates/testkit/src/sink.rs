//! A destination for mail: a small SMTP server that answers as scripted and keeps every message it took.
//!
//! It is written by hand, apart from the relay's own server. It has PIPELINING, SIZE, 8BITMIME, SMTPUTF8,
//! DSN and, with an [`Identity`], STARTTLS. To a client that says LHLO it speaks LMTP: `dot` is asked for each recipient. The script's format is in `sink/script.rs`.
//! It does *not* check much: what a peer may not send shows in the recorded [`Received`] and is the test's to judge.

pub(crate) mod script;
pub(crate) mod session;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::PATIENCE;
use crate::tls::Identity;
use script::{Action, Script};
use session::{Asked, Host};

/// A running destination; dropped, it stops listening and cuts its connections.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

/// One message that the sink answered 250 for.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// The reverse path as it came, without the angle brackets; empty for `<>`.
    pub from: String,
    /// The parameters of MAIL, as they came.
    pub from_parameters: Vec<String>,
    /// The recipients that were accepted, in order.
    pub recipients: Vec<Recipient>,
    /// The message, dots unstuffed.
    pub data: Vec<u8>,
    /// The name in EHLO or HELO.
    pub hello: String,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Which connection of this sink it came over, from 1.
    pub connection: usize,
    /// Where that connection came from.
    pub peer: SocketAddr,
}

/// One accepted RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The forward path without the angle brackets.
    pub to: String,
    /// Its parameters, as they came.
    pub parameters: Vec<String>,
}

impl Received {
    /// The message as text, for looking into it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// What stands in its first `Subject:`; empty when there is none.
    pub fn subject(&self) -> String {
        let text = self.text();
        let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
        let subject = lines.find_map(|line| line.strip_prefix("Subject: "));
        subject.unwrap_or_default().to_owned()
    }

    /// The reverse path and the accepted recipients.
    pub fn envelope(&self) -> (&str, Vec<&str>) {
        (&self.from, self.to())
    }

    /// The accepted recipients' addresses.
    pub fn to(&self) -> Vec<&str> {
        self.recipients
            .iter()
            .map(|recipient| recipient.to.as_str())
            .collect()
    }
}

/// For a failed test: what a reader can read.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, parameters) = (&self.from, self.from_parameters.join(" "));
        writeln!(f, "MAIL FROM:<{from}> {parameters}")?;
        for recipient in &self.recipients {
            let parameters = recipient.parameters.join(" ");
            writeln!(f, "RCPT TO:<{}> {parameters}", recipient.to)?;
        }
        let (hello, peer, connection) = (&self.hello, self.peer, self.connection);
        writeln!(f, "(from {hello} at {peer}, connection {connection})")?;
        let shown = &self.data[..self.data.len().min(SHOWN_OCTETS_MAX)];
        writeln!(f, "{}", String::from_utf8_lossy(shown))
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    tls: Option<TlsAcceptor>,
}

struct State {
    script: Script,
    received: Vec<Received>,
    taken: usize,
    connections: usize,
    transcript: Vec<String>,
}

impl Sink {
    /// Listens on `address` and answers as the script says (`""` accepts all).
    ///
    /// # Panics
    /// When the address is taken or the script is not understood.
    pub async fn start(address: SocketAddr, script: &str) -> Self {
        Self::with_tls(address, script, None).await
    }

    /// As [`Sink::start`]; with an identity it offers STARTTLS.
    pub async fn with_tls(address: SocketAddr, script: &str, identity: Option<&Identity>) -> Self {
        let listener = TcpListener::bind(address)
            .await
            .unwrap_or_else(|error| panic!("sink cannot listen on {address}: {error}"));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                script: Script::parse(script),
                received: Vec::new(),
                taken: 0,
                connections: 0,
                transcript: Vec::new(),
            }),
            changed: Notify::new(),
            tls: identity.map(Identity::acceptor),
        });
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let listening = tokio::spawn(session::listen(listener, shared.guests()));
        Self {
            address,
            shared,
            listening,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on answers as this script says.
    pub fn script(&self, script: &str) {
        self.shared.lock().script = Script::parse(script);
    }

    /// How many connections were made to it so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// All messages so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().received.clone()
    }

    /// The next message that no call has returned yet.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`]; shows what was said.
    pub async fn message(&self) -> Received {
        let mut taken = None;
        self.until("a message", |state| {
            taken = state.received.get(state.taken).cloned();
            state.taken += usize::from(taken.is_some());
            taken.is_some()
        })
        .await;
        taken.expect("just found")
    }

    /// Waits until it has `count` messages in all, and returns them.
    ///
    /// # Panics
    /// When they do not come within [`PATIENCE`].
    pub async fn messages(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} messages");
        self.until(&what, |state| state.received.len() >= count)
            .await;
        self.received()
    }

    /// Waits until its messages are as `reached` wants them; `what` says so in the message of a failure.
    ///
    /// # Panics
    /// When they are not within [`PATIENCE`].
    pub async fn received_until(&self, what: &str, mut reached: impl FnMut(&[Received]) -> bool) {
        self.until(what, |state| reached(&state.received)).await;
    }

    /// Waits until `count` connections were made to it.
    ///
    /// # Panics
    /// When they are not made within [`PATIENCE`].
    pub async fn connected(&self, count: usize) {
        let what = format!("{count} connections");
        self.until(&what, |state| state.connections >= count).await;
    }

    /// The commands and replies so far, `C: ` and `S: `, without message bytes.
    pub fn transcript(&self) -> Vec<String> {
        self.shared.lock().transcript.clone()
    }

    async fn until(&self, what: &str, mut reached: impl FnMut(&mut State) -> bool) {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                if reached(&mut self.shared.lock()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let state = self.shared.lock();
            panic!(
                "sink {} waited for {what}; it has {} messages over {} connections:\n{}",
                self.address,
                state.received.len(),
                state.connections,
                state.transcript.join("\n")
            );
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A connection to a [`Sink`].
struct Guest {
    shared: Arc<Shared>,
    connection: usize,
}

impl Host for Guest {
    fn connection(&self) -> usize {
        self.connection
    }

    fn offer(&self) -> Vec<String> {
        self.shared.lock().script.offer().to_vec()
    }

    fn tls(&self) -> Option<TlsAcceptor> {
        self.shared.tls.clone()
    }

    async fn answer(&self, asked: Asked<'_>) -> Vec<Action> {
        self.shared.lock().script.take(asked.phase, asked.line)
    }

    fn took(&self, message: Received) {
        self.shared.lock().received.push(message);
        self.shared.changed.notify_waiters();
    }

    fn note(&self, who: &str, line: &str) {
        let transcript = &mut self.shared.lock().transcript;
        if transcript.len() < TRANSCRIPT_LINES_MAX {
            transcript.push(format!("{}{who}: {line}", self.connection));
        }
    }
}

impl Shared {
    fn guests(self: &Arc<Self>) -> impl Fn() -> Guest + use<> {
        let shared = Arc::clone(self);
        move || {
            let connection = {
                let mut state = shared.lock();
                state.connections += 1;
                state.connections
            };
            shared.changed.notify_waiters();
            Guest {
                shared: Arc::clone(&shared),
                connection,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enough for any one scenario; a load test's commands are of no use to a reader.
const TRANSCRIPT_LINES_MAX: usize = 2_000;
const SHOWN_OCTETS_MAX: usize = 4_000;
