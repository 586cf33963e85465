//! One connection to a sink: reads commands, asks its host what to answer, hands over what it took.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::script::Action;
use super::{Received, Recipient};

/// Whose server it is, for one connection: what it answers, and what becomes of the mail.
pub(crate) trait Host: Send + Sync + 'static {
    /// The number of this connection, from 1.
    fn connection(&self) -> usize;
    /// The extensions that EHLO lists, without STARTTLS.
    fn offer(&self) -> Vec<String>;
    /// With it, STARTTLS is offered.
    fn tls(&self) -> Option<TlsAcceptor> {
        None
    }
    /// What to do in place of the usual reply; nothing for the usual.
    fn answer(&self, asked: Asked<'_>) -> impl Future<Output = Vec<Action>> + Send;
    /// A message that was answered 250 for.
    fn took(&self, _message: Received) {}
    /// A line that the client (`C`) or the server (`S`) said.
    fn note(&self, _who: &str, _line: &str) {}
}

/// What a host is asked.
pub(crate) struct Asked<'a> {
    /// `greeting`, a command in small letters, or `dot`.
    pub(crate) phase: &'a str,
    /// The command.
    pub(crate) line: &'a str,
    /// The message under way, if MAIL was accepted.
    pub(crate) message: Option<&'a Received>,
}

/// Accepts connections until the task is aborted, which drops the set and so cuts them all.
pub(crate) async fn listen<H: Host>(listener: TcpListener, host: impl Fn() -> H) {
    let mut connections = JoinSet::new();
    while let Ok((stream, peer)) = listener.accept().await {
        connections.spawn(serve(stream, host(), peer));
        while connections.try_join_next().is_some() {}
    }
}

/// What the session knows; the message under way is `open`.
struct Session<H> {
    host: H,
    open: Option<Received>,
    hello: String,
    tls: bool,
    lmtp: bool,
    peer: SocketAddr,
}

/// How a command ended.
enum Next {
    Go,
    StartTls,
    Close,
}

async fn serve<H: Host>(stream: TcpStream, host: H, peer: SocketAddr) -> io::Result<()> {
    // One write for each reply: without this, Nagle and delayed acknowledgements cost 40 ms a message.
    stream.set_nodelay(true)?;
    let mut session = Session {
        host,
        open: None,
        hello: String::new(),
        tls: false,
        lmtp: false,
        peer,
    };
    let mut stream = BufStream::new(stream);
    if session
        .say(&mut stream, "greeting", "", "220 sink.test ESMTP")
        .await?
        .is_none()
    {
        return Ok(());
    }
    if !session.run(&mut stream).await? {
        return Ok(());
    }
    let Some(acceptor) = session.host.tls() else {
        return Ok(());
    };
    // What was buffered behind STARTTLS is dropped with the buffer, as RFC 3207 §4.2 wants.
    let stream = acceptor.accept(stream.into_inner()).await?;
    session.tls = true;
    session.run(&mut BufStream::new(stream)).await?;
    Ok(())
}

impl<H: Host> Session<H> {
    /// Commands until the end; true when it ended with STARTTLS.
    async fn run<S>(&mut self, stream: &mut S) -> io::Result<bool>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(false);
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            match self.command(stream, line).await? {
                Next::Go => {}
                Next::StartTls => return Ok(true),
                Next::Close => return Ok(false),
            }
        }
    }

    async fn command<S>(&mut self, stream: &mut S, line: &str) -> io::Result<Next>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        self.host.note("C", line);
        let verb = line
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let usual = self.usual(&verb);
        let Some(accepted) = self.say(stream, &verb, line, &usual).await? else {
            return Ok(Next::Close);
        };
        if verb == "quit" {
            return Ok(Next::Close);
        }
        if !accepted {
            return Ok(Next::Go);
        }
        match verb.as_str() {
            "ehlo" | "helo" | "lhlo" => {
                self.lmtp = verb == "lhlo";
                self.hello = line[4..].trim().to_owned();
                self.open = None;
            }
            "rset" => self.open = None,
            "starttls" => return Ok(Next::StartTls),
            "mail" => {
                let (from, from_parameters) = path_and_parameters(line);
                self.open = Some(Received {
                    from,
                    from_parameters,
                    recipients: Vec::new(),
                    data: Vec::new(),
                    hello: self.hello.clone(),
                    tls: self.tls,
                    connection: self.host.connection(),
                    peer: self.peer,
                });
            }
            "rcpt" => {
                let (to, parameters) = path_and_parameters(line);
                if let Some(open) = &mut self.open {
                    open.recipients.push(Recipient { to, parameters });
                }
            }
            "data" => return self.data(stream).await,
            _ => {}
        }
        Ok(Next::Go)
    }

    /// The reply when the script says nothing.
    fn usual(&self, verb: &str) -> String {
        let recipients = self.open.as_ref().map(|open| open.recipients.len());
        let text = match (verb, recipients) {
            ("ehlo" | "lhlo", _) => {
                let mut lines = vec!["sink.test".to_owned()];
                lines.extend(self.host.offer());
                if self.host.tls().is_some() && !self.tls {
                    lines.push("STARTTLS".to_owned());
                }
                let last = lines.len() - 1;
                let line = |(at, text)| format!("250{}{text}", if at == last { ' ' } else { '-' });
                let lines: Vec<_> = lines.into_iter().enumerate().map(line).collect();
                return lines.join(" / ");
            }
            ("helo", _) => "250 sink.test",
            ("auth", _) => "235 2.7.0 welcome",
            ("starttls", _) if self.host.tls().is_some() && !self.tls => "220 2.0.0 go ahead",
            ("mail", None) => "250 2.1.0 sender ok",
            ("rcpt", Some(_)) => "250 2.1.5 recipient ok",
            ("data", Some(1..)) => "354 go ahead",
            ("data", Some(0)) => "554 5.5.1 no valid recipients",
            ("mail" | "rcpt" | "data", _) => "503 5.5.1 bad sequence of commands",
            ("rset" | "noop", _) => "250 2.0.0 ok",
            ("quit", _) => "221 2.0.0 bye",
            _ => "500 5.5.2 unknown command",
        };
        text.to_owned()
    }

    async fn data<S>(&mut self, stream: &mut S) -> io::Result<Next>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        let mut data = Vec::new();
        loop {
            let start = data.len();
            // A line that ends with a bare LF is no line: read on to the CRLF (RFC 5321 §2.3.8).
            while !data[start..].ends_with(b"\r\n") {
                if stream.read_until(b'\n', &mut data).await? == 0 {
                    return Ok(Next::Close);
                }
            }
            if data[start..] == *b".\r\n" {
                data.truncate(start);
                break;
            }
            if data[start] == b'.' {
                data.remove(start);
            }
        }
        self.finish(stream, data).await
    }

    /// The end of the data: the answer, and what was answered 250 is recorded.
    async fn finish<S>(&mut self, stream: &mut S, data: Vec<u8>) -> io::Result<Next>
    where
        S: AsyncWrite + Unpin,
    {
        let Some(message) = &mut self.open else {
            return Ok(Next::Close);
        };
        message.data = data;
        let asked = if self.lmtp {
            message.recipients.len()
        } else {
            1
        };
        let about = format!("{} octets from <{}>", message.data.len(), message.from);
        let recipients = message.recipients.clone();
        let mut taken = Vec::new();
        let mut next = Next::Go;
        for recipient in &recipients[..asked] {
            let line = format!("{about} to {}", recipient.to);
            match self.say(stream, "dot", &line, "250 2.0.0 taken").await? {
                Some(true) => taken.push(recipient.clone()),
                Some(false) => {}
                None => {
                    next = Next::Close;
                    break;
                }
            }
        }
        if let Some(mut message) = self.open.take()
            && !taken.is_empty()
        {
            if self.lmtp {
                message.recipients = taken;
            }
            self.host.took(message);
        }
        Ok(next)
    }

    /// Says what the host wants, or else the usual. None: the connection is to be dropped. Otherwise whether it was a yes.
    async fn say<S>(
        &self,
        stream: &mut S,
        phase: &str,
        line: &str,
        usual: &str,
    ) -> io::Result<Option<bool>>
    where
        S: AsyncWrite + Unpin,
    {
        let asked = Asked {
            phase,
            line,
            message: self.open.as_ref(),
        };
        let actions = self.host.answer(asked).await;
        let mut lines: Vec<String> = usual.split(" / ").map(str::to_owned).collect();
        for action in actions {
            match action {
                Action::Drop => {
                    self.host.note("S", "(drops the connection)");
                    return Ok(None);
                }
                Action::Wait(time) => tokio::time::sleep(time).await,
                Action::Reply(reply) => lines = reply,
            }
        }
        for line in &lines {
            self.host.note("S", line);
            stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        }
        stream.flush().await?;
        let code = lines
            .last()
            .map_or("", |line| line.get(..3).unwrap_or_default());
        // 421 announces that the connection closes (RFC 5321 §3.8).
        if code == "421" {
            return Ok(None);
        }
        Ok(Some(code.starts_with('2') || code.starts_with('3')))
    }
}

/// `MAIL FROM:<a@b> X Y=1` → `a@b`, `[X, Y=1]`. A `>` inside quotes does not end the path.
pub(crate) fn path_and_parameters(line: &str) -> (String, Vec<String>) {
    let start = line.find('<').map_or(line.len(), |at| at + 1);
    let (mut quoted, mut escaped) = (false, false);
    let end = line[start..].find(|c: char| {
        let was_escaped = escaped;
        escaped = quoted && c == '\\' && !was_escaped;
        quoted ^= c == '"' && !was_escaped;
        c == '>' && !quoted
    });
    let end = end.map_or(line.len(), |at| start + at);
    let parameters = line.get(end + 1..).unwrap_or_default();
    (
        line[start..end].to_owned(),
        parameters.split_whitespace().map(str::to_owned).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, path: &str, parameters: &[&str]) {
        let (got, rest) = path_and_parameters(line);
        assert_eq!(
            (got.as_str(), rest),
            (path, parameters.iter().map(|p| (*p).to_owned()).collect())
        );
    }

    #[test]
    fn paths() {
        check("MAIL FROM:<>", "", &[]);
        check(
            "MAIL FROM:<a@b> SIZE=1 BODY=8BITMIME",
            "a@b",
            &["SIZE=1", "BODY=8BITMIME"],
        );
        check(
            r#"RCPT TO:<"a> \"b"@c> NOTIFY=NEVER"#,
            r#""a> \"b"@c"#,
            &["NOTIFY=NEVER"],
        );
    }
}
