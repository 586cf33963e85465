//! A milter that answers as scripted, and keeps what it was told.
//!
//! A script is lines `LETTER ANSWER | ANSWER…`: what is said to a packet with this letter. Of several lines with one letter each is
//! used once, and the last one stays. What has no line is answered with `c` (continue), and `O` (options) with version 6, all actions, and all sent and
//! answered. Macros (`D`) are never answered.
//!
//! An answer is the letter and data of a packet, with `\r \n \t \\ \xNN` decoded; `~BYTES` is sent as it is, without a length; `hang` says
//! nothing more, `close` hangs up, `nothing` goes on without an answer,
//! `wait SECONDS` waits.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::dialog::unescape;

/// A running milter; dropped, it stops listening.
pub struct Milter {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    listening: JoinHandle<()>,
}

type Script = BTreeMap<u8, VecDeque<Vec<Action>>>;

#[derive(Debug, Clone)]
enum Action {
    Send(Vec<u8>),
    Wait(u64),
    Hang,
    Close,
}

impl Milter {
    /// Listens on an address of 127.0.0.1.
    ///
    /// # Panics
    /// When the script is wrong.
    pub async fn start(script: &str) -> Self {
        let script = parse(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heard = Arc::default();
        let listening = tokio::spawn(serve(listener, script, Arc::clone(&heard)));
        Self {
            address,
            heard,
            listening,
        }
    }

    /// Where it listens, as `[[filter]] address` has it.
    pub fn address(&self) -> String {
        format!("inet:{}", self.address)
    }

    /// All packets so far, letter and data, with all but printable ASCII as `\xNN` and so on; macros as `D` with their stage's letter.
    pub fn heard(&self) -> Vec<String> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Milter {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Speaks as such a milter over a stream of the test's own.
pub async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, script: &str) -> io::Result<()> {
    talk(stream, parse(script), Arc::default()).await
}

fn parse(script: &str) -> Script {
    let mut all = Script::new();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (letter, answers) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("no answer: {line}"));
        let actions = answers
            .split('|')
            .flat_map(|answer| action(answer.trim_start().trim_end_matches(' ')));
        all.entry(letter.as_bytes()[0])
            .or_default()
            .push_back(actions.collect());
    }
    all
}

fn action(text: &str) -> Option<Action> {
    let decoded = |text: &str| unescape(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    match (text, text.strip_prefix('~')) {
        ("nothing", _) => None,
        ("hang", _) => Some(Action::Hang),
        ("close", _) => Some(Action::Close),
        (_, Some(raw)) => Some(Action::Send(decoded(raw))),
        (wait, None) if wait.starts_with("wait ") => {
            Some(Action::Wait(wait[5..].parse().expect("seconds")))
        }
        (packet, None) => {
            let data = decoded(packet);
            let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
            bytes.extend_from_slice(&data);
            Some(Action::Send(bytes))
        }
    }
}

async fn serve(listener: TcpListener, script: Script, heard: Arc<Mutex<Vec<String>>>) {
    let mut running = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        running.spawn(talk(stream, script.clone(), Arc::clone(&heard)));
    }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut script: Script,
    heard: Arc<Mutex<Vec<String>>>,
) -> io::Result<()> {
    loop {
        let octets = stream.read_u32().await?;
        let mut packet = vec![0; octets as usize];
        stream.read_exact(&mut packet).await?;
        heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(packet.escape_ascii().to_string());
        let letter = packet[0];
        let actions = match (letter, script.get_mut(&letter)) {
            (b'D', _) => continue,
            (b'Q', _) => return Ok(()),
            (_, Some(lines)) if lines.len() > 1 => lines.pop_front().unwrap_or_default(),
            (_, Some(lines)) => lines[0].clone(),
            (b'O', None) => {
                Vec::from_iter(action(r"O\x00\x00\x00\x06\x00\x00\x01\xff\x00\x00\x00\x00"))
            }
            _ => Vec::from_iter(action("c")),
        };
        for action in actions {
            match action {
                Action::Send(bytes) => stream.write_all(&bytes).await?,
                Action::Wait(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                Action::Hang => std::future::pending().await,
                Action::Close => return Ok(()),
            }
        }
    }
}
