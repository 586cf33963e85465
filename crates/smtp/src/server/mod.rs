//! The server side of a session (RFC 5321 §4), without I/O.

mod event;
mod settings;

use std::sync::Arc;
use std::time::Instant;

use envelope::{Envelope, Reply, Verdict};

pub use event::{Event, Hello};
pub use settings::{Settings, Timeouts};

/// One connection, from its greeting to its close.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// A session whose client just connected; its first event is [`Event::Connect`].
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        unimplemented!()
    }
    /// Takes bytes as they came. Any split will do.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        unimplemented!()
    }
    /// To be called when [`Session::poll_timeout`] is reached: 421 4.4.2, then [`Event::Closed`].
    pub fn handle_timeout(&mut self, now: Instant) {
        unimplemented!()
    }
    /// The peer closed its side: nothing is written any more.
    pub fn handle_closed(&mut self) {
        unimplemented!()
    }
    /// TLS has begun: input that was buffered in clear is dropped, the client must say EHLO again (RFC 3207 §4.2).
    pub fn handle_tls_started(&mut self, now: Instant) {
        unimplemented!()
    }
    /// Drain.
    pub fn handle_shutdown(&mut self, now: Instant) {
        unimplemented!()
    }
    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }
    /// Answers the open question.
    pub fn answer(&mut self, now: Instant, verdict: Verdict) {
        unimplemented!()
    }
    /// Answers [`Event::BodyEnd`].
    pub fn answer_body(&mut self, now: Instant, reply: Reply) {
        unimplemented!()
    }
    /// After a failed write of the draft: the rest of the body is read and dropped, then `reply` is given.
    pub fn refuse_body(&mut self, reply: Reply) {
        unimplemented!()
    }
    /// Bytes to write to the client; the driver drains it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        unimplemented!()
    }
    /// When [`Session::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Instant {
        unimplemented!()
    }
    /// False while a question is open or the buffer is full.
    pub fn wants_input(&self) -> bool {
        unimplemented!()
    }
    /// Whether the answer to a question is outstanding.
    pub fn is_asking(&self) -> bool {
        unimplemented!()
    }
    /// The transaction as accepted so far.
    pub fn envelope(&self) -> Option<&Envelope> {
        unimplemented!()
    }
    /// The last accepted EHLO or HELO.
    pub fn hello(&self) -> Option<&Hello> {
        unimplemented!()
    }
}
