//! Dialogs against the server session itself, without a socket or a clock.
//!
//! The gate is the one that every dialog is written for: `alice` and `bob` of `example.test` exist, other addresses there are
//! refused with 550 5.1.1, all else with 550 5.7.1; 5 recipients, 1,000,000 octets, STARTTLS offered.

use std::sync::Arc;
use std::time::Instant;

use envelope::{EnhancedStatus, ForwardPath, Recipient, Reply, Verdict};
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
    /// Runs in memory. The error names the line, what was expected there and what came.
    pub fn run_in_memory(&self, feeding: Feeding) -> Result<(), String> {
        let how = match feeding {
            Feeding::Whole => "in memory, whole writes",
            Feeding::ByteByByte => "in memory, byte by byte",
        };
        let mut peer = Peer::new();
        let mut skipping = false;
        for step in self.writes() {
            match &step.kind {
                Kind::Send(bytes) => peer.send(bytes, feeding),
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

/// A session and the answers of the gate.
struct Peer {
    session: Session,
    now: Instant,
    replies: Replies,
    closed: bool,
    tls_started: bool,
}

impl Peer {
    fn new() -> Self {
        let settings = Settings {
            hostname: "mx.example.test".to_owned(),
            size_max: 1_000_000,
            recipients_max: 5,
            tls_available: true,
            ..Settings::default()
        };
        let now = Instant::now();
        let mut peer = Self {
            session: Session::new(Arc::new(settings), now),
            now,
            replies: Replies::default(),
            closed: false,
            tls_started: false,
        };
        peer.pump();
        peer
    }

    fn send(&mut self, bytes: &[u8], feeding: Feeding) {
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
            self.pump();
        }
    }

    /// Answers questions until none is open and takes the output.
    fn pump(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Connect | Event::Hello(_) | Event::Mail(_) | Event::Data => {
                    self.session.answer(self.now, Verdict::Accept);
                }
                Event::Rcpt(recipient) => self.session.answer(self.now, gate(&recipient)),
                Event::BodyEnd => {
                    let queued = EnhancedStatus::success(0, 0);
                    let reply = Reply::new(250, queued, "queued as 01HMEMORY");
                    self.session.answer_body(self.now, reply);
                }
                Event::StartTls => {
                    self.take_output();
                    self.session.handle_tls_started(self.now);
                    self.tls_started = true;
                }
                Event::Closed => self.closed = true,
                Event::Body(_)
                | Event::BodyNormalized { .. }
                | Event::BodyAbandoned
                | Event::Reset
                | Event::Refused(_) => {}
            }
        }
        self.take_output();
    }

    fn take_output(&mut self) {
        let output = std::mem::take(self.session.output());
        self.replies.add(&output);
    }
}

fn gate(recipient: &Recipient) -> Verdict {
    let ForwardPath::Mailbox(mailbox) = &recipient.forward_path else {
        return Verdict::Accept;
    };
    let hosted = mailbox
        .domain()
        .is_some_and(|domain| domain.as_str() == "example.test");
    let refuse = |subject, detail, text: &str| {
        let status = EnhancedStatus::permanent(subject, detail);
        Verdict::Refuse(Reply::new(550, status, text))
    };
    match mailbox.local_part().as_str().to_ascii_lowercase().as_str() {
        "alice" | "bob" if hosted => Verdict::Accept,
        _ if hosted => refuse(1, 1, "no such address here"),
        _ => refuse(7, 1, "we do not relay for this domain"),
    }
}

/// About what one read of a socket gives.
const SEGMENT: usize = 16 * 1024;
