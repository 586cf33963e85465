//! One message over a connection: the envelope in one write, the message in another, the answers in order.
//!
//! With PIPELINING the envelope and DATA go out together (RFC 2920 §3.1); with CHUNKING besides, the message too (RFC 3030 §4.2), so that
//! everything is one write and one wait. Without, each command waits for its answer.

use std::cell::Cell;
use std::io::{self, IoSlice, Write as _};

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::client::Client;
use super::mail::{Composer, Message};

/// What came of an attempt, by recipient.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// How many the message was accepted for.
    pub(super) accepted: u16,
    /// The indices of those with a 4xx.
    pub(super) deferred: Vec<u16>,
    /// How many got a 5xx.
    pub(super) refused: u16,
    /// The first reply that says no.
    pub(super) trouble: Option<String>,
}

impl Client {
    /// Sends one message. While the answer to its end is missing, `unanswered` holds how many recipients it is for.
    ///
    /// # Errors
    /// When the connection is of no more use and recipients are without an answer.
    pub(super) async fn send(
        &mut self,
        composer: &Composer,
        message: &Message,
        unanswered: &Cell<u16>,
    ) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        self.out.clear();
        self.taken.clear();
        let sent = if self.offers.pipelining {
            self.send_at_once(composer, message, unanswered, &mut outcome)
                .await
        } else {
            self.send_in_steps(composer, message, unanswered, &mut outcome)
                .await
        };
        if self.is_closing {
            unanswered.set(0);
            let all = message.recipients.iter().map(|recipient| recipient.index);
            return Ok(Outcome {
                accepted: 0,
                deferred: all.collect(),
                refused: 0,
                trouble: Some(self.replies.text()),
            });
        }
        sent.map(|()| outcome)
    }

    async fn send_at_once(
        &mut self,
        composer: &Composer,
        message: &Message,
        unanswered: &Cell<u16>,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        self.write_mail(message);
        for at in 0..message.recipients.len() {
            self.write_rcpt(message, at);
        }
        self.begin_message(composer, message, message.recipients.len(), unanswered)
            .await?;
        let mail = self.reply().await?;
        self.note(mail, outcome);
        for recipient in &message.recipients {
            let code = self.reply().await?;
            // What follows a refused MAIL is refused for its order, which says nothing.
            let code = if is_yes(mail) { code } else { mail };
            self.judge(recipient.index, code, outcome)?;
        }
        let code = self.reply().await?;
        self.finish(composer, message, unanswered, code, outcome)
            .await
    }

    async fn send_in_steps(
        &mut self,
        composer: &Composer,
        message: &Message,
        unanswered: &Cell<u16>,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        self.write_mail(message);
        self.flush().await?;
        let mail = self.reply().await?;
        self.note(mail, outcome);
        for (at, recipient) in message.recipients.iter().enumerate() {
            let mut code = mail;
            if is_yes(mail) {
                self.write_rcpt(message, at);
                self.flush().await?;
                code = self.reply().await?;
            }
            self.judge(recipient.index, code, outcome)?;
        }
        if self.taken.is_empty() {
            return self.reset().await;
        }
        self.begin_message(composer, message, self.taken.len(), unanswered)
            .await?;
        let code = self.reply().await?;
        self.finish(composer, message, unanswered, code, outcome)
            .await
    }

    /// DATA, or the whole message as one chunk, for so many recipients.
    async fn begin_message(
        &mut self,
        composer: &Composer,
        message: &Message,
        recipients: usize,
        unanswered: &Cell<u16>,
    ) -> io::Result<()> {
        if self.offers.chunking {
            unanswered.set(count(recipients));
            return self.write_chunk(composer, message).await;
        }
        self.out.extend_from_slice(b"DATA\r\n");
        self.flush().await
    }

    /// `code` answered DATA or BDAT: the message follows the one and is behind the other.
    async fn finish(
        &mut self,
        composer: &Composer,
        message: &Message,
        unanswered: &Cell<u16>,
        mut code: u16,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        let mut is_over = self.offers.chunking && is_yes(code);
        if code == 354 && !self.offers.chunking {
            if self.taken.is_empty() {
                // A server that takes DATA without a recipient waits for its end (RFC 2920 §3.1).
                self.stream.write_all(b".\r\n").await?;
            } else {
                unanswered.set(count(self.taken.len()));
                write_all(&mut self.stream, &mut composer.data(message)).await?;
            }
            code = self.reply().await?;
            is_over = true;
        }
        unanswered.set(0);
        if is_yes(code) {
            outcome.accepted += count(self.taken.len());
        } else {
            for index in std::mem::take(&mut self.taken) {
                self.judge(index, code, outcome)?;
            }
        }
        if is_over {
            return Ok(());
        }
        self.reset().await
    }

    /// Sorts one recipient by the answer.
    fn judge(&mut self, index: u16, code: u16, outcome: &mut Outcome) -> io::Result<()> {
        match code {
            200..=299 => self.taken.push(index),
            400..=499 => outcome.deferred.push(index),
            500..=599 => outcome.refused += 1,
            _ => return Err(io::Error::other(self.replies.text())),
        }
        self.note(code, outcome);
        Ok(())
    }

    /// Keeps the first reply that says no.
    fn note(&self, code: u16, outcome: &mut Outcome) {
        if !is_yes(code) && outcome.trouble.is_none() {
            outcome.trouble = Some(self.replies.text());
        }
    }

    async fn reset(&mut self) -> io::Result<()> {
        self.stream.write_all(b"RSET\r\n").await?;
        self.reply().await.map(drop)
    }

    fn write_mail(&mut self, message: &Message) {
        self.out.extend_from_slice(b"MAIL FROM:<");
        self.out.extend_from_slice(&message.sender);
        self.out.push(b'>');
        if self.offers.size {
            // Writing to a vector does not fail.
            let _ = write!(self.out, " SIZE={}", message.octets());
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn write_rcpt(&mut self, message: &Message, at: usize) {
        self.out.extend_from_slice(b"RCPT TO:<");
        self.out
            .extend_from_slice(message.address(&message.recipients[at]));
        self.out.extend_from_slice(b">\r\n");
    }

    /// The commands so far, BDAT, and the message behind it.
    async fn write_chunk(&mut self, composer: &Composer, message: &Message) -> io::Result<()> {
        let _ = write!(self.out, "BDAT {} LAST\r\n", message.octets());
        let [head, text, end] = composer.chunk(message);
        let mut all = [IoSlice::new(&self.out), head, text, end];
        write_all(&mut self.stream, &mut all).await?;
        self.out.clear();
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }
}

/// Writes all slices, as few writes as the system allows.
async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin + ?Sized),
    mut slices: &mut [IoSlice<'_>],
) -> io::Result<()> {
    while !slices.is_empty() {
        let written = stream.write_vectored(slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut slices, written);
    }
    // TLS keeps a record until it is told.
    stream.flush().await
}

fn is_yes(code: u16) -> bool {
    code / 100 == 2
}

fn count(recipients: usize) -> u16 {
    u16::try_from(recipients).unwrap_or(u16::MAX)
}
