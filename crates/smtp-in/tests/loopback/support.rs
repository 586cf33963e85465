//! A server on loopback with a service that reports what it sees, and a client that speaks in lines.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use envelope::{EnhancedStatus, Envelope, ForwardPath, Recipient, Reply, Verdict};
use parking_lot::Mutex;
use smtp::server::{self, Hello};
use smtp_in::{
    Client, Ending, Incident, Limits, Role, Service, Settings, TlsMode, Visit, bind, serve,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What the visits report, in order.
#[derive(Debug)]
pub(crate) enum Seen {
    Incident(Client, Incident),
    Hello(String),
    Draft(Box<Client>, Box<Envelope>),
    Message(Message),
    /// A draft was dropped without a commit.
    Abandoned,
}

/// What a draft had been given when it was committed.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) octets: usize,
    pub(crate) chunk_max: usize,
    /// The first megabyte of it.
    pub(crate) text: String,
}

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    /// Lets commits of mail from `wait@client.example` pass, and first chunks from `slow@client.example`.
    pub(crate) permits: Arc<Semaphore>,
    serving: JoinHandle<()>,
    seen: mpsc::UnboundedReceiver<Seen>,
    /// Whether every client is trusted.
    pub(crate) trusting: Arc<AtomicBool>,
    /// How long strangers must wait for the greeting.
    pub(crate) greet_wait: Arc<Mutex<Duration>>,
}

struct TestService {
    seen: mpsc::UnboundedSender<Seen>,
    permits: Arc<Semaphore>,
    trusting: Arc<AtomicBool>,
    greet_wait: Arc<Mutex<Duration>>,
}

struct TestVisit {
    service: Arc<TestService>,
    delay: Duration,
    commands: u64,
    draft: Option<TestDraft>,
}

struct TestDraft {
    service: Arc<TestService>,
    sender: String,
    message: Message,
    committed: bool,
}

/// The settings of one MX listener on 127.0.0.1, to be changed by the test.
pub(crate) fn settings() -> Settings {
    Settings {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        role: Role::Mx,
        tls: TlsMode::Off,
        proxy_from: Vec::new(),
        xclient_from: Vec::new(),
        session: server::Settings {
            hostname: "mx.example.org".to_owned(),
            ..server::Settings::default()
        },
    }
}

impl World {
    pub(crate) fn start(settings: Settings, limits: Limits) -> Self {
        let listeners = bind(vec![settings], vec![]).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let (sender, seen) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(0));
        let trusting = Arc::new(AtomicBool::new(false));
        let greet_wait = Arc::new(Mutex::new(Duration::ZERO));
        let service = Arc::new(TestService {
            seen: sender,
            permits: Arc::clone(&permits),
            trusting: Arc::clone(&trusting),
            greet_wait: Arc::clone(&greet_wait),
        });
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listeners, limits, service, shutdown.clone()));
        Self {
            address,
            shutdown,
            permits,
            serving,
            seen,
            trusting,
            greet_wait,
        }
    }

    pub(crate) async fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).await.unwrap())
    }

    pub(crate) async fn seen(&mut self) -> Seen {
        within(self.seen.recv()).await.unwrap()
    }

    /// Passes over everything up to the next message.
    pub(crate) async fn message(&mut self) -> Message {
        loop {
            if let Seen::Message(message) = self.seen().await {
                return message;
            }
        }
    }

    /// Passes over everything up to the next end of a connection.
    pub(crate) async fn closed(&mut self) -> (Client, Ending) {
        loop {
            if let Seen::Incident(client, Incident::Closed(ending)) = self.seen().await {
                return (client, ending);
            }
        }
    }

    /// Passes over everything up to the next incident.
    pub(crate) async fn incident(&mut self) -> (Client, Incident) {
        loop {
            if let Seen::Incident(client, incident) = self.seen().await {
                return (client, incident);
            }
        }
    }

    /// Waits until `serve` has returned.
    pub(crate) async fn over(self) {
        within(self.serving).await.unwrap();
    }
}

impl Service for TestService {
    type Visit = TestVisit;

    fn visit(self: &Arc<Self>) -> TestVisit {
        TestVisit {
            service: Arc::clone(self),
            delay: Duration::ZERO,
            commands: 0,
            draft: None,
        }
    }

    fn trusts(&self, _: IpAddr) -> bool {
        self.trusting.load(Ordering::Relaxed)
    }

    fn authenticates(&self) -> bool {
        true
    }

    fn greet_wait(&self, _: IpAddr) -> Duration {
        *self.greet_wait.lock()
    }
}

impl Visit for TestVisit {
    async fn connect(&mut self, client: &Client) -> Verdict {
        match client.talked_early {
            true => Verdict::Close(reply(554, "wait")),
            false => Verdict::Accept,
        }
    }

    fn commands(&mut self, client: &Client, commands: u64) -> Option<Reply> {
        let hello = client
            .hello
            .as_ref()
            .is_some_and(|hello| &*hello.name == "busy.example");
        self.commands += commands;
        (hello && self.commands > COMMANDS_MAX).then(|| reply(421, "too much"))
    }

    fn delay(&mut self) -> Duration {
        self.delay
    }

    async fn hello(&mut self, _client: &Client, hello: &Hello) -> Verdict {
        self.service.tell(Seen::Hello(hello.name.to_string()));
        match &*hello.name {
            "late.example" => {
                self.delay = DELAY;
                Verdict::Accept
            }
            "very-late.example" => {
                self.delay = FOREVER;
                Verdict::Accept
            }
            "unwelcome.example" => Verdict::Refuse(reply(550, "not you")),
            _ => Verdict::Accept,
        }
    }

    async fn rcpt(&mut self, _: &Client, _: &Envelope, recipient: &Recipient) -> Verdict {
        match recipient
            .forward_path
            .mailbox()
            .map(|m| m.local_part().as_str())
        {
            Some("nobody") => Verdict::Refuse(reply(550, "no such user")),
            Some("trap") => Verdict::Close(reply(421, "go away")),
            Some("bug") => panic!("a bug in the visit"),
            _ => Verdict::Accept,
        }
    }

    async fn data(&mut self, client: &Client, envelope: &Envelope) -> Verdict {
        let sender = envelope.reverse_path.to_string();
        if sender == "<full@client.example>" {
            return Verdict::Refuse(reply(452, "no room"));
        }
        let (client, envelope) = (Box::new(client.clone()), Box::new(envelope.clone()));
        self.service.tell(Seen::Draft(client, envelope));
        self.draft = Some(TestDraft {
            service: Arc::clone(&self.service),
            sender,
            message: Message {
                octets: 0,
                chunk_max: 0,
                text: String::new(),
            },
            committed: false,
        });
        Verdict::Accept
    }

    async fn write(&mut self, _: &Client, chunk: Vec<u8>) -> Result<(), Reply> {
        self.draft.as_mut().expect("a draft").write(&chunk).await
    }

    async fn commit(&mut self, _: &Client, _: &Envelope) -> Reply {
        self.draft.take().expect("a draft").commit().await
    }

    fn reset(&mut self) {
        self.draft = None;
    }

    fn observe(&mut self, client: &Client, incident: Incident) {
        self.service.tell(Seen::Incident(client.clone(), incident));
    }
}

impl TestService {
    fn tell(&self, seen: Seen) {
        let _ = self.seen.send(seen);
    }
}

impl TestDraft {
    async fn write(&mut self, chunk: &[u8]) -> Result<(), Reply> {
        if self.sender == "<slow@client.example>" && self.message.octets == 0 {
            self.service.permits.acquire().await.unwrap().forget();
        }
        let message = &mut self.message;
        message.octets += chunk.len();
        message.chunk_max = message.chunk_max.max(chunk.len());
        if message.octets < 1 << 20 {
            message.text.push_str(&String::from_utf8_lossy(chunk));
        }
        if self.sender == "<break@client.example>" && message.octets > BREAK_OCTETS {
            return Err(reply(451, "disk trouble"));
        }
        Ok(())
    }

    async fn commit(mut self) -> Reply {
        if self.sender == "<wait@client.example>" {
            self.service.permits.acquire().await.unwrap().forget();
        }
        self.committed = true;
        let empty = Message {
            octets: 0,
            chunk_max: 0,
            text: String::new(),
        };
        let message = std::mem::replace(&mut self.message, empty);
        self.service.tell(Seen::Message(message));
        Reply::new(250, EnhancedStatus::success(0, 0), "queued as TEST")
    }
}

impl Drop for TestDraft {
    fn drop(&mut self) {
        if !self.committed {
            self.service.tell(Seen::Abandoned);
        }
    }
}

/// Of the replies to `late.example`, and to `very-late.example`.
pub(crate) const DELAY: Duration = Duration::from_millis(30);
/// What `busy.example` may send.
pub(crate) const COMMANDS_MAX: u64 = 3;
/// Longer than any test runs.
pub(crate) const FOREVER: Duration = Duration::from_hours(1);

/// After how many octets the draft of `break@client.example` fails.
pub(crate) const BREAK_OCTETS: usize = 100_000;

pub(crate) fn forward_path(recipient: &Recipient) -> String {
    match &recipient.forward_path {
        ForwardPath::Postmaster => "postmaster".to_owned(),
        ForwardPath::Mailbox(mailbox) => mailbox.to_string(),
    }
}

fn reply(code: u16, text: &str) -> Reply {
    let status = match code / 100 {
        4 => EnhancedStatus::transient(3, 0),
        _ => EnhancedStatus::permanent(1, 1),
    };
    Reply::new(code, status, text)
}

/// A test that hangs fails instead, and says where.
#[track_caller]
pub(crate) fn within<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match timeout(Duration::from_secs(20), work).await {
            Ok(output) => output,
            Err(_) => panic!("nothing happened, at {caller}"),
        }
    }
}

pub(crate) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// A client that sends what it is told, and reads replies.
pub(crate) struct Peer {
    stream: Box<dyn Bytes>,
    input: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(stream: impl Bytes + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            input: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
        within(self.stream.flush()).await.unwrap();
    }

    /// Reads one reply, and checks how its last line begins.
    pub(crate) async fn expect(&mut self, beginning: &str) -> String {
        let reply = self.reply().await;
        let last = reply.trim_end().rsplit('\n').next().unwrap_or_default();
        assert!(
            last.starts_with(beginning),
            "{reply:?} is not {beginning:?}"
        );
        reply
    }

    /// Sends a command line and checks the reply.
    pub(crate) async fn ask(&mut self, command: &str, beginning: &str) -> String {
        self.send(format!("{command}\r\n")).await;
        self.expect(beginning).await
    }

    /// Greeting and EHLO.
    pub(crate) async fn hello(&mut self) -> String {
        self.expect("220 mx.example.org").await;
        self.ask("EHLO client.example", "250 ").await
    }

    /// MAIL, RCPT and DATA.
    pub(crate) async fn begin(&mut self, from: &str) {
        self.ask(&format!("MAIL FROM:<{from}>"), "250 ").await;
        self.ask("RCPT TO:<alice@example.org>", "250 ").await;
        self.ask("DATA", "354 ").await;
    }

    /// What comes in one read, or what was left over from the last.
    pub(crate) async fn read_once(&mut self) -> String {
        if self.input.is_empty() {
            self.fill().await;
        }
        String::from_utf8(std::mem::take(&mut self.input)).unwrap()
    }

    /// The server closes, and has nothing more to say.
    pub(crate) async fn expect_end(&mut self) {
        assert_eq!(
            self.fill().await,
            0,
            "{:?}",
            String::from_utf8_lossy(&self.input)
        );
    }

    pub(crate) fn into_stream(self) -> Box<dyn Bytes> {
        assert!(self.input.is_empty(), "unread: {:?}", self.input);
        self.stream
    }

    async fn reply(&mut self) -> String {
        loop {
            if let Some(end) = reply_end(&self.input) {
                let rest = self.input.split_off(end);
                let reply = std::mem::replace(&mut self.input, rest);
                return String::from_utf8(reply).unwrap();
            }
            let before = String::from_utf8_lossy(&self.input).into_owned();
            assert_ne!(self.fill().await, 0, "closed, after {before:?}");
        }
    }

    async fn fill(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let n = within(self.stream.read(&mut buffer)).await.unwrap_or(0);
        self.input.extend_from_slice(&buffer[..n]);
        n
    }
}

/// Where the first complete reply ends.
fn reply_end(input: &[u8]) -> Option<usize> {
    let mut end = 0;
    for line in input.split_inclusive(|b| *b == b'\n') {
        end += line.len();
        if line.ends_with(b"\r\n") && line.get(3) == Some(&b' ') {
            return Some(end);
        }
    }
    None
}
