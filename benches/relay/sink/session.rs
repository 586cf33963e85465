//! One connection to the sink: commands in, answers by script out.
//!
//! It takes what a relay sends and checks little of the protocol: the order of commands, and that a message has a recipient. Answers
//! are held until there is nothing more to read, so that pipelined commands cost one write.

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
use super::site::{OpenConnection, hash};
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

struct Session {
    stream: Box<dyn Stream>,
    peer: SocketAddr,
    open: OpenConnection,
    shared: Arc<Shared>,
    /// As it was at the last EHLO or MAIL.
    script: Arc<Script>,
    rng: SmallRng,
    out: Vec<u8>,
    transaction: Option<Transaction>,
    state: State,
    /// Answered 250, but the answer is not written yet.
    unrecorded: Vec<Delivery>,
    /// Messages taken over this connection.
    messages: u64,
    is_tls: bool,
}

/// What the next octets are.
enum State {
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
struct Transaction {
    kind: PathKind,
    from: Vec<u8>,
    recipients: Vec<u64>,
    /// What BDAT brought so far.
    body: Option<Body>,
}

/// How the script wants something answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Yes,
    Defer,
    Refuse,
    Drop,
}

/// What to do after a command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
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

    async fn command(&mut self, line: &[u8]) -> io::Result<Next> {
        let mut verb = [0; 4];
        let length = line.len().min(4);
        verb[..length].copy_from_slice(&line[..length]);
        verb.make_ascii_uppercase();
        match &verb {
            b"MAIL" => return self.mail(line).await,
            b"RCPT" => return self.rcpt(line).await,
            b"DATA" => return self.data().await,
            b"BDAT" => return self.bdat(line).await,
            b"EHLO" | b"HELO" => return self.hello(&verb).await,
            b"STAR" if self.script.starttls && !self.is_tls => {
                self.say("220 2.0.0 go ahead");
                self.flush().await?;
                return Ok(Next::StartTls);
            }
            b"RSET" => {
                self.transaction = None;
                self.say("250 2.0.0 ok");
            }
            b"NOOP" => self.say("250 2.0.0 ok"),
            b"QUIT" => {
                self.say("221 2.0.0 bye");
                return Ok(Next::Close);
            }
            _ => self.say("500 5.5.2 unknown command"),
        }
        Ok(Next::Go)
    }

    async fn hello(&mut self, verb: &[u8; 4]) -> io::Result<Next> {
        self.script = self.open.site.script.load_full();
        let fate = self.fate(Phase::Hello).await?;
        if fate != Fate::Yes {
            return Ok(self.deny(fate, "421 4.3.2 not now", "554 5.3.2 never"));
        }
        if verb == b"HELO" {
            self.say("250 sink.example");
            return Ok(Next::Go);
        }
        let script = Arc::clone(&self.script);
        self.say("250-sink.example");
        let offers = [
            (script.pipelining, "250-PIPELINING"),
            (script.chunking, "250-CHUNKING"),
            (script.starttls && !self.is_tls, "250-STARTTLS"),
        ];
        for (_, line) in offers.iter().filter(|(is_offered, _)| *is_offered) {
            self.say(line);
        }
        self.say("250-SIZE 1073741824");
        self.say("250-8BITMIME");
        self.say("250-SMTPUTF8");
        self.say("250 ENHANCEDSTATUSCODES");
        Ok(Next::Go)
    }

    async fn mail(&mut self, line: &[u8]) -> io::Result<Next> {
        self.script = self.open.site.script.load_full();
        if (self.script.messages_max).is_some_and(|max| self.messages >= max) {
            self.open.site.counts().deferred += 1;
            self.say("421 4.7.0 enough for one connection");
            return Ok(Next::Close);
        }
        let Some(from) = path(line).filter(|_| self.transaction.is_none()) else {
            self.say("503 5.5.1 not now, or no path");
            return Ok(Next::Go);
        };
        let fate = self.fate(Phase::Mail).await?;
        if fate != Fate::Yes {
            return Ok(self.deny(fate, "451 4.3.0 try later", "550 5.7.1 not from you"));
        }
        let kind = PathKind::of(from);
        self.open.site.counts().count_path(kind);
        self.shared.keep_reverse_path(kind, from);
        self.transaction = Some(Transaction {
            kind,
            from: from.to_vec(),
            recipients: Vec::new(),
            body: None,
        });
        self.say("250 2.1.0 ok");
        Ok(Next::Go)
    }

    async fn rcpt(&mut self, line: &[u8]) -> io::Result<Next> {
        let (Some(to), Some(transaction)) = (path(line), &self.transaction) else {
            self.say("503 5.5.1 not now, or no path");
            return Ok(Next::Go);
        };
        let taken = transaction.recipients.len();
        if (self.script.recipients_max).is_some_and(|max| taken >= max) {
            self.open.site.counts().deferred += 1;
            self.say("452 4.5.3 too many recipients");
            return Ok(Next::Go);
        }
        let to = hash(&to);
        let (site, peer) = (&self.open.site, self.peer.ip());
        if site.is_too_early(&self.script, peer, &transaction.from, to) {
            site.counts().deferred += 1;
            self.say("451 4.7.1 greylisted, come back later");
            return Ok(Next::Go);
        }
        let fate = self.fate(Phase::Rcpt).await?;
        if fate != Fate::Yes {
            return Ok(self.deny(fate, "451 4.3.0 try later", "550 5.1.1 no such user"));
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.recipients.push(to);
        }
        self.say("250 2.1.5 ok");
        Ok(Next::Go)
    }

    async fn data(&mut self) -> io::Result<Next> {
        if !self.has_recipients() {
            self.say("554 5.5.1 no valid recipients");
            return Ok(Next::Go);
        }
        let fate = self.fate(Phase::Data).await?;
        if fate != Fate::Yes {
            return Ok(self.deny(fate, "451 4.3.0 try later", "554 5.7.1 no"));
        }
        self.say("354 go ahead");
        self.state = State::Data(Body::default());
        Ok(Next::Go)
    }

    async fn bdat(&mut self, line: &[u8]) -> io::Result<Next> {
        let mut words = line[4..].split(|b| *b == b' ').filter(|w| !w.is_empty());
        let octets = words.next().and_then(|word| std::str::from_utf8(word).ok());
        let Some(left) = octets.and_then(|octets| octets.parse().ok()) else {
            self.say("501 5.5.4 how many octets?");
            return Ok(Next::Close);
        };
        let is_last = words
            .next()
            .is_some_and(|w| w.eq_ignore_ascii_case(b"LAST"));
        let body = self.transaction.as_mut().and_then(|open| open.body.take());
        self.state = State::Chunk {
            body: body.unwrap_or_default(),
            left,
            is_last,
        };
        self.end_of_chunk().await
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
    async fn end_of_chunk(&mut self) -> io::Result<Next> {
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
    async fn fate(&mut self, phase: Phase) -> io::Result<Fate> {
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
    fn deny(&mut self, fate: Fate, later: &str, never: &str) -> Next {
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

    fn has_recipients(&self) -> bool {
        let transaction = self.transaction.as_ref();
        transaction.is_some_and(|open| !open.recipients.is_empty())
    }

    fn say(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes the answers; what they accept is recorded now.
    async fn flush(&mut self) -> io::Result<()> {
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

/// What stands in the angle brackets.
fn path(line: &[u8]) -> Option<&[u8]> {
    let start = memchr::memchr(b'<', line)? + 1;
    let length = memchr::memchr(b'>', &line[start..])?;
    Some(&line[start..start + length])
}

/// Octets that are read at a time.
const BUFFER: usize = 64 << 10;
/// A slow reader reads this often.
const SLOW_STEP: Duration = Duration::from_millis(50);
