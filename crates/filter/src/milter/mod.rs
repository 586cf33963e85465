//! A milter: a filter that speaks Sendmail's protocol, as Postfix speaks it (version 6).
//!
//! ```text
//! options ─► connect ─► HELO ─► MAIL ─► RCPT … ─► DATA ─► field … ─► end of header ─► piece of body … ─► end ─► quit
//! ```
//!
//! The whole conversation takes place when the message is there, so a slow client holds no milter, on a connection of its own:
//! what one message leaves behind in a milter cannot reach the next.
//! As in Postfix, a milter does not see our Received field. It may refuse, defer, hold or throw away the message, and add fields:
//! they go on top, also those that a milter adds at the end of the header, for nothing below our trace changes. No other change
//! is offered: what a milter wants changed anyway is a remark. A change of a field that is not there adds it.
//!
//! At the end of a message one reply stands for all recipients. So what a milter says to RCPT counts once it refuses all of them.
//! If it refuses some, the message goes to all, with a remark: nothing is lost by it, and nobody's mail is refused for
//! what concerns another.

mod answer;
mod command;
mod macros;
mod message;
mod options;

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use envelope::Recipient;
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::address::{Address, Connection};
use crate::facts::{Body, Facts};
use crate::opinion::{Failed, Opinion, Verdict};
use answer::Answer;
use message::Message;
use options::{BODY, CONNECT, DATA, END, END_OF_HEADER, HEADER, HELO, MAIL, Options, RCPT, Stage};

/// One conversation.
struct Talk<'a> {
    facts: &'a Facts<'a>,
    stream: FramedRead<Box<dyn Connection>, LengthDelimitedCodec>,
    /// Packets that are not sent yet.
    out: Vec<u8>,
    options: Options,
    /// The stage of which it needs to see no more.
    skipped: Option<&'static Stage>,
    /// How long it may take, and how long it may still take.
    limit: Duration,
    until: Instant,
    answers_left: usize,
    /// The names of the fields of the message, in lower case; too many count as all.
    names: HashSet<Vec<u8>>,
    hold: Option<String>,
    opinion: Opinion,
}

/// Why a conversation is over before the end of the message.
enum Over {
    /// The milter has decided.
    Decided(Verdict),
    Failed(Failed),
}

impl From<Failed> for Over {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// Asks it. It takes the limit at most, but for a milter that says that it is at work: the caller sets an end to that.
pub(crate) async fn ask(
    address: &Address,
    facts: &Facts<'_>,
    body: Body,
    limit: Duration,
    until: Instant,
) -> Result<Opinion, Failed> {
    let stream = within(limit, until, address.connect()).await?;
    talk(stream, facts, body, limit, until).await
}

pub(crate) async fn talk(
    stream: Box<dyn Connection>,
    facts: &Facts<'_>,
    body: Body,
    limit: Duration,
    until: Instant,
) -> Result<Opinion, Failed> {
    let mut talk = Talk {
        facts,
        stream: LengthDelimitedCodec::builder()
            .max_frame_length(PACKET_OCTETS_MAX)
            .new_read(stream),
        out: Vec::new(),
        options: Options::default(),
        skipped: None,
        limit,
        until,
        answers_left: ANSWERS_MAX,
        names: HashSet::new(),
        hold: None,
        opinion: Opinion::of(Verdict::Accept),
    };
    talk.negotiate().await?;
    talk.opinion.verdict = match (talk.replay(body).await, talk.hold.take()) {
        (Err(Over::Failed(failed)), _) => return Err(failed),
        (Ok(()) | Err(Over::Decided(Verdict::Accept)), Some(reason)) => Verdict::Hold(reason),
        (Ok(()), None) => Verdict::Accept,
        (Err(Over::Decided(verdict)), _) => verdict,
    };
    // Out of politeness.
    talk.send(b'Q', &[]);
    let _ = talk.flush().await;
    Ok(talk.opinion)
}

impl Talk<'_> {
    async fn negotiate(&mut self) -> Result<(), Failed> {
        self.send(b'O', &options::offer());
        let answer = self.packet().await;
        let answer = answer.map_err(|Failed(why)| Failed(format!("{why} ({UNLIKE})")))?;
        match answer.split_first() {
            Some((b'O', options)) => self.options = Options::read(options)?,
            _ => return Err(Failed(format!("refuses to work for us ({UNLIKE})"))),
        }
        Ok(())
    }

    async fn replay(&mut self, body: Body) -> Result<(), Over> {
        let facts = self.facts;
        self.tell(&CONNECT, command::connect(facts)).await?;
        self.tell(&HELO, command::texts([facts.hello.to_owned()]))
            .await?;
        self.tell(&MAIL, command::mail(facts.envelope)).await?;
        self.recipients().await?;
        self.tell(&DATA, Vec::new()).await?;
        let mut message = Message::new(body);
        // Our own Received field.
        message.field().await?;
        let keeps_blank = self.options.keeps_blank();
        while let Some((name, value)) = message.field().await? {
            if self.names.len() < NAMES_MAX {
                self.names.insert(name.to_ascii_lowercase());
            }
            self.tell(&HEADER, command::header(&name, &value, keeps_blank))
                .await?;
        }
        self.tell(&END_OF_HEADER, Vec::new()).await?;
        while self.is_told(&BODY)
            && let Some(piece) = message.piece().await?
        {
            self.tell(&BODY, piece.to_vec()).await?;
        }
        self.tell(&END, Vec::new()).await
    }

    async fn recipients(&mut self) -> Result<(), Over> {
        let recipients = &self.facts.envelope.recipients;
        let mut refused: Vec<(&Recipient, Verdict)> = Vec::new();
        for recipient in recipients {
            self.put_macros(&RCPT, Some(recipient));
            match self.event(&RCPT, &command::rcpt(recipient)).await {
                Err(Over::Decided(verdict @ (Verdict::Reject(_) | Verdict::Defer(_)))) => {
                    refused.push((recipient, verdict))
                }
                other => other?,
            }
        }
        if !recipients.is_empty() && refused.len() == recipients.len() {
            let later = refused
                .iter()
                .position(|(_, verdict)| matches!(verdict, Verdict::Defer(_)));
            return Err(Over::Decided(refused.swap_remove(later.unwrap_or(0)).1));
        }
        for (recipient, verdict) in refused {
            if let Verdict::Reject(reply) | Verdict::Defer(reply) = verdict {
                let to = &recipient.forward_path;
                self.opinion
                    .remark(&format!("not refused for {to} alone: {reply}"));
            }
        }
        Ok(())
    }

    async fn tell(&mut self, stage: &'static Stage, data: Vec<u8>) -> Result<(), Over> {
        self.put_macros(stage, None);
        self.event(stage, &data).await
    }

    fn is_told(&self, stage: &'static Stage) -> bool {
        self.options.wants(stage) && self.skipped != Some(stage)
    }

    /// They are sent even if the milter does not want to be told of the stage itself, as Postfix does.
    fn put_macros(&mut self, stage: &'static Stage, recipient: Option<&Recipient>) {
        let value = |name| Some((name, macros::value(name, self.facts, recipient)?));
        let known: Vec<_> = self.options.symbols(stage).filter_map(value).collect();
        if !known.is_empty() {
            command::put_macros(stage, &known, &mut self.out);
        }
    }

    /// Sends a packet, and hears what the milter says to it if it says anything.
    async fn event(&mut self, stage: &'static Stage, data: &[u8]) -> Result<(), Over> {
        if !self.is_told(stage) {
            return Ok(());
        }
        self.send(stage.letter, data);
        if !self.options.answers(stage) {
            if self.out.len() >= command::DATA_OCTETS_MAX {
                self.flush().await?;
            }
            return Ok(());
        }
        loop {
            let packet = self.packet().await?;
            match Answer::read(&packet)? {
                Answer::Continue => return Ok(()),
                Answer::Verdict(verdict) => return Err(Over::Decided(verdict)),
                Answer::Skip => {
                    self.skipped = Some(stage);
                    return Ok(());
                }
                Answer::Progress => self.until = Instant::now() + self.limit,
                Answer::Hold(reason) => self.hold = Some(reason),
                Answer::Add { first, name, value } if *stage == END => {
                    self.add(first, &name, value)
                }
                Answer::Change { name, value } if *stage == END => self.change(&name, value),
                Answer::Refused(what) if *stage == END => {
                    self.opinion.remark(&format!("not done: {what}"))
                }
                Answer::Add { .. } | Answer::Change { .. } | Answer::Refused(_) => {
                    return Err(
                        Failed("wants the message changed before its end".to_owned()).into(),
                    );
                }
            }
        }
    }

    /// rspamd adds its mark so. What stands in the message stays.
    fn change(&mut self, name: &str, value: String) {
        let is_there = self.names.contains(name.to_ascii_lowercase().as_bytes());
        match is_there || self.names.len() >= NAMES_MAX {
            true => self
                .opinion
                .remark(&format!("not done: change of field {name}")),
            false => self.add(false, name, value),
        }
    }

    fn add(&mut self, first: bool, name: &str, mut value: String) {
        if !self.options.keeps_blank() {
            value.insert(0, ' ');
        }
        self.opinion.add(first, name, &value);
    }

    fn send(&mut self, letter: u8, data: &[u8]) {
        command::put_packet(letter, data, &mut self.out);
    }

    async fn flush(&mut self) -> Result<(), Failed> {
        let out = std::mem::take(&mut self.out);
        let stream = self.stream.get_mut();
        let written = async {
            stream.write_all(&out).await?;
            stream.flush().await
        };
        within(self.limit, self.until, written).await
    }

    /// Sends what there is to send, and waits for the milter's next packet.
    async fn packet(&mut self) -> Result<Vec<u8>, Failed> {
        self.flush().await?;
        self.answers_left = self
            .answers_left
            .checked_sub(1)
            .ok_or_else(|| Failed("never stops answering".to_owned()))?;
        let next = async {
            match self.stream.next().await {
                Some(packet) => packet,
                None => Err(io::Error::other("closed before its answer")),
            }
        };
        Ok(within(self.limit, self.until, next).await?.to_vec())
    }
}

async fn within<T>(
    limit: Duration,
    until: Instant,
    io: impl Future<Output = io::Result<T>>,
) -> Result<T, Failed> {
    match timeout_at(until, io).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Failed::late(limit)),
    }
}

/// Why most milters refuse at once, or hang up.
const UNLIKE: &str = "does it need to change or remove fields? that is not offered";
/// A field to add may be long; a milter that claims more has lost its way.
const PACKET_OCTETS_MAX: usize = 1 << 20;
/// Different fields of one message; honest mail has some dozens.
const NAMES_MAX: usize = 1000;
/// One for each field and each piece of a body, and some for what it wants added.
const ANSWERS_MAX: usize = 100_000;

#[cfg(test)]
mod tests;
