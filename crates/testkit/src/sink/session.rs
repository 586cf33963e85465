//! One connection to a sink: reads commands, asks the script, records what it took.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::script::Action;
use super::{Received, Recipient, Shared};

/// Accepts connections until the task is aborted, which drops the set and so cuts them all.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, peer)) = listener.accept().await {
        let number = {
            let mut state = shared.lock();
            state.connections += 1;
            state.connections
        };
        shared.changed.notify_waiters();
        connections.spawn(serve(stream, Arc::clone(&shared), number, peer));
        while connections.try_join_next().is_some() {}
    }
}

/// What the session knows; the message under way is `open`.
struct Session {
    shared: Arc<Shared>,
    open: Option<Received>,
    hello: String,
    tls: bool,
    connection: usize,
    peer: SocketAddr,
}

/// How a command ended.
enum Next {
    Go,
    StartTls,
    Close,
}

async fn serve(
    stream: TcpStream,
    shared: Arc<Shared>,
    connection: usize,
    peer: SocketAddr,
) -> io::Result<()> {
    let mut session = Session {
        shared,
        open: None,
        hello: String::new(),
        tls: false,
        connection,
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
    let Some(acceptor) = session.shared.tls.clone() else {
        return Ok(());
    };
    // What was buffered behind STARTTLS is dropped with the buffer, as RFC 3207 §4.2 wants.
    let stream = acceptor.accept(stream.into_inner()).await?;
    session.tls = true;
    session.run(&mut BufStream::new(stream)).await?;
    Ok(())
}

impl Session {
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
        self.note("C", line);
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
            "ehlo" | "helo" => {
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
                    connection: self.connection,
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
            ("ehlo", _) => {
                let mut lines = vec!["sink.test".to_owned()];
                lines.extend_from_slice(self.shared.lock().script.offer());
                if self.shared.tls.is_some() && !self.tls {
                    lines.push("STARTTLS".to_owned());
                }
                let last = lines.len() - 1;
                let line = |(at, text)| format!("250{}{text}", if at == last { ' ' } else { '-' });
                let lines: Vec<_> = lines.into_iter().enumerate().map(line).collect();
                return lines.join(" / ");
            }
            ("helo", _) => "250 sink.test",
            ("starttls", _) if self.shared.tls.is_some() && !self.tls => "220 2.0.0 go ahead",
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
        let Some(mut message) = self.open.take() else {
            return Ok(Next::Close);
        };
        let line = format!(
            "{} octets from <{}> to {}",
            data.len(),
            message.from,
            message.recipients[0].to
        );
        message.data = data;
        let said = self.say(stream, "dot", &line, "250 2.0.0 taken").await?;
        if said == Some(true) {
            self.shared.lock().received.push(message);
            self.shared.changed.notify_waiters();
        }
        Ok(said.map_or(Next::Close, |_| Next::Go))
    }

    /// Says what the script or else the custom says. None: the connection is to be dropped. Otherwise whether it was a yes.
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
        let actions = self.shared.lock().script.take(phase, line);
        let mut lines: Vec<String> = usual.split(" / ").map(str::to_owned).collect();
        for action in actions {
            match action {
                Action::Drop => {
                    self.note("S", "(drops the connection)");
                    return Ok(None);
                }
                Action::Wait(time) => tokio::time::sleep(time).await,
                Action::Reply(reply) => lines = reply,
            }
        }
        for line in &lines {
            self.note("S", line);
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

    fn note(&self, who: &str, line: &str) {
        let mut state = self.shared.lock();
        if state.transcript.len() < TRANSCRIPT_LINES_MAX {
            state
                .transcript
                .push(format!("{}{who}: {line}", self.connection));
        }
    }
}

/// `MAIL FROM:<a@b> X Y=1` → `a@b`, `[X, Y=1]`. A `>` inside quotes does not end the path.
fn path_and_parameters(line: &str) -> (String, Vec<String>) {
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

/// Enough for any one scenario; a load test's commands are of no use to a reader.
const TRANSCRIPT_LINES_MAX: usize = 2_000;

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
