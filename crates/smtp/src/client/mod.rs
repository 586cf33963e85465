//! The client side of a session (RFC 5321 §4), without I/O.
//!
//! The driver gives in bytes and times; takes events with [`Session::poll_event`] until there are none; writes
//! [`Session::output`]; then reads until [`Session::poll_timeout`]. It calls `start_tls`, `authenticate`, `send` or `quit` when
//! it was told [`Event::Ready`] (or [`Event::TlsRefused`]), and sends a body when it was told [`Event::BodyWanted`].
//!
//! Every recipient of a transaction gets exactly one outcome, whatever the peer does: the transaction itself is in
//! `flight`, what follows from a reply in `steps`, waiting times and phrases in `phases`, all words in `outcomes`. A peer that breaks the protocol costs its
//! connection and defers what is undecided. Which host to talk to, TLS, and when to try again is `delivery`'s.

mod commands;
mod event;
mod flight;
mod outcomes;
mod phases;
mod settings;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use envelope::Outcome;

pub use event::{Event, Transaction, TransactionRecipient};
pub use settings::{Settings, Timeouts};

use crate::dot::BareNewline;
use crate::extensions::Capabilities;
use crate::reply::Parser;
use flight::Flight;
use phases::Phase;

/// One connection, from its greeting to its close.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    lmtp: bool,
    state: State,
    parser: Parser,
    capabilities: Capabilities,
    output: Vec<u8>,
    events: VecDeque<Event>,
    /// When the last reply came, or the last thing was sent while none was due.
    since: Instant,
    transactions: u32,
    turned_away: bool,
}

/// What the session waits for.
#[derive(Debug)]
enum State {
    /// The reply to, or the end of, this phase.
    Expect(Phase),
    /// Replies of a transaction, or its body.
    InFlight(Flight),
    Closed,
}

impl Session {
    /// A session on a fresh connection: waits for the greeting, then sends EHLO (HELO when EHLO is refused).
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        Self {
            settings,
            lmtp: false,
            state: State::Expect(Phase::Greeting),
            parser: Parser::default(),
            capabilities: Capabilities::default(),
            output: Vec::new(),
            events: VecDeque::new(),
            since: now,
            transactions: 0,
            turned_away: false,
        }
    }

    /// The same with a server that speaks LMTP (RFC 2033): LHLO, and a reply for each recipient behind the body.
    pub fn lmtp(settings: Arc<Settings>, now: Instant) -> Self {
        Self {
            lmtp: true,
            ..Self::new(settings, now)
        }
    }

    /// Takes bytes as they came; any split or coalescing will do.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        let mut input = bytes;
        while !matches!(self.state, State::Closed) {
            if matches!(self.state, State::Expect(Phase::Tls)) {
                // Between the 220 and the handshake everything belongs to TLS: these bytes do not.
                return self.protocol_error("bytes before the TLS handshake");
            }
            match self.parser.parse(&mut input) {
                None => return,
                Some(Err(error)) => return self.protocol_error(&error.to_string()),
                Some(Ok(reply)) => {
                    self.since = now;
                    self.reply(reply, input.is_empty());
                    if input.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// To be called when [`Session::poll_timeout`] is reached; does nothing before.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| now >= due) {
            self.close_amid(outcomes::timed_out(self.phase()));
        }
    }

    /// The peer closed the connection, or it broke.
    pub fn handle_closed(&mut self, _now: Instant) {
        self.close_amid(outcomes::lost_connection(self.phase()));
    }

    /// TLS has begun: what was learnt in clear is forgotten, and EHLO is sent again (RFC 3207 §4.2). Only after
    /// [`Event::TlsGo`].
    pub fn handle_tls_started(&mut self, now: Instant) {
        if matches!(self.state, State::Closed) {
            return;
        }
        assert!(
            matches!(self.state, State::Expect(Phase::Tls)),
            "TLS began unasked: the driver's bug"
        );
        self.parser = Parser::default();
        self.since = now;
        self.send_hello(Phase::Ehlo);
    }

    /// The next event; take them until there are none.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bytes to write to the peer. The driver drains it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// When [`Session::handle_timeout`] is due; `None` while nothing is: ready, closed, or during the TLS handshake,
    /// which is the driver's to bound. While a body goes out it bounds each piece, so a blocked write too.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.state, State::Closed) {
            return None;
        }
        let timeout = self.phase().timeout(&self.settings.timeouts)?;
        Some(self.since + timeout)
    }

    /// What the peer's EHLO reply offered; nothing after HELO.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether `start_tls`, `authenticate`, `send` and `quit` are possible: from [`Event::Ready`] or [`Event::TlsRefused`] on, until
    /// one of them is called or the connection closes.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Expect(Phase::Idle))
    }

    /// Ends the wait for a reply before its time, as if the time were over: the connection is needed elsewhere. Not after
    /// the end of the body, where the peer may have the message already. Tells whether it was done.
    pub fn give_up(&mut self) -> bool {
        let phase = self.phase();
        let may = matches!(
            phase,
            Phase::Mail | Phase::Rcpt(_) | Phase::Data | Phase::Rset
        );
        if may {
            self.close_amid(outcomes::timed_out(phase));
        }
        may
    }

    /// Whether the connection is over: [`Event::Closed`] is, or was, the last event.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether the last transaction failed with a 4xx to MAIL, or a 421 before its body: on a connection that was used
    /// before, this may be about the connection alone. With [`Transaction::rcpt_only`], any refusal of MAIL counts.
    pub fn is_turned_away(&self) -> bool {
        self.turned_away
    }

    /// Sends STARTTLS (RFC 3207). Only when ready; without effect when closed.
    pub fn start_tls(&mut self, now: Instant) {
        if self.leave_ready(now) {
            commands::end("STARTTLS", &mut self.output);
            self.state = State::Expect(Phase::StartTls);
        }
    }

    /// Sends a line of an AUTH exchange (RFC 4954 §4): the command, then an answer to each [`Event::AuthChallenge`].
    /// [`Event::Ready`] follows when the login is taken; a refusal closes. Only when ready; without effect when closed.
    pub fn authenticate(&mut self, now: Instant, line: &str) {
        if self.leave_ready(now) {
            commands::end(line, &mut self.output);
            self.state = State::Expect(Phase::Auth);
        }
    }

    /// Begins a transaction: MAIL, all RCPT and DATA (unless [`Transaction::rcpt_only`]) in one group when the peer can. What it can never take is failed
    /// at once: [`Event::Done`] without a word to the peer. Only when ready; when closed, everything is deferred.
    pub fn send(&mut self, now: Instant, transaction: Transaction) {
        assert!(
            !transaction.recipients.is_empty(),
            "a transaction without recipients: the driver's bug"
        );
        let mut flight = Flight::new(transaction, &self.capabilities, &self.settings, self.lmtp);
        if !self.leave_ready(now) {
            let lost = outcomes::lost_connection(Phase::Idle);
            flight.decide_rest(&Outcome::Deferred(lost));
            return self.events.push_back(Event::Done(flight.into_outcomes()));
        }
        if flight.is_decided() {
            self.events.push_back(Event::Done(flight.into_outcomes()));
            return self.ready();
        }
        self.transactions += 1;
        self.turned_away = false;
        flight.pump(&self.capabilities, &mut self.output);
        self.state = State::InFlight(flight);
    }

    /// Sends a piece of the body, after [`Event::BodyWanted`]: dots are doubled at the start of lines. A long line goes
    /// as it is. A bare CR or LF cannot go without the risk that the peer takes it for the end of the message (SMTP
    /// smuggling): it fails the transaction with 5.6.0 and closes.
    pub fn send_body(&mut self, now: Instant, chunk: &[u8]) {
        self.go_on_with_body(now, |flight, out| flight.send_body(chunk, out));
    }

    /// Ends the body. A body that did not end in CRLF gets one.
    pub fn finish_body(&mut self, now: Instant) {
        self.go_on_with_body(now, Flight::finish_body);
    }

    /// Our body cannot be read on: everything undecided is deferred, and the connection is to be dropped without
    /// ending the body, so that the peer throws away what it has.
    pub fn abort_body(&mut self, _now: Instant) {
        if matches!(self.state, State::InFlight(_)) {
            self.close(outcomes::body_aborted());
        }
    }

    /// Whether another piece of the body should be sent now: false once the outcome is known.
    pub fn wants_body(&self) -> bool {
        matches!(&self.state, State::InFlight(flight) if flight.wants_body())
    }

    /// Sends QUIT; [`Event::Closed`] follows when it is answered, or the peer closes, or does neither. Only when
    /// ready; without effect when closed.
    pub fn quit(&mut self, now: Instant) {
        if self.leave_ready(now) {
            self.send_quit();
        }
    }

    /// What the session is doing, for logs and diagnoses: `while sending RCPT TO`.
    pub fn phrase(&self) -> &'static str {
        self.phase().phrase()
    }

    fn go_on_with_body(
        &mut self,
        now: Instant,
        write: impl FnOnce(&mut Flight, &mut Vec<u8>) -> Result<(), BareNewline>,
    ) {
        if let State::InFlight(flight) = &mut self.state {
            if flight.phase() == Phase::Body {
                self.since = now;
            }
            if write(flight, &mut self.output).is_err() {
                self.fail_body();
            }
        }
    }

    fn phase(&self) -> Phase {
        match &self.state {
            State::Expect(phase) => *phase,
            State::InFlight(flight) => flight.phase(),
            State::Closed => Phase::Idle,
        }
    }

    /// False when the session is closed meanwhile.
    fn leave_ready(&mut self, now: Instant) -> bool {
        if matches!(self.state, State::Closed) {
            return false;
        }
        assert!(self.is_ready(), "not ready: the driver's bug");
        self.since = now;
        true
    }
}
