//! The server side of a session (RFC 5321 §4), without I/O.
//!
//! The driver gives in bytes, times and answers; takes events with [`Session::poll_event`] until there are none; then
//! writes [`Session::output`] in one go and reads again when [`Session::wants_input`]. Events are questions and facts,
//! see [`Event`]. While a question is open, no further command is looked at: replies come in order, and nothing
//! happens on the word of a client that a verdict may still turn away.
//!
//! Commands are dispatched in `commands` (AUTH has `auth`), verdicts take effect in `answers`, bodies are read in `body`; all words are
//! in `replies`. It decides nothing itself but the form and the order of what is said, and the limits of [`Settings`].

mod answers;
mod auth;
mod body;
mod commands;
mod event;
mod replies;
mod settings;
mod state;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use envelope::{Envelope, Reply};

pub use auth::{Credentials, Mechanism};
pub use event::{Event, Hello, Refusal};
pub use settings::{Settings, Timeouts};

use crate::limits;
use crate::line::LineBuffer;
use crate::reply::write_reply;
use state::{Question, Skip, State};

/// One connection, from its greeting to its close.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    state: State,
    question: Option<Question>,
    skip: Option<Skip>,
    input: LineBuffer,
    output: Vec<u8>,
    events: VecDeque<Event>,
    clock: Clock,
    counts: Counts,
    /// TLS has begun.
    tls: bool,
    auth: Auth,
    /// This client may say on whose behalf it comes.
    xclient: bool,
    draining: bool,
    /// This client may leave out the brackets of paths.
    unbracketed_paths: bool,
    /// The last command must be the last of its group: bytes that lie behind it already are no commands, and answered so.
    last_of_group: Option<Reply>,
    /// The client said QUIT.
    quit: bool,
    /// It said AUTH: what is no command may be a password, sent without waiting for our answer.
    secrets_may_follow: bool,
}

/// Whether the client may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Auth {
    NotOffered,
    /// Under TLS.
    Offered,
    Done,
}

#[derive(Debug)]
struct Clock {
    /// The session began.
    session: Instant,
    /// The last command or answer took effect.
    command: Instant,
    /// The last bytes came.
    bytes: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    errors: u32,
    idle_commands: u32,
    transactions: u32,
    /// Since [`Session::take_commands`].
    commands: u64,
}

impl Session {
    /// A session whose client just connected; its first event is [`Event::Connect`].
    pub fn new(settings: Arc<Settings>, now: Instant) -> Self {
        Self {
            tls: settings.tls_implicit,
            settings,
            state: State::Greeting,
            question: Some(Question::Connect),
            skip: None,
            input: LineBuffer::default(),
            output: Vec::new(),
            events: VecDeque::from([Event::Connect]),
            clock: Clock {
                session: now,
                command: now,
                bytes: now,
            },
            counts: Counts::default(),
            auth: Auth::NotOffered,
            xclient: false,
            draining: false,
            unbracketed_paths: false,
            last_of_group: None,
            quit: false,
            secrets_may_follow: false,
        }
    }

    /// Takes bytes as they came; any split will do. What comes behind an open question is held back: all of it,
    /// so a driver that reads on while not [`Session::wants_input`] has only itself to thank for the memory.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.clock.bytes = now;
        // A body goes round the buffer.
        let direct = self.question.is_none() && self.input.unread().is_empty();
        let used = if direct { self.take_body(bytes) } else { 0 };
        if !matches!(self.state, State::Closed | State::ExpectTls) {
            self.input.push(&bytes[used..]);
        }
        self.advance(now);
    }

    /// To be called when [`Session::poll_timeout`] is reached: 421 4.4.2, then [`Event::Closed`]. Does nothing before
    /// that time, or while a question is open (then it is not the client that is slow).
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.question.is_none() && now >= self.poll_timeout() {
            self.close_with(&replies::timeout());
        }
    }

    /// The client closed the connection, or it broke: nobody reads the output any more. A body that is being
    /// committed stays so, and its answer is due as ever; a body that is not complete is abandoned.
    pub fn handle_closed(&mut self) {
        if !matches!(self.question, Some(Question::BodyEnd)) {
            self.close();
        }
    }

    /// Whether it was the client that ended the session, by QUIT and nothing behind it: no bytes of it can be left to be read.
    pub fn has_parted(&self) -> bool {
        self.quit && self.input.unread().is_empty()
    }

    /// TLS has begun: what the client sent in clear is forgotten, and it must say EHLO again (RFC 3207 §4.2).
    /// Only after [`Event::StartTls`].
    pub fn handle_tls_started(&mut self, now: Instant) {
        if matches!(self.state, State::Closed) {
            return;
        }
        assert!(
            matches!(self.state, State::ExpectTls),
            "TLS began unasked: the driver's bug"
        );
        self.input.clear();
        self.state = State::ExpectHello;
        self.tls = true;
        self.clock.command = now;
    }

    /// `MAIL FROM:a@b.c` is taken from now on: old clients of one's own send it, and from a stranger it is refused.
    pub fn allow_unbracketed_paths(&mut self) {
        self.unbracketed_paths = true;
    }

    /// The client may log in by AUTH once TLS has begun.
    pub fn allow_auth(&mut self) {
        self.auth = Auth::Offered;
    }

    /// The client is a proxy of ours: it may name the real one by XCLIENT, as often as it likes.
    pub fn allow_xclient(&mut self) {
        self.xclient = true;
    }

    /// The relay is to stop: a transaction that has begun may finish, then, or now when there is none, 421 4.3.2 and
    /// [`Event::Closed`].
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.draining = true;
        self.advance(now);
    }

    /// How many commands there were since this was asked last; lines that are none count too.
    pub fn take_commands(&mut self) -> u64 {
        std::mem::take(&mut self.counts.commands)
    }

    /// Ends the session with this reply. Not while a question is open.
    pub fn end(&mut self, reply: &Reply) {
        if !matches!(self.state, State::Closed) {
            self.say(reply);
            self.close();
        }
    }

    /// The next event; take them until there are none.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bytes to write to the client. The driver drains it, best when no more events are there.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// When [`Session::handle_timeout`] is due. Moves with every call of `handle_*` and `answer*`. While a question is
    /// open it is far away: the client is not to blame then.
    pub fn poll_timeout(&self) -> Instant {
        let timeouts = &self.settings.timeouts;
        if self.question.is_some() {
            return self.clock.bytes + timeouts.session;
        }
        let step = match &self.state {
            State::Body(..) => self.clock.bytes.max(self.clock.command) + timeouts.body_bytes,
            _ => self.clock.command + timeouts.command,
        };
        let session = self.clock.session + timeouts.session;
        let body = self.state.body().map(|body| body.since + timeouts.body);
        step.min(body.unwrap_or(session)).min(session)
    }

    /// False while a question is open, a handshake is due, or enough is held back already: stop reading then.
    pub fn wants_input(&self) -> bool {
        self.question.is_none()
            && !matches!(self.state, State::Closed | State::ExpectTls)
            && self.input.unread().len() < limits::INPUT_OCTETS_MAX
    }

    /// The transaction as accepted so far: from the accepted MAIL to the answer to [`Event::BodyEnd`]. It is over when a body
    /// is refused, though the rest is still to be read.
    pub fn envelope(&self) -> Option<&Envelope> {
        match &self.state {
            State::Body(_, _, body) | State::ExpectChunk(_, _, body) if body.refusal.is_some() => {
                None
            }
            state => state.transaction().map(|open| &open.envelope),
        }
    }

    /// The last accepted EHLO or HELO; forgotten when TLS begins.
    pub fn hello(&self) -> Option<&Hello> {
        self.state.hello()
    }

    /// Works off what was received, as far as it goes.
    fn advance(&mut self, now: Instant) {
        while self.question.is_none() && !matches!(self.state, State::Closed) {
            if let Some(reply) = self.reason_to_end() {
                self.close_with(&reply);
                return;
            }
            let progressed = match self.state {
                _ if self.skip.is_some() => self.take_skipped(),
                State::Body(..) => self.take_buffered_body(),
                State::StartTls => self.begin_tls(),
                State::ExpectTls => false,
                _ => self.take_command(now),
            };
            if !progressed {
                return;
            }
        }
    }

    /// Limits and the drain are looked at between commands only, so that every command has its reply.
    fn reason_to_end(&mut self) -> Option<Reply> {
        let last_of_group = self.last_of_group.take();
        if last_of_group.is_some() && !self.input.unread().is_empty() {
            return last_of_group;
        }
        if self.counts.errors >= self.settings.errors_max {
            return Some(replies::too_many_errors());
        }
        if self.counts.idle_commands > self.settings.idle_commands_max {
            return Some(replies::too_many_idle_commands());
        }
        let idle = self.state.transaction().is_none();
        (self.draining && idle).then(replies::shutting_down)
    }

    fn ask(&mut self, question: Question, event: Event) {
        debug_assert!(self.question.is_none(), "one question at a time");
        self.question = Some(question);
        self.events.push_back(event);
    }

    /// A reply of the session's own.
    fn reply(&mut self, reply: &Reply) {
        self.events.extend(Event::refused("session", reply));
        self.say(reply);
    }

    /// A reply that the driver gave, or that it was told of.
    fn say(&mut self, reply: &Reply) {
        if reply.code >= 500 {
            self.counts.errors += 1;
        }
        write_reply(reply, &mut self.output);
    }

    /// Ends with a reply of the session's own.
    fn close_with(&mut self, reply: &Reply) {
        self.reply(reply);
        self.close();
    }

    fn close(&mut self) {
        if matches!(self.state, State::Closed) {
            return;
        }
        self.abandon_draft();
        self.state = State::Closed;
        self.question = None;
        self.skip = None;
        self.input.clear();
        self.events.push_back(Event::Closed);
    }

    /// Ends the transaction, if there is one, on the client's wish.
    fn drop_transaction(&mut self) {
        self.abandon_draft();
        if self.state.transaction().is_some() {
            self.events.push_back(Event::Reset);
        }
        self.state = self.take_state().without_transaction();
    }

    fn abandon_draft(&mut self) {
        if self.state.body().is_some_and(state::Body::has_draft) {
            self.events.push_back(Event::BodyAbandoned);
        }
    }

    /// For states that are consumed by value; the caller puts one back.
    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Closed)
    }
}
