//! A small SMTP server on loopback that answers by script and keeps what it hears.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What a server says. Replies are lines without CRLF; an empty one closes the connection instead.
#[derive(Clone)]
pub(crate) struct Script {
    /// `wait` is none, ever.
    pub(crate) greeting: &'static str,
    /// The reply to EHLO and HELO, in place of the one with the extensions.
    pub(crate) hello: Option<&'static str>,
    pub(crate) extensions: &'static [&'static str],
    pub(crate) mail: fn(&str) -> &'static str,
    pub(crate) rcpt: fn(&str) -> &'static str,
    pub(crate) dot: &'static str,
    /// The reply to QUIT; `wait` is none, ever.
    pub(crate) quit: &'static str,
    pub(crate) tls: Tls,
    /// Closes after so many transactions.
    pub(crate) transactions_max: usize,
    /// After so many transactions of a connection, this is the answer to MAIL.
    pub(crate) mail_max: (usize, &'static str),
}

#[derive(Clone)]
pub(crate) enum Tls {
    /// Says 220 and then no handshake.
    Broken,
    Works(Arc<rustls::ServerConfig>),
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Heard {
    pub(crate) connections: usize,
    /// Open at the same time.
    pub(crate) open: usize,
    pub(crate) open_max: usize,
    pub(crate) handshakes: usize,
    pub(crate) resumed: usize,
    pub(crate) messages: Vec<Message>,
    /// Each read that brought commands.
    pub(crate) reads: Vec<String>,
    pub(crate) peers: Vec<SocketAddr>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Message {
    pub(crate) mail: String,
    pub(crate) rcpt: Vec<String>,
    pub(crate) body: String,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            greeting: "220 mx.test ESMTP",
            hello: None,
            extensions: &["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"],
            mail: |_| "250 2.1.0 ok",
            rcpt: |_| "250 2.1.5 ok",
            dot: "250 2.0.0 taken",
            quit: "221 2.0.0 bye",
            tls: Tls::Broken,
            transactions_max: usize::MAX,
            mail_max: (usize::MAX, ""),
        }
    }
}

impl Server {
    pub(crate) async fn start(script: Script) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn start_at(address: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let server = Self {
            address,
            heard: Arc::clone(&heard),
        };
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (heard, script) = (Arc::clone(&heard), script.clone());
                {
                    let mut heard = heard.lock().unwrap();
                    heard.connections += 1;
                    heard.peers.push(peer);
                    heard.open += 1;
                    heard.open_max = heard.open_max.max(heard.open);
                }
                tokio::spawn(async move {
                    serve(stream, &script, &heard).await;
                    heard.lock().unwrap().open -= 1;
                });
            }
        });
        server
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, script: &Script, heard: &Mutex<Heard>) {
    // One write a reply: without this, Nagle and delayed acknowledgements cost 40 ms a message.
    stream.set_nodelay(true).unwrap();
    let mut talk = Talk::new(script, heard);
    if script.greeting == "wait" {
        // Until the other side has had enough.
        talk.until(&mut stream, "\0").await;
        return;
    }
    if !talk.say(&mut stream, script.greeting).await {
        return;
    }
    if talk.commands(&mut stream).await == End::StartTls
        && let Tls::Works(config) = &script.tls
        && let Ok(mut stream) = TlsAcceptor::from(Arc::clone(config)).accept(stream).await
    {
        let kind = stream.get_ref().1.handshake_kind();
        {
            let mut heard = heard.lock().unwrap();
            heard.handshakes += 1;
            heard.resumed += usize::from(kind == Some(rustls::HandshakeKind::Resumed));
        }
        talk.secure = true;
        talk.commands(&mut stream).await;
    }
}

#[derive(PartialEq, Eq)]
enum End {
    Closed,
    StartTls,
}

struct Talk<'a> {
    script: &'a Script,
    heard: &'a Mutex<Heard>,
    buffer: Vec<u8>,
    message: Message,
    transactions: usize,
    secure: bool,
}

impl<'a> Talk<'a> {
    fn new(script: &'a Script, heard: &'a Mutex<Heard>) -> Self {
        Self {
            script,
            heard,
            buffer: Vec::new(),
            message: Message::default(),
            transactions: 0,
            secure: false,
        }
    }

    async fn say(&self, stream: &mut (impl AsyncWrite + Unpin), reply: &str) -> bool {
        let line = format!("{reply}\r\n");
        !reply.is_empty() && stream.write_all(line.as_bytes()).await.is_ok()
    }

    /// What comes up to `end`, without it.
    async fn until(&mut self, stream: &mut (impl AsyncRead + Unpin), end: &str) -> Option<String> {
        let end = end.as_bytes();
        let mut chunk = vec![0; 65536];
        let mut searched = 0;
        loop {
            let mut windows = self.buffer[searched..].windows(end.len());
            if let Some(at) = windows.position(|w| w == end).map(|at| searched + at) {
                let rest = self.buffer.split_off(at + end.len());
                let mut text = std::mem::replace(&mut self.buffer, rest);
                text.truncate(at);
                return Some(String::from_utf8(text).unwrap());
            }
            searched = (self.buffer.len() + 1).saturating_sub(end.len());
            let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
            if end == b"\r\n" {
                let text = String::from_utf8_lossy(&chunk[..n]).into_owned();
                self.heard.lock().unwrap().reads.push(text);
            }
            self.buffer.extend_from_slice(&chunk[..n]);
        }
    }

    async fn commands(&mut self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> End {
        while let Some(line) = self.until(stream, "\r\n").await {
            let verb = line.get(..4).unwrap_or(&line).to_uppercase();
            let reply = match verb.as_str() {
                "EHLO" | "HELO" => match self.script.hello {
                    Some(reply) => reply.to_owned(),
                    None => self.hello(),
                },
                "MAIL" => {
                    self.message.mail.clone_from(&line);
                    match self.script.mail_max {
                        (max, refusal) if self.transactions >= max => refusal.to_owned(),
                        _ => (self.script.mail)(&line).to_owned(),
                    }
                }
                "RCPT" | "DATA" if self.transactions >= self.script.mail_max.0 => {
                    "503 5.5.1 MAIL first".to_owned()
                }
                "RCPT" => {
                    let reply = (self.script.rcpt)(&line);
                    if reply.starts_with('2') {
                        self.message.rcpt.push(line);
                    }
                    reply.to_owned()
                }
                "DATA" if self.message.rcpt.is_empty() => "554 5.5.1 no recipients".to_owned(),
                "DATA" => {
                    self.say(stream, "354 go on").await;
                    let Some(reply) = self.data(stream).await else {
                        return End::Closed;
                    };
                    reply
                }
                "STAR" => {
                    self.say(stream, "220 go on").await;
                    return End::StartTls;
                }
                "RSET" => {
                    self.message = Message::default();
                    "250 2.0.0 ok".to_owned()
                }
                "QUIT" => {
                    if self.script.quit == "wait" {
                        std::future::pending::<()>().await;
                    }
                    self.say(stream, self.script.quit).await;
                    return End::Closed;
                }
                _ => "500 5.5.2 what?".to_owned(),
            };
            if !self.say(stream, &reply).await
                || reply.starts_with("421")
                || self.transactions >= self.script.transactions_max
            {
                return End::Closed;
            }
        }
        End::Closed
    }

    async fn data(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
        let body = self.until(stream, "\r\n.\r\n").await?;
        let mut message = std::mem::take(&mut self.message);
        message.body = format!("{body}\r\n");
        self.transactions += 1;
        if self.script.dot.starts_with('2') {
            self.heard.lock().unwrap().messages.push(message);
        }
        Some(self.script.dot.to_owned())
    }

    fn hello(&self) -> String {
        let extensions = self.script.extensions.iter();
        let extensions: Vec<_> = extensions
            .filter(|e| !self.secure || **e != "STARTTLS")
            .collect();
        let mut reply = String::new();
        let mut before = "mx.test".to_owned();
        for extension in extensions {
            reply.push_str(&format!("250-{before}\r\n"));
            before = (*extension).to_owned();
        }
        reply + &format!("250 {before}")
    }
}
