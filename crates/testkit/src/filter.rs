//! A content filter that says what the test wants: rspamd's HTTP, clamd's INSTREAM, or a milter's script (`milter.rs`).
//!
//! It reads a whole question, keeps it, and writes its answer, however wrong that is.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::milter;

/// A running filter; dropped, it stops listening.
pub struct Filter {
    address: SocketAddr,
    kind: Kind,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<Asked>>,
}

/// What it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `POST /checkv2`.
    Rspamd,
    /// `zINSTREAM`.
    Clamd,
    /// As `milter.rs` has it: what it says is a script.
    Milter,
}

/// A question.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The request line and headers of HTTP.
    pub head: String,
    /// The message.
    pub body: Vec<u8>,
}

/// What it does when it has read a question.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Says this and closes: rspamd's JSON, or clamd's line.
    Say(String),
    /// Sends these octets, as they are, and closes.
    Raw(String),
    /// Nothing, and keeps the connection.
    Hang,
    /// Sends the first, and then the second for ever.
    Endless(String, String),
}

impl Filter {
    /// Listens on a port of its own.
    pub async fn start(kind: Kind, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            asked: Mutex::default(),
        });
        let with = Arc::clone(&shared);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let with = Arc::clone(&with);
                tokio::spawn(async move { serve(stream, kind, &with).await });
            }
        });
        Self {
            address,
            kind,
            shared,
            listening,
        }
    }

    /// As a `[[filter]]` is configured, in one line.
    pub fn configured(&self, name: &str, more: &str) -> String {
        let (kind, address) = match self.kind {
            Kind::Rspamd => ("rspamd", format!("http://{}", self.address)),
            Kind::Clamd => ("clamd", format!("inet:{}", self.address)),
            Kind::Milter => ("milter", format!("inet:{}", self.address)),
        };
        format!("{{ name = \"{name}\", kind = \"{kind}\", address = \"{address}\"{more} }}")
    }

    /// Answers so from now on.
    pub fn answers(&self, answer: Answer) {
        *lock(&self.shared.answer) = answer;
    }

    /// All questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(stream: TcpStream, kind: Kind, shared: &Shared) -> io::Result<()> {
    let answer = lock(&shared.answer).clone();
    if let (Kind::Milter, Answer::Say(script)) = (kind, &answer) {
        return milter::speak(stream, script).await;
    }
    let mut stream = BufReader::new(stream);
    let asked = match kind {
        Kind::Rspamd => http(&mut stream).await?,
        Kind::Clamd => instream(&mut stream).await?,
        Kind::Milter => Asked::default(),
    };
    lock(&shared.asked).push(asked);
    let octets = match answer {
        Answer::Say(json) if kind == Kind::Rspamd => {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}",
                json.len()
            )
        }
        Answer::Say(line) => format!("{line}\0"),
        Answer::Raw(octets) => octets,
        Answer::Hang => std::future::pending().await,
        Answer::Endless(first, more) => {
            stream.write_all(first.as_bytes()).await?;
            loop {
                stream.write_all(more.as_bytes()).await?;
            }
        }
    };
    stream.write_all(octets.as_bytes()).await?;
    stream.shutdown().await
}

async fn http(stream: &mut BufReader<TcpStream>) -> io::Result<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.expect("a length, or rspamd does not take it");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await?;
    Ok(Asked { head, body })
}

async fn instream(stream: &mut BufReader<TcpStream>) -> io::Result<Asked> {
    let mut command = [0; 10];
    stream.read_exact(&mut command).await?;
    assert_eq!(&command, b"zINSTREAM\0");
    let mut body = Vec::new();
    loop {
        let length = stream.read_u32().await? as usize;
        if length == 0 {
            break Ok(Asked {
                head: String::new(),
                body,
            });
        }
        let begin = body.len();
        body.resize(begin + length, 0);
        stream.read_exact(&mut body[begin..]).await?;
    }
}
