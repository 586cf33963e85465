//! The campaign's destinations: one small SMTP server for all domains, which behaves as each mailbox's temper says.
//!
//! It keeps no mail: each message is compared with the ledger when it comes, booked, and dropped; a thousand runs
//! would not fit into memory. It knows a message by its reverse path, `m17@sender.test` within the SRS address, and so
//! recognises one whose bytes were damaged.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::dsn;
use super::ledger::{Copy, Ledger};
use super::world::{Place, Temper, World};

/// What all connections to all addresses share.
pub(super) struct Shared {
    pub(super) world: World,
    pub(super) ledger: Ledger,
    /// Who was put off already.
    late: Mutex<HashSet<(u64, Place)>>,
    connections: AtomicUsize,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            world: World::new(),
            ledger: Ledger::default(),
            late: Mutex::default(),
            connections: AtomicUsize::new(0),
        })
    }

    /// Closes the books on all mail so far.
    pub(super) fn forget(&self) {
        let mut books = self.ledger.books();
        books.messages.clear();
        books.kills.clear();
        books.findings.clear();
        books.open = 0;
        self.late
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Takes connections until the task is aborted. A moody host turns away one in [`MOOD`].
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>, moody: bool) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        let mut session = Session {
            run: shared.ledger.books().run,
            shared: Arc::clone(&shared),
            chunking: number.is_multiple_of(2),
            open: None,
        };
        let away = moody && number.is_multiple_of(MOOD);
        connections.spawn(async move { session.serve(stream, away).await });
        while connections.try_join_next().is_some() {}
    }
}

struct Session {
    shared: Arc<Shared>,
    run: u32,
    chunking: bool,
    open: Option<Transaction>,
}

#[derive(Default)]
struct Transaction {
    /// Of the message, from the reverse path; none for the null path.
    id: Option<u64>,
    /// Accepted mailboxes; of a DSN none.
    mailboxes: Vec<(Place, Temper)>,
    /// Whose mailbox a DSN goes to.
    sender: Option<u64>,
    chunks: Vec<u8>,
}

impl Session {
    async fn serve(&mut self, stream: TcpStream, away: bool) -> io::Result<()> {
        // One write for each reply; waiting for more would only slow the campaign down.
        stream.set_nodelay(true)?;
        let mut stream = BufStream::new(stream);
        if away {
            return say(&mut stream, "421 4.3.2 not now").await;
        }
        say(&mut stream, "220 sink.test").await?;
        let mut line = Vec::new();
        loop {
            line.clear();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            let verb = text.get(..4).unwrap_or_default().to_ascii_uppercase();
            let reply = match verb.as_str() {
                "EHLO" if self.chunking => {
                    "250-sink.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-DSN\r\n250 8BITMIME"
                }
                "EHLO" => "250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME",
                "MAIL" => {
                    let id = path(text).and_then(sender_of);
                    self.open = Some(Transaction {
                        id,
                        ..Transaction::default()
                    });
                    "250 2.1.0 ok"
                }
                "RCPT" => self.recipient(path(text).unwrap_or_default()),
                "DATA" if self.has_recipients() => {
                    say(&mut stream, "354 go on").await?;
                    let data = read_data(&mut stream).await?;
                    self.end(&data).await
                }
                "DATA" => "554 5.5.1 no valid recipients",
                "BDAT" => self.chunk(&mut stream, text).await?,
                "RSET" => {
                    self.open = None;
                    "250 2.0.0 ok"
                }
                "QUIT" => return say(&mut stream, "221 2.0.0 bye").await,
                _ => "500 5.5.2 unknown",
            };
            say(&mut stream, reply).await?;
        }
    }

    fn has_recipients(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.sender.is_some() || !open.mailboxes.is_empty())
    }

    fn recipient(&mut self, address: &str) -> &'static str {
        let Some(open) = &mut self.open else {
            return "503 5.5.1 MAIL first";
        };
        let Some((place, temper)) = self.shared.world.mailbox(address) else {
            // Only DSNs go to senders; anything else shows as a copy at no place.
            open.sender = sender_of(address).filter(|_| open.id.is_none());
            let known = open.sender.is_some();
            return if known {
                "250 2.1.5 ok"
            } else {
                "550 5.1.1 nobody"
            };
        };
        match temper {
            Temper::BadAtRcpt => return "550 5.1.1 no such user",
            Temper::LateAtRcpt if put_off(&self.shared, open.id, &[(place, temper)]) => {
                return "450 4.2.1 not yet";
            }
            _ => {}
        }
        open.mailboxes.push((place, temper));
        "250 2.1.5 ok"
    }

    async fn chunk(
        &mut self,
        stream: &mut BufStream<TcpStream>,
        line: &str,
    ) -> io::Result<&'static str> {
        let mut words = line.split_whitespace().skip(1);
        let octets: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let mut chunk = Vec::new();
        if (&mut *stream).take(octets).read_to_end(&mut chunk).await? as u64 != octets {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !self.has_recipients() {
            return Ok("554 5.5.1 no valid recipients");
        }
        let Some(open) = &mut self.open else {
            return Ok("503 5.5.1 MAIL first");
        };
        open.chunks.append(&mut chunk);
        if words.next().is_none() {
            return Ok("250 2.0.0 chunk taken");
        }
        let data = std::mem::take(&mut open.chunks);
        Ok(self.end(&data).await)
    }

    /// The end of the data: the answer. What is answered 250 is in the books before.
    async fn end(&mut self, data: &[u8]) -> &'static str {
        let Some(open) = self.open.take() else {
            return "503 5.5.1 MAIL first";
        };
        let any = |temper| open.mailboxes.iter().any(|&(_, its)| its == temper);
        if any(Temper::BadAtDot) {
            return "554 5.6.0 not wanted";
        }
        if any(Temper::LateAtDot) && put_off(&self.shared, open.id, &open.mailboxes) {
            return "451 4.3.0 not yet";
        }
        if any(Temper::Slow) {
            tokio::time::sleep(SLOW).await;
        }
        match (open.id, open.sender) {
            (Some(id), _) => self.copies(id, &open.mailboxes, data),
            (None, Some(id)) => self.report(id, data),
            (None, None) => self.note(format!(
                "mail from <> or a stranger to {:?}",
                open.mailboxes
            )),
        }
        "250 2.0.0 taken"
    }

    fn copies(&self, id: u64, mailboxes: &[(Place, Temper)], data: &[u8]) {
        let trace = match self.shared.ledger.trace_above(id, data) {
            Ok(trace) => trace,
            Err(what) => return self.note(format!("{DAMAGED} m{id}: {what}")),
        };
        let origin = dsn::relay_id(trace).unwrap_or_default();
        let at = Instant::now();
        let copies = mailboxes.iter().map(|&(place, _)| Copy {
            place,
            origin: origin.clone(),
            name: origin.clone(),
            run: self.run,
            at,
        });
        self.shared.ledger.arrived(id, copies);
    }

    fn report(&self, id: u64, data: &[u8]) {
        let Some(report) = dsn::read(&String::from_utf8_lossy(data)) else {
            return self.note(format!("a DSN to m{id} that cannot be read"));
        };
        let at = Instant::now();
        let mut copies = Vec::new();
        for recipient in report.failed {
            match self.shared.world.report(&recipient) {
                Some(place) => copies.push(Copy {
                    place,
                    origin: report.origin.clone(),
                    name: report.name.clone(),
                    run: self.run,
                    at,
                }),
                None => self.note(format!("m{id}: a DSN about {recipient}, which works")),
            }
        }
        self.shared.ledger.arrived(id, copies);
    }

    fn note(&self, finding: String) {
        self.shared.ledger.books().note(finding);
    }
}

/// True the first time that one of these is asked for.
fn put_off(shared: &Shared, id: Option<u64>, mailboxes: &[(Place, Temper)]) -> bool {
    let mut late = shared.late.lock().unwrap_or_else(PoisonError::into_inner);
    let id = id.unwrap_or(u64::MAX);
    let fresh = mailboxes
        .iter()
        .filter(|&&(place, _)| late.insert((id, place)));
    fresh.count() > 0
}

/// Between the angle brackets.
fn path(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once('<')?;
    Some(rest.split_once('>')?.0)
}

/// 17 of `m17@sender.test`, plain or at the end of an SRS0 address.
fn sender_of(address: &str) -> Option<u64> {
    let (local, _) = address.rsplit_once('@')?;
    let original = local.rsplit('=').next()?;
    original.strip_prefix('m')?.parse().ok()
}

/// Lines up to the dot, dots unstuffed.
async fn read_data(stream: &mut BufStream<TcpStream>) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let start = data.len();
        while !data[start..].ends_with(b"\r\n") {
            if stream.read_until(b'\n', &mut data).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if data[start..] == *b".\r\n" {
            data.truncate(start);
            return Ok(data);
        }
        if data[start] == b'.' {
            data.remove(start);
        }
    }
}

async fn say(stream: &mut BufStream<TcpStream>, reply: &str) -> io::Result<()> {
    stream.write_all(reply.as_bytes()).await?;
    stream.write_all(b"\r\n").await?;
    stream.flush().await
}

/// How findings about changed bytes begin.
pub(super) const DAMAGED: &str = "damaged:";
/// A moody host sends away every so many-th connection.
const MOOD: usize = 4;
/// How long a slow host thinks: long enough that a kill often falls between data and answer.
const SLOW: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_known_by_their_srs_address() {
        assert_eq!(sender_of("SRS0=HaSh=TT=sender.test=m17@fwd.test"), Some(17));
        assert_eq!(sender_of("m17@sender.test"), Some(17));
        assert_eq!(sender_of("box@fine0-0.test"), None);
        assert_eq!(path("MAIL FROM:<> SIZE=1"), Some(""));
    }
}
