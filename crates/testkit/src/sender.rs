//! A client that brings mail to the relay. It can do what a proper client must not: raw bytes, half a command, a smuggling
//! attempt.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::{PATIENCE, tls};

/// A connection under the test's control.
pub struct Plain {
    stream: BufReader<Box<dyn Stream>>,
    patience: Duration,
}

/// A TCP stream or one in TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Plain {
    /// Connects and reads the greeting, whatever it is.
    ///
    /// # Panics
    /// When the connection is refused or no greeting comes.
    pub async fn connect(address: SocketAddr) -> (Self, String) {
        let mut plain = Self::connect_silently(address).await;
        let greeting = plain.reply().await;
        (plain, greeting)
    }

    /// Connects and reads nothing yet (PROXY, implicit TLS).
    pub async fn connect_silently(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        Self {
            stream: BufReader::new(Box::new(stream)),
            patience: PATIENCE,
        }
    }

    /// From now on waits for so long for a reply.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Connects, greets, and says EHLO.
    pub async fn hello(address: SocketAddr) -> Self {
        let (mut plain, greeting) = Self::connect(address).await;
        assert!(greeting.starts_with("220 "), "{greeting}");
        plain.expect("EHLO client.test", "250").await;
        plain
    }

    /// Sends bytes as they are.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        // The peer may have closed already; the reply that is missing then tells more.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
    }

    /// Sends a line with CRLF and reads one reply, its lines joined by `\n`.
    pub async fn command(&mut self, line: &str) -> String {
        self.raw(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// Sends a line and wants a reply that starts with `expected`.
    ///
    /// # Panics
    /// When it starts with anything else.
    pub async fn expect(&mut self, line: &str, expected: &str) -> String {
        let reply = self.command(line).await;
        assert!(reply.starts_with(expected), "{line}: {reply}");
        reply
    }

    /// One reply, its lines joined by `\n`; what came of it when the peer closed.
    ///
    /// # Panics
    /// When nothing comes in time.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        while let Some(line) = self.line().await {
            let more = line.as_bytes().get(3) == Some(&b'-');
            reply.push_str(&line);
            if !more {
                break;
            }
            reply.push('\n');
        }
        reply
    }

    /// One line of a reply without its line end; none when the peer closed.
    ///
    /// # Panics
    /// When nothing comes in time.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        match tokio::time::timeout(self.patience, read).await {
            Ok(Ok(octets)) if octets > 0 => {
                let line = String::from_utf8_lossy(&line);
                Some(line.trim_end_matches(['\r', '\n']).to_owned())
            }
            Ok(_) => None,
            Err(_) => panic!("no reply in {:?}", self.patience),
        }
    }

    /// What has arrived and was not read yet; does not wait.
    pub fn buffered(&self) -> String {
        self.stream.buffer().escape_ascii().to_string()
    }

    /// STARTTLS, and EHLO again.
    pub async fn start_tls(mut self) -> Self {
        self.expect("STARTTLS", "220").await;
        let mut plain = self.handshake().await;
        plain.expect("EHLO client.test", "250").await;
        plain
    }

    /// STARTTLS with a host of this name: the certificate that it shows for it.
    ///
    /// # Panics
    /// When the handshake fails.
    pub async fn certificate(mut self, name: &str) -> Vec<u8> {
        self.expect("STARTTLS", "220").await;
        let name = name.to_owned().try_into().expect("a host name");
        let stream = tls::connector().connect(name, self.stream.into_inner());
        let stream = stream.await.expect("the TLS handshake");
        let shown = stream.get_ref().1.peer_certificates();
        shown.and_then(|chain| chain.first()).expect("one").to_vec()
    }

    /// TLS from here on.
    ///
    /// # Panics
    /// When the handshake fails.
    pub async fn handshake(self) -> Self {
        let stream = tls::connector()
            .connect(tls::any_name(), self.stream.into_inner())
            .await
            .expect("the TLS handshake");
        Self {
            stream: BufReader::new(Box::new(stream)),
            patience: self.patience,
        }
    }

    /// A whole transaction, pipelined up to DATA. The arguments are what follows the colon: `<a@b> SIZE=5`. Gives the reply to each RCPT, and
    /// to the data; the last is the reply to DATA itself when that was no 354.
    pub async fn transaction(
        &mut self,
        from: &str,
        to: &[&str],
        mail: &[u8],
    ) -> (Vec<String>, String) {
        let mut group = format!("MAIL FROM:{from}\r\n");
        to.iter()
            .for_each(|to| group.push_str(&format!("RCPT TO:{to}\r\n")));
        group.push_str("DATA\r\n");
        self.raw(group.as_bytes()).await;
        let reply = self.reply().await;
        assert!(reply.starts_with("250"), "MAIL FROM:{from}: {reply}");
        let mut replies = Vec::with_capacity(to.len());
        for _ in to {
            replies.push(self.reply().await);
        }
        let go = self.reply().await;
        if !go.starts_with("354") {
            return (replies, go);
        }
        self.raw(&stuffed(mail)).await;
        (replies, self.reply().await)
    }

    /// A transaction with one recipient over a connection that may break: the reply to the data, none when it broke before.
    ///
    /// # Panics
    /// When the relay refuses anything.
    pub async fn try_transaction(&mut self, from: &str, to: &str, mail: &[u8]) -> Option<String> {
        self.raw(format!("MAIL FROM:{from}\r\nRCPT TO:{to}\r\nDATA\r\n").as_bytes())
            .await;
        for expected in ["250", "250", "354"] {
            let line = self.line().await?;
            assert!(line.starts_with(expected), "{from} {to}: {line}");
        }
        self.raw(&stuffed(mail)).await;
        // Half a reply is none.
        self.line().await.filter(|line| line.len() > 4)
    }

    /// QUIT, politely.
    pub async fn quit(mut self) {
        self.expect("QUIT", "221").await;
    }
}

/// Sends one message and wants all of it accepted. Addresses come without angle brackets; `""` is the null path.
///
/// # Panics
/// When anything is refused.
pub async fn send(address: SocketAddr, from: &str, to: &[&str], mail: &[u8]) {
    let to: Vec<_> = to.iter().map(|to| format!("<{to}>")).collect();
    let to: Vec<_> = to.iter().map(String::as_str).collect();
    send_with(address, &format!("<{from}>"), &to, mail).await;
}

/// As [`send`], with parameters: the paths are `<a@b> NOTIFY=NEVER`.
///
/// # Panics
/// When anything is refused.
pub async fn send_with(address: SocketAddr, from: &str, to: &[&str], mail: &[u8]) {
    let mut plain = Plain::hello(address).await;
    let (recipients, end) = plain.transaction(from, to, mail).await;
    for reply in recipients.iter().chain([&end]) {
        assert!(reply.starts_with("250"), "from {from} to {to:?}: {reply}");
    }
    plain.quit().await;
}

/// Dots doubled at line starts, and the end of data. The mail ends with CRLF or gets one.
fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + 64);
    let mut at_start = true;
    for &byte in mail {
        if at_start && byte == b'.' {
            out.push(b'.');
        }
        out.push(byte);
        at_start = byte == b'\n';
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail;
    use crate::sink::Sink;
    use crate::tls::Identity;

    async fn sink(script: &str) -> Sink {
        Sink::start("127.0.0.1:0".parse().unwrap(), script).await
    }

    #[tokio::test]
    async fn sink_gets_what_was_sent() {
        let sink = sink("").await;
        let mail = mail::long(50_000);
        send_with(
            sink.address(),
            "<a@b.test> SIZE=50000",
            &["<c@d.test> NOTIFY=NEVER", "<e@d.test>"],
            &mail,
        )
        .await;
        let got = sink.message().await;
        assert_eq!(got.from, "a@b.test");
        assert_eq!(got.from_parameters, ["SIZE=50000"]);
        assert_eq!(got.recipients[0].parameters, ["NOTIFY=NEVER"]);
        assert_eq!(got.recipients[1].to, "e@d.test");
        assert_eq!(got.hello, "client.test");
        assert!(!got.tls && got.connection == 1);
        assert_eq!(mail::added_on_top(&got.data, &mail), []);
    }

    #[tokio::test]
    async fn starttls() {
        let identity = Identity::new("mx.d.test");
        let sink = Sink::with_tls("127.0.0.1:0".parse().unwrap(), "", Some(&identity)).await;
        let mut plain = Plain::hello(sink.address()).await.start_tls().await;
        plain.expect("MAIL FROM:<>", "250").await;
        plain.expect("RCPT TO:<c@d.test>", "250").await;
        plain.expect("DATA", "354").await;
        plain.raw(b"a\r\n.\r\n").await;
        assert_eq!(plain.reply().await, "250 2.0.0 taken");
        plain.quit().await;
        let got = sink.message().await;
        assert_eq!(got.data, b"a\r\n");
        assert!(got.tls);
    }

    #[tokio::test]
    async fn script_refuses_drops_and_runs_out() {
        let sink =
            sink("rcpt for bob@: 550-5.1.1 no / 550 5.1.1 such user\ndot first 1: drop").await;
        let mut plain = Plain::hello(sink.address()).await;
        let to = ["<bob@d.test>", "<al@d.test>"];
        let (recipients, end) = plain.transaction("<a@b.test>", &to, b"x\r\n").await;
        assert_eq!(recipients[0], "550-5.1.1 no\n550 5.1.1 such user");
        assert!(recipients[1].starts_with("250"));
        assert_eq!(end, "", "dropped");
        assert_eq!(sink.received(), []);
        send(sink.address(), "a@b.test", &["al@d.test"], b"x\r\n").await;
        assert_eq!(sink.messages(1).await[0].connection, 2);
        sink.connected(2).await;
        assert!(
            sink.transcript()
                .contains(&"1S: (drops the connection)".to_owned())
        );
    }
}
