//! One connection to the sink: commands in, answers by script out.
//!
//! It takes what a relay sends and checks little of the protocol: the order of commands, and that a message has a recipient. Answers
//! are held until there is nothing more to read, so that pipelined commands cost one write. What each command does is in `commands.rs`.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::body::Body;
use super::ledger::{Delivery, PathKind};
use super::site::OpenConnection;
use super::{Phase, Script, Shared};

/// Talks until the peer or the script ends it.
///
/// # Errors
/// Of the network; nobody needs to know.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    open: OpenConnection,
    shared: Arc<Shared>,
    seed: u64,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let script = open.site.script.load_full();
    let is_one_too_many = script.connections_max.is_some_and(|max| open.number > max);
    let mut session = Session {
        stream: Box::new(stream),
        peer,
        open,
        shared,
        script,
        rng: SmallRng::seed_from_u64(seed),
        out: Vec::new(),
        transaction: None,
        state: State::Command,
        unrecorded: Vec::new(),
        messages: 0,
        is_tls: false,
    };
    if is_one_too_many {
        session.open.site.counts().turned_away += 1;
        session.say("421 4.7.0 too many connections");
        return session.flush().await;
    }
    match session.fate(Phase::Greeting).await? {
        Fate::Yes => session.say("220 sink.example ESMTP"),
        Fate::Defer => session.say("421 4.3.2 not now"),
        Fate::Refuse => session.say("554 5.3.2 never"),
        Fate::Drop => return Ok(()),
    }
    session.flush().await?;
    while session.run().await? == Ended::StartTls {
        session = session.start_tls().await?;
    }
    Ok(())
}

/// Plain or TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection after its greeting.
pub(super) struct Session {
    stream: Box<dyn Stream>,
    pub(super) peer: SocketAddr,
    pub(super) open: OpenConnection,
    pub(super) shared: Arc<Shared>,
    /// As it was at the last EHLO or MAIL.
    pub(super) script: Arc<Script>,
    rng: SmallRng,
    out: Vec<u8>,
    pub(super) transaction: Option<Transaction>,
    pub(super) state: State,
    /// Answered 250, but the answer is not written yet.
    unrecorded: Vec<Delivery>,
    /// Messages taken over this connection.
    pub(super) messages: u64,
    pub(super) is_tls: bool,
}

/// What the next octets are.
pub(super) enum State {
    Command,
    Data(Body),
    /// This many octets of a chunk are missing.
    Chunk {
        body: Body,
        left: u64,
        is_last: bool,
    },
}

/// A message before its data.
pub(super) struct Transaction {
    pub(super) kind: PathKind,
    pub(super) from: Vec<u8>,
    pub(super) recipients: Vec<u64>,
    /// What BDAT brought so far.
    pub(super) body: Option<Body>,
}

/// How the script wants something answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Yes,
    Defer,
    Refuse,
    Drop,
}

/// What to do after a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    StartTls,
    Close,
}

/// Why reading ended.
#[derive(PartialEq, Eq)]
enum Ended {
    Closed,
    StartTls,
}

impl Session {
    async fn run(&mut self) -> io::Result<Ended> {
        let mut buffer = vec![0; BUFFER];
        let (mut start, mut end) = (0, 0);
        loop {
            match self.consume(&buffer[start..end]).await? {
                (used, Next::Go) => start += used,
                (_, Next::StartTls) => return Ok(Ended::StartTls),
                (_, Next::Close) => {
                    self.flush().await?;
                    return Ok(Ended::Closed);
                }
            }
            self.flush().await?;
            if start == end {
                (start, end) = (0, 0);
            } else if end == buffer.len() {
                buffer.copy_within(start..end, 0);
                (start, end) = (0, end - start);
            }
            if end == buffer.len() {
                // A command as long as the buffer.
                return Ok(Ended::Closed);
            }
            let room = throttle(self.script.read_rate, buffer.len() - end).await;
            let read = self.stream.read(&mut buffer[end..end + room]).await?;
            if read == 0 {
                return Ok(Ended::Closed);
            }
            end += read;
        }
    }

    /// Takes all that is complete; how much that was.
    async fn consume(&mut self, input: &[u8]) -> io::Result<(usize, Next)> {
        let mut at = 0;
        while at < input.len() {
            match &mut self.state {
                State::Command => {
                    let Some(length) = memchr::memchr(b'\n', &input[at..]) else {
                        break;
                    };
                    let line = input[at..at + length].trim_ascii_end();
                    at += length + 1;
                    let next = self.command(line).await?;
                    if next != Next::Go {
                        return Ok((at, next));
                    }
                }
                State::Data(body) => {
                    let (used, is_over) = body.data(&input[at..]);
                    at += used;
                    if is_over {
                        let body = mem::take(body);
                        if self.end_of_message(body).await? == Next::Close {
                            return Ok((at, Next::Close));
                        }
                    }
                }
                State::Chunk { .. } => {
                    at += self.chunk(&input[at..]);
                    if self.end_of_chunk().await? == Next::Close {
                        return Ok((at, Next::Close));
                    }
                }
            }
        }
        Ok((at, Next::Go))
    }

    /// Takes octets of a chunk; how many.
    fn chunk(&mut self, input: &[u8]) -> usize {
        let State::Chunk { body, left, .. } = &mut self.state else {
            return 0;
        };
        let used = input
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        body.chunk(&input[..used]);
        *left -= used as u64;
        used
    }

    /// Answers a chunk, if it is complete.
    pub(super) async fn end_of_chunk(&mut self) -> io::Result<Next> {
        if matches!(&self.state, State::Chunk { left: 1.., .. }) {
            return Ok(Next::Go);
        }
        let State::Chunk { body, is_last, .. } = mem::replace(&mut self.state, State::Command)
        else {
            return Ok(Next::Go);
        };
        if !self.has_recipients() {
            self.say("554 5.5.1 no valid recipients");
        } else if is_last {
            return self.end_of_message(body).await;
        } else if let Some(transaction) = &mut self.transaction {
            transaction.body = Some(body);
            self.say("250 2.0.0 go on");
        }
        Ok(Next::Go)
    }

    async fn end_of_message(&mut self, body: Body) -> io::Result<Next> {
        self.state = State::Command;
        let Some(transaction) = self.transaction.take() else {
            unreachable!("data are taken in a transaction only");
        };
        let fate = self.fate(Phase::Dot).await?;
        if fate != Fate::Yes {
            return Ok(self.deny(fate, "451 4.3.0 try later", "554 5.7.1 not this"));
        }
        self.messages += 1;
        self.open
            .site
            .counts()
            .count_message(transaction.recipients.len(), body.octets());
        self.unrecorded.push(Delivery {
            arrived: body.finish(transaction.kind == PathKind::Null),
            kind: transaction.kind,
            recipients: transaction.recipients,
        });
        self.say("250 2.0.0 ok");
        Ok(Next::Go)
    }

    /// Waits as long as the script says, and draws.
    pub(super) async fn fate(&mut self, phase: Phase) -> io::Result<Fate> {
        let rule = *self.script.at(phase);
        if !rule.wait.is_zero() {
            self.flush().await?;
            tokio::time::sleep(rule.wait).await;
        }
        let mut hits = |share: f64| share > 0.0 && self.rng.random::<f64>() < share;
        if hits(rule.drop) {
            self.open.site.counts().dropped += 1;
            // What was answered before is the peer's to know.
            self.flush().await?;
            return Ok(Fate::Drop);
        }
        if hits(rule.defer) {
            return Ok(Fate::Defer);
        }
        Ok(if hits(rule.refuse) {
            Fate::Refuse
        } else {
            Fate::Yes
        })
    }

    /// Answers what is not accepted.
    pub(super) fn deny(&mut self, fate: Fate, later: &str, never: &str) -> Next {
        match fate {
            Fate::Yes => unreachable!("only what is not accepted is denied"),
            Fate::Defer => {
                self.open.site.counts().deferred += 1;
                self.say(later);
            }
            Fate::Refuse => {
                self.open.site.counts().refused += 1;
                self.say(never);
            }
            Fate::Drop => return Next::Close,
        }
        if later.starts_with("421") && fate == Fate::Defer {
            return Next::Close;
        }
        Next::Go
    }

    pub(super) fn has_recipients(&self) -> bool {
        let transaction = self.transaction.as_ref();
        transaction.is_some_and(|open| !open.recipients.is_empty())
    }

    pub(super) fn say(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes the answers; what they accept is recorded now.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.out).await?;
        self.stream.flush().await?;
        self.out.clear();
        if !self.unrecorded.is_empty() {
            self.shared.record(&self.unrecorded);
            self.unrecorded.clear();
        }
        Ok(())
    }

    async fn start_tls(self) -> io::Result<Self> {
        let stream = self.shared.acceptor().accept(self.stream).await?;
        Ok(Self {
            stream: Box::new(stream),
            transaction: None,
            is_tls: true,
            ..self
        })
    }
}

/// How much to read now: a slow reader waits first, and takes little.
async fn throttle(rate: Option<u64>, room: usize) -> usize {
    let Some(rate) = rate else {
        return room;
    };
    tokio::time::sleep(SLOW_STEP).await;
    let step = rate.saturating_mul(SLOW_STEP.as_millis() as u64) / 1000;
    usize::try_from(step).unwrap_or(usize::MAX).clamp(1, room)
}

/// Octets that are read at a time.
const BUFFER: usize = 64 << 10;
/// A slow reader reads this often.
const SLOW_STEP: Duration = Duration::from_millis(50);
