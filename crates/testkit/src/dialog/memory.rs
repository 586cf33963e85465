//! Dialogs against the server session itself, without a socket or a clock. Who answers its questions is the caller's.

use std::sync::Arc;
use std::time::Instant;

use smtp::server::{Event, Session, Settings};

use super::{Dialog, Kind, Replies, fits};

/// In what pieces the session gets its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feeding {
    /// Each write at once, as a pipelining client's segment arrives.
    Whole,
    /// One byte after the other.
    ByteByByte,
}

impl Dialog {
    /// Runs in memory, on a session with these settings; `answer` is given its events. The error names the line, what was
    /// expected there and what came.
    pub async fn run_in_memory(
        &self,
        feeding: Feeding,
        settings: Settings,
        answer: impl AsyncFnMut(&mut Session, Event),
    ) -> Result<(), String> {
        let how = match feeding {
            Feeding::Whole => "in memory, whole writes",
            Feeding::ByteByByte => "in memory, byte by byte",
        };
        let mut peer = Peer::new(settings, answer);
        peer.pump().await;
        let mut skipping = false;
        for step in self.writes() {
            match &step.kind {
                Kind::Send(bytes) => peer.send(bytes, feeding).await,
                Kind::Skip => skipping = true,
                Kind::Expect(expected) => loop {
                    match peer.replies.lines.pop_front() {
                        Some(line) if fits(expected, &line) => {
                            skipping = false;
                            break;
                        }
                        Some(_) if skipping => {}
                        got => {
                            let got = got.unwrap_or_else(|| "(nothing)".to_owned());
                            return Err(self.mismatch(step.line, how, expected, &got));
                        }
                    }
                },
            }
        }
        match peer.replies.left_over() {
            Some(rest) if !skipping => {
                let last = self.steps.last().map_or(1, |step| step.line);
                Err(self.mismatch(last, how, "(no more replies)", &rest))
            }
            _ => Ok(()),
        }
    }
}

/// A session and who answers it.
struct Peer<A> {
    session: Session,
    answer: A,
    now: Instant,
    replies: Replies,
    closed: bool,
    tls_started: bool,
}

impl<A: AsyncFnMut(&mut Session, Event)> Peer<A> {
    fn new(settings: Settings, answer: A) -> Self {
        let now = Instant::now();
        Self {
            session: Session::new(Arc::new(settings), now),
            answer,
            now,
            replies: Replies::default(),
            closed: false,
            tls_started: false,
        }
    }

    async fn send(&mut self, bytes: &[u8], feeding: Feeding) {
        let size = match feeding {
            Feeding::Whole => SEGMENT,
            Feeding::ByteByByte => 1,
        };
        self.tls_started = false;
        for piece in bytes.chunks(size) {
            // What a client sends in clear behind STARTTLS never reaches the session: it goes into the handshake.
            if self.closed || self.tls_started {
                return;
            }
            self.session.handle_bytes(self.now, piece);
            self.pump().await;
        }
    }

    /// Has all events answered and takes the output.
    async fn pump(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::StartTls => {
                    self.take_output();
                    self.session.handle_tls_started(self.now);
                    self.tls_started = true;
                }
                Event::Closed => self.closed = true,
                event => (self.answer)(&mut self.session, event).await,
            }
        }
        self.take_output();
    }

    fn take_output(&mut self) {
        let output = std::mem::take(self.session.output());
        self.replies.add(&output);
    }
}

/// About what one read of a socket gives.
const SEGMENT: usize = 16 * 1024;
