//! Bodies coming in, by DATA (RFC 5321 §4.1.1.4) or BDAT (RFC 3030).
//!
//! A body that cannot be taken (too large, a bare CR or LF) is read to its true end all the same, and refused there:
//! answering earlier would make its rest commands. A body that goes on beyond `size_max + overrun_max` ends the
//! connection, and so does one with a bare CR or LF: whoever sent it may see its end elsewhere, and what stands behind it
//! is nobody's command.
//!
//! Octets above 127 are taken with or without `BODY=8BITMIME`: such mail is common, refusing it would lose what every
//! destination accepts, and stripping the bit is worse. `BODY=` stays as declared. Long lines are taken too.

use super::state::{Question, Source, State};
use super::{Event, Session, replies};

impl Session {
    /// Body bytes from the input buffer; false when it holds too few.
    pub(super) fn take_buffered_body(&mut self) -> bool {
        let mut input = std::mem::take(&mut self.input);
        let used = self.take_body(input.unread());
        input.consume(used);
        let ended = !matches!(self.state, State::Body(..)) || self.question.is_some();
        self.input = input;
        ended || used > 0
    }

    /// Takes what belongs to the body from the front of `bytes`; gives the number of octets used.
    pub(super) fn take_body(&mut self, bytes: &[u8]) -> usize {
        let State::Body(_, _, body) = &mut self.state else {
            return 0;
        };
        let mut decoded = Vec::new();
        let (used, ended) = body.source.take(bytes, &mut decoded);
        body.octets = body.octets.saturating_add(decoded.len() as u64);
        let refusal = if body.refusal.is_some() {
            None
        } else if body.octets > self.settings.size_max {
            Some(replies::too_large(&self.settings))
        } else {
            let refused = body.line_ends().first_bare();
            refused
                .filter(|_| !self.settings.normalize_newlines)
                .map(replies::bare_newline)
        };
        if let Some(reply) = refusal {
            self.events.extend(Event::refused("message", &reply));
            body.refusal = Some(reply);
            self.events.push_back(Event::BodyAbandoned);
        } else if body.has_draft() && !decoded.is_empty() {
            self.events.push_back(Event::Body(decoded));
        }
        match ended {
            Some(last) => self.chunk_ended(last),
            None => self.bound_overrun(),
        }
        used
    }

    /// Reads over a BDAT that came out of sequence; false when there is more to come.
    pub(super) fn take_skipped(&mut self) -> bool {
        let Some(skip) = &mut self.skip else {
            return false;
        };
        let used = (self.input.unread().len() as u64).min(skip.left);
        skip.left -= used;
        // At most the buffer's length, which is a usize.
        self.input.consume(used as usize);
        if skip.left > 0 {
            return false;
        }
        if let Some(skip) = self.skip.take() {
            self.reply(&skip.reply);
        }
        true
    }

    /// The end of DATA, or of a chunk. `last`: of the message too.
    fn chunk_ended(&mut self, last: bool) {
        let State::Body(hello, transaction, body) = self.take_state() else {
            unreachable!("only a body ends")
        };
        let reply = body.refusal.clone();
        let newlines = body.line_ends().bare();
        let chunk_octets = body.source.chunk_octets();
        self.state = if !last {
            State::ExpectChunk(hello, transaction, body)
        } else if reply.is_some() {
            State::ExpectMail(hello)
        } else {
            State::Body(hello, transaction, body)
        };
        match reply {
            Some(reply) if newlines > 0 && !self.settings.normalize_newlines => {
                self.say(&reply);
                self.close();
            }
            Some(reply) => self.say(&reply),
            None if last => {
                if newlines > 0 {
                    self.events.push_back(Event::BodyNormalized { newlines });
                }
                self.ask(Question::BodyEnd, Event::BodyEnd);
            }
            None => {
                // An empty chunk that is not the last leads nowhere, as often as it likes.
                self.counts.idle_commands += u32::from(chunk_octets == 0);
                self.reply(&replies::chunk_ok(chunk_octets));
            }
        }
    }

    fn bound_overrun(&mut self) {
        if let Some(body) = self.state.body()
            && body.octets > self.settings.octets_read_max()
            && let Some(reply) = body.refusal.clone()
        {
            self.say(&reply);
            self.close();
        }
    }
}

impl Source {
    /// Decodes the front of `bytes`. Gives the octets used and, at the end of DATA or a chunk, whether it is the last.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Option<bool>) {
        match self {
            Self::Data(decoder) => {
                out.reserve(bytes.len());
                match decoder.decode(bytes, out) {
                    Some(used) => (used, Some(true)),
                    None => (bytes.len(), None),
                }
            }
            Self::Chunks {
                passer,
                chunk,
                left,
            } => {
                let used = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                out.reserve(used);
                passer.pass(&bytes[..used], out);
                *left -= used as u64;
                let ended = (*left == 0).then_some(chunk.last);
                if ended == Some(true) {
                    passer.finish(out);
                }
                (used, ended)
            }
        }
    }

    fn chunk_octets(&self) -> u64 {
        match self {
            Self::Data(_) => 0,
            Self::Chunks { chunk, .. } => chunk.octets,
        }
    }
}
