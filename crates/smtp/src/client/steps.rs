//! What a session does with a reply: the next command, an event, or the end.

use envelope::{Diagnosis, Outcome, Reply};

use super::flight::Next;
use super::phases::Phase;
use super::{Event, Session, State, commands, outcomes};
use crate::extensions::Capabilities;

impl Session {
    /// `alone`: nothing was received behind it.
    pub(super) fn reply(&mut self, reply: Reply, alone: bool) {
        match &mut self.state {
            State::Expect(phase) => {
                let phase = *phase;
                self.expected_reply(phase, reply, alone);
            }
            State::InFlight(flight) => {
                self.turned_away |= flight.is_turned_away_by(reply.code);
                let next = flight.reply(&reply, &self.capabilities, &mut self.output);
                self.follow(next);
            }
            State::Closed => {}
        }
    }

    fn expected_reply(&mut self, phase: Phase, reply: Reply, alone: bool) {
        if phase == Phase::Quit || reply.code == 421 {
            return self.close(outcomes::diagnosis(&reply, phase));
        }
        match (phase, reply.is_success()) {
            (Phase::Greeting, true) => self.send_hello(Phase::Ehlo),
            (Phase::Ehlo, true) => {
                self.capabilities = Capabilities::parse(&reply.text);
                self.ready();
            }
            // RFC 5321 §3.2: an old server knows HELO only.
            (Phase::Ehlo, false) if reply.code >= 500 && !self.lmtp => {
                self.send_hello(Phase::Helo);
            }
            (Phase::Helo | Phase::Auth | Phase::Rset, true) => self.ready(),
            (Phase::Auth, false) if reply.code == 334 => {
                self.state = State::Expect(Phase::Idle);
                self.events.push_back(Event::AuthChallenge(reply.text));
            }
            (Phase::StartTls, true) if !alone => {
                self.protocol_error("bytes behind the reply to STARTTLS");
            }
            (Phase::StartTls, true) => {
                self.state = State::Expect(Phase::Tls);
                self.events.push_back(Event::TlsGo);
            }
            (Phase::StartTls, false) => {
                self.state = State::Expect(Phase::Idle);
                self.events.push_back(Event::TlsRefused(reply));
            }
            (Phase::Idle, _) => self.protocol_error("a reply without a command"),
            _ => self.quit_and_close(outcomes::diagnosis(&reply, phase)),
        }
    }

    fn follow(&mut self, next: Next) {
        match next {
            Next::Wait => {}
            Next::WantBody => self.events.push_back(Event::BodyWanted),
            Next::Over => {
                self.done();
                self.ready();
            }
            Next::OverAndReset => {
                self.done();
                commands::end("RSET", &mut self.output);
                self.state = State::Expect(Phase::Rset);
            }
            Next::Close(diagnosis) => self.close(diagnosis),
        }
    }

    fn done(&mut self) {
        if let State::InFlight(flight) = std::mem::replace(&mut self.state, State::Closed) {
            self.events.push_back(Event::Done(flight.into_outcomes()));
        }
    }

    /// Ready again, unless the peer takes no more on this connection (MAILMAX, RFC 9422 §4.1).
    pub(super) fn ready(&mut self) {
        let mail_max = self.capabilities.limits.mail_max;
        if mail_max.is_some_and(|max| self.transactions >= max) {
            return self.send_quit();
        }
        self.state = State::Expect(Phase::Idle);
        self.events.push_back(Event::Ready);
    }

    pub(super) fn send_hello(&mut self, phase: Phase) {
        self.capabilities = Capabilities::default();
        let verb = match phase {
            // RFC 2033 §4.1: the only one that an LMTP server knows.
            _ if self.lmtp => "LHLO",
            Phase::Ehlo => "EHLO",
            _ => "HELO",
        };
        let line = format!("{verb} {}", self.settings.hello_name);
        commands::end(&line, &mut self.output);
        self.state = State::Expect(phase);
    }

    pub(super) fn send_quit(&mut self) {
        commands::end("QUIT", &mut self.output);
        self.state = State::Expect(Phase::Quit);
    }

    pub(super) fn fail_body(&mut self) {
        let diagnosis = outcomes::bare_newline();
        if let State::InFlight(flight) = &mut self.state {
            flight.decide_rest(&Outcome::Failed(diagnosis.clone()));
        }
        self.close(diagnosis);
    }

    /// Closes, perhaps within a reply: what there is of it may be the true reason.
    pub(super) fn close_amid(&mut self, reason: Diagnosis) {
        self.close(match self.parser.unread() {
            Some(words) => outcomes::amid(reason, &words),
            None => reason,
        });
    }

    pub(super) fn protocol_error(&mut self, what: &str) {
        self.close_amid(outcomes::protocol_error(what, self.phase()));
    }

    fn quit_and_close(&mut self, diagnosis: Diagnosis) {
        commands::end("QUIT", &mut self.output);
        self.close(diagnosis);
    }

    /// Ends the session; what is undecided is deferred for this reason.
    pub(super) fn close(&mut self, diagnosis: Diagnosis) {
        match &mut self.state {
            State::Closed => return,
            State::InFlight(flight) => {
                flight.decide_rest(&Outcome::Deferred(diagnosis.clone()));
                self.done();
            }
            State::Expect(_) => {}
        }
        self.state = State::Closed;
        // What was not taken yet and invites to go on is no longer true.
        self.events.retain(|event| matches!(event, Event::Done(_)));
        self.events.push_back(Event::Closed(diagnosis));
    }
}
