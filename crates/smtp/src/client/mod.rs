//! The client side of a session (RFC 5321 §4), without I/O.

mod event;
mod settings;

use std::sync::Arc;
use std::time::Instant;

use crate::extensions::Capabilities;

pub use event::{Event, Transaction, TransactionRecipient};
pub use settings::{Settings, Timeouts};

/// One connection, from its greeting to its close.
#[derive(Debug)]
pub struct Session {}

impl Session {
    /// A session on a fresh connection: waits for the greeting, then sends EHLO (HELO when EHLO is refused).
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        unimplemented!()
    }
    /// Takes bytes as they came. Any split or coalescing will do.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        unimplemented!()
    }
    /// To be called when [`Session::poll_timeout`] is reached.
    pub fn handle_timeout(&mut self, now: Instant) {
        unimplemented!()
    }
    /// The peer closed the connection, or it broke.
    pub fn handle_closed(&mut self, now: Instant) {
        unimplemented!()
    }
    /// TLS has begun: what was learnt in clear is forgotten, EHLO is sent again.
    pub fn handle_tls_started(&mut self, now: Instant) {
        unimplemented!()
    }
    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }
    /// Bytes to write to the peer; the driver drains it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        unimplemented!()
    }
    /// When [`Session::handle_timeout`] is due; `None` while it is our turn.
    pub fn poll_timeout(&self) -> Option<Instant> {
        unimplemented!()
    }
    /// What the peer's EHLO reply offered.
    pub fn capabilities(&self) -> &Capabilities {
        unimplemented!()
    }
    /// Sends STARTTLS. Only after `Ready`.
    pub fn start_tls(&mut self, now: Instant) {
        unimplemented!()
    }
    /// Begins a transaction. Only after `Ready`.
    pub fn send(&mut self, now: Instant, transaction: Transaction) {
        unimplemented!()
    }
    /// Sends a piece of the body.
    pub fn send_body(&mut self, now: Instant, chunk: &[u8]) {
        unimplemented!()
    }
    /// Ends the body.
    pub fn finish_body(&mut self, now: Instant) {
        unimplemented!()
    }
    /// Gives up: the connection is dropped without ending the body.
    pub fn abort_body(&mut self, now: Instant) {
        unimplemented!()
    }
    /// Whether another piece of the body should be sent now (back-pressure, and false once the outcome is known).
    pub fn wants_body(&self) -> bool {
        unimplemented!()
    }
    /// Sends QUIT; `Closed` follows when it is answered or the peer closes.
    pub fn quit(&mut self, now: Instant) {
        unimplemented!()
    }
    /// What the session is doing, for logs and diagnoses: `while sending RCPT TO`.
    pub fn phrase(&self) -> &'static str {
        unimplemented!()
    }
}
