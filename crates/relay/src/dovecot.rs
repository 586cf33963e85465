//! A client of Dovecot's auth socket: whether a password is right, Dovecot says.
//!
//! The protocol is that of Dovecot's `auth-client` listener, version 1.2, as Postfix and Exim speak it: lines of fields between
//! tabs. All logins share one connection; each has a number, and answers come in any order (Dovecot holds back a refusal for some
//! seconds). What does not answer, breaks off or talks rubbish is no refusal: the login cannot be checked now. It does *not*
//! remember anything: Dovecot has a cache of its own.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use data_encoding::BASE64;
use journal::{Event, Journal};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use zeroize::Zeroizing;

/// The socket of one Dovecot.
pub struct Dovecot {
    path: PathBuf,
    journal: Journal,
    /// What takes questions to the connection, if there is one. Locked while one is made.
    link: Mutex<Option<mpsc::Sender<Question>>>,
    /// How many logins could not be checked since the last that could.
    failed: AtomicU64,
}

/// What Dovecot says of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It is right; by this name Dovecot knows the user.
    Right(String),
    /// Name or password is wrong, or the user may not log in.
    Wrong,
    /// It could not be checked, and why.
    Unknown(String),
}

/// A login.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The user name.
    pub user: &'a str,
    /// The password.
    pub password: &'a [u8],
    /// The client, whose guesses Dovecot counts.
    pub client: Option<IpAddr>,
}

struct Question {
    /// All of the line but its beginning, which has the number.
    line: Zeroizing<String>,
    reply: oneshot::Sender<Checked>,
}

impl Dovecot {
    /// Connects when somebody logs in.
    pub fn new(path: PathBuf, journal: Journal) -> Self {
        Self {
            path,
            journal,
            link: Mutex::default(),
            failed: AtomicU64::new(0),
        }
    }

    /// Asks. The first failure is logged, and the first answer behind it.
    pub async fn check(&self, login: Login<'_>) -> Checked {
        let asked = timeout(ANSWER_WITHIN, self.ask(login)).await;
        let asked = asked.unwrap_or_else(|_| Err(silent(ANSWER_WITHIN)));
        match &asked {
            Err(error) if self.failed.fetch_add(1, Ordering::Relaxed) == 0 => {
                let error = format!("{}: {error}", self.path.display());
                self.journal.record(Event::DovecotDown { error });
            }
            Err(_) => {}
            Ok(_) => match self.failed.swap(0, Ordering::Relaxed) {
                0 => {}
                failed => self.journal.record(Event::DovecotUp { failed }),
            },
        }
        asked.unwrap_or_else(|error| Checked::Unknown(format!("Dovecot: {error}")))
    }

    async fn ask(&self, login: Login<'_>) -> io::Result<Checked> {
        let (reply, answer) = oneshot::channel();
        let line = command(login);
        let link = self.link().await?;
        let asked = link.try_send(Question { line, reply });
        asked.map_err(|_| io::Error::other("too many logins wait for an answer"))?;
        let broken = |_| io::Error::other("the connection broke before the answer");
        answer.await.map_err(broken)
    }

    async fn link(&self) -> io::Result<mpsc::Sender<Question>> {
        let mut link = self.link.lock().await;
        if let Some(open) = link.as_ref().filter(|link| !link.is_closed()) {
            return Ok(open.clone());
        }
        let stream = timeout(CONNECT_WITHIN, connect(&self.path)).await;
        let stream = stream.unwrap_or_else(|_| Err(silent(CONNECT_WITHIN)))?;
        let (sender, questions) = mpsc::channel(WAITING_MAX);
        tokio::spawn(talk(stream, questions));
        *link = Some(sender.clone());
        Ok(sender)
    }
}

/// Both sides say who they are; up to the server's `DONE`.
async fn connect(path: &Path) -> io::Result<BufReader<UnixStream>> {
    let mut stream = BufReader::with_capacity(LINE_OCTETS_MAX, UnixStream::connect(path).await?);
    // Dovecot wants another number of each connection. In containers, process ids are alike.
    let number = rand::random_range(1..=i32::MAX);
    let hello = format!("VERSION\t1\t2\nCPID\t{number}\n");
    stream.write_all(hello.as_bytes()).await?;
    let (mut has_version, mut has_plain) = (false, false);
    for _ in 0..HELLO_LINES_MAX {
        let mut line = Vec::new();
        read_line(&mut stream, &mut line).await?;
        let line = String::from_utf8_lossy(&line);
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["VERSION", "1", _] => has_version = true,
            ["VERSION", ..] => break,
            ["MECH", "PLAIN", ..] => has_plain = true,
            ["DONE"] if has_version && has_plain => return Ok(stream),
            ["DONE"] if has_version => return Err(rubbish("it does not offer PLAIN")),
            _ => {}
        }
    }
    Err(rubbish(
        "it does not speak version 1 of Dovecot's auth protocol",
    ))
}

/// Until the connection breaks, or says nothing for too long while an answer is due. Questions that are open then get none.
async fn talk(mut stream: BufReader<UnixStream>, mut questions: mpsc::Receiver<Question>) {
    let mut open = HashMap::new();
    let (mut number, mut line, mut heard) = (0_u32, Vec::new(), Instant::now());
    loop {
        tokio::select! {
            question = questions.recv(), if open.len() < WAITING_MAX => {
                let Some(Question { line, reply }) = question else {
                    return;
                };
                if open.is_empty() {
                    heard = Instant::now();
                }
                number = number.wrapping_add(1);
                let begin = format!("AUTH\t{number}\t");
                let whole = Zeroizing::new([begin.as_bytes(), line.as_bytes()].concat());
                let Ok(Ok(())) = timeout(WRITE_WITHIN, stream.write_all(&whole)).await else {
                    return;
                };
                open.insert(number, reply);
            }
            read = read_line(&mut stream, &mut line) => {
                if read.is_err() {
                    return;
                }
                heard = Instant::now();
                if let Some((number, checked)) = answer(&String::from_utf8_lossy(&line))
                    && let Some(reply) = open.remove(&number)
                {
                    // Who asked may be gone.
                    let _ = reply.send(checked);
                }
                line.clear();
                open.retain(|_, reply| !reply.is_closed());
            }
            () = sleep_until(heard + SILENT_MAX), if !open.is_empty() => return,
        }
    }
}

/// Appends what comes up to the end of a line, which it takes off. If it is not waited for to the end, it goes on next time.
async fn read_line(stream: &mut BufReader<UnixStream>, line: &mut Vec<u8>) -> io::Result<()> {
    let room = LINE_OCTETS_MAX - line.len();
    stream.take(room as u64).read_until(b'\n', line).await?;
    match line.pop() {
        Some(b'\n') => Ok(()),
        Some(_) if line.len() + 1 == LINE_OCTETS_MAX => Err(rubbish("a line without end")),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// `secured`: AUTH is offered under TLS alone; `nologin`: no session of Dovecot's follows. `resp` must be the last (RFC 4616: no
/// identity to act as, user, password).
fn command(login: Login<'_>) -> Zeroizing<String> {
    let client = login.client.map(|client| format!("\trip={client}"));
    let proof = [b"\0", login.user.as_bytes(), b"\0", login.password].concat();
    let proof = Zeroizing::new(proof);
    // In its final size: what grows leaves copies of the password behind.
    let mut line = Zeroizing::new(String::with_capacity(64 + BASE64.encode_len(proof.len())));
    line.push_str("PLAIN\tservice=smtp\tsecured\tnologin");
    line.push_str(client.as_deref().unwrap_or_default());
    line.push_str("\tresp=");
    BASE64.encode_append(&proof, &mut line);
    line.push('\n');
    line
}

/// What a line says, and of which login; none, if it is about none.
fn answer(line: &str) -> Option<(u32, Checked)> {
    let mut fields = line.split('\t');
    let (verb, number) = (fields.next()?, fields.next()?.parse().ok()?);
    let value = |name| fields.clone().find_map(|field| field.strip_prefix(name));
    let checked = match verb {
        "OK" => match value("user=") {
            Some(user) if is_name(user) => Checked::Right(user.to_owned()),
            _ => Checked::Unknown("Dovecot: names no user".to_owned()),
        },
        "FAIL"
            if fields
                .clone()
                .any(|field| matches!(field, "temp" | "code=temp_fail")) =>
        {
            let reason = value("reason=").unwrap_or("a failure for the time being");
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            Checked::Unknown(format!("Dovecot: {reason}"))
        }
        "FAIL" => Checked::Wrong,
        "CONT" => Checked::Unknown("Dovecot: asks for more than a password".to_owned()),
        _ => return None,
    };
    Some((number, checked))
}

/// Dovecot writes tabs and line ends in a name behind an octet 1: nobody is called so.
fn is_name(user: &str) -> bool {
    (1..=NAME_OCTETS_MAX).contains(&user.len()) && !user.chars().any(char::is_control)
}

fn rubbish(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn silent(within: Duration) -> io::Error {
    let text = format!("no answer within {} s", within.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Dovecot holds back refusals for 2 s, and for up to 15 s more where it knows guesses of a client.
const SILENT_MAX: Duration = Duration::from_secs(25);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// As Dovecot has it for what it reads itself.
const LINE_OCTETS_MAX: usize = 8192;
const HELLO_LINES_MAX: usize = 100;
/// Logins that wait for an answer; as many again wait to be asked.
const WAITING_MAX: usize = 1000;
const NAME_OCTETS_MAX: usize = 255;
const REASON_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests;
