//! What the sink does for each command.

use std::io;
use std::sync::Arc;

use super::Phase;
use super::body::Body;
use super::ledger::PathKind;
use super::session::{Fate, Next, Session, State, Transaction};
use super::site::hash;

impl Session {
    /// Does what a line says, or refuses it.
    ///
    /// # Errors
    /// Of the network.
    pub(super) async fn command(&mut self, line: &[u8]) -> io::Result<Next> {
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
        if self.script.throttles {
            site.counts().deferred += 1;
            self.say("450 4.7.28 unusual rate of mail from your address, try again later");
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
}

/// What stands in the angle brackets.
fn path(line: &[u8]) -> Option<&[u8]> {
    let start = memchr::memchr(b'<', line)? + 1;
    let length = memchr::memchr(b'>', &line[start..])?;
    Some(&line[start..start + length])
}
