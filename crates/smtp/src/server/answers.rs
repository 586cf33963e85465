//! Verdicts of the driver taking effect: the only place where a transaction begins, grows or ends well.
//!
//! The question holds what was asked about, so that what takes effect is what was judged. Refusals leave the state as it
//! was (RFC 5321 §4.1.4), except for chunks, which fail the transaction.

use std::time::Instant;

use envelope::{Reply, Verdict};

use super::state::{Body, Question, State, Transaction};
use super::{Auth, Event, Session, replies};

impl Session {
    /// Answers the open question, the last of [`Event`] that was one. For [`Event::BodyEnd`], `Accept` says
    /// `250 2.0.0 Ok`; [`Session::answer_body`] can say more. Without effect after [`Event::Closed`].
    ///
    /// The replies of `Refuse` and `Close` should be 4xx or 5xx.
    pub fn answer(&mut self, now: Instant, verdict: Verdict) {
        let Some(question) = self.question.take() else {
            assert!(
                matches!(self.state, State::Closed),
                "an answer without a question: the driver's bug"
            );
            return;
        };
        self.clock.command = now;
        match verdict {
            Verdict::Accept => self.accept(now, question),
            Verdict::Refuse(reply) => self.refuse(now, question, reply),
            Verdict::Close(reply) => {
                if matches!(question, Question::BodyEnd) {
                    self.end_body();
                }
                self.say(&reply);
                self.close();
            }
        }
        self.advance(now);
    }

    /// Answers [`Event::BodyEnd`] with a reply of the driver's own: 250 when the message is safe, else why not.
    pub fn answer_body(&mut self, now: Instant, reply: Reply) {
        if reply.is_success() {
            debug_assert!(
                !matches!(&self.question, Some(question) if !matches!(question, Question::BodyEnd)),
                "answer_body is for BodyEnd"
            );
        }
        self.answer(now, Verdict::Refuse(reply));
    }

    /// The draft of the body cannot be kept (the disk is full): what is to come of the body is read over, then the
    /// client gets `reply`. The draft counts as dropped: neither [`Event::BodyEnd`] nor [`Event::BodyAbandoned`]
    /// follows.
    pub fn refuse_body(&mut self, reply: Reply) {
        // More of this body may have been read already, its end too. All of it belongs to this draft: another body
        // cannot begin before questions that are not asked yet.
        self.events.retain(|event| {
            !matches!(
                event,
                Event::Body(_)
                    | Event::BodyNormalized { .. }
                    | Event::BodyEnd
                    | Event::BodyAbandoned
            )
        });
        if matches!(self.question, Some(Question::BodyEnd)) {
            return self.answer_body(self.clock.bytes, reply);
        }
        if let State::Body(.., body) | State::ExpectChunk(.., body) = &mut self.state {
            body.refusal.get_or_insert(reply);
        }
    }

    fn accept(&mut self, now: Instant, question: Question) {
        match question {
            Question::Connect if self.draining => self.state = State::ExpectHello,
            Question::Connect => {
                self.state = State::ExpectHello;
                self.reply(&replies::greeting(&self.settings));
            }
            Question::Hello(hello) => {
                self.drop_transaction();
                let offers = replies::Offers {
                    tls: self.settings.tls_available && !self.tls,
                    require_tls: self.tls,
                    auth: self.auth != Auth::NotOffered && self.tls,
                    xclient: self.xclient,
                    xclient_login: self.auth != Auth::NotOffered,
                };
                self.reply(&replies::hello(&self.settings, &hello, offers));
                self.state = State::ExpectMail(hello);
            }
            // The session begins anew, but for its TLS.
            Question::Xclient { login } => {
                if self.auth != Auth::NotOffered {
                    self.auth = if login { Auth::Done } else { Auth::Offered };
                }
                self.accept(now, Question::Connect);
            }
            Question::Credentials => {
                self.auth = Auth::Done;
                self.reply(&replies::logged_in());
            }
            Question::Mail(envelope) => {
                if let State::ExpectMail(hello) = self.take_state() {
                    self.state = State::ExpectRcpt(hello, Transaction::new(envelope));
                }
                self.counts.transactions += 1;
                self.reply(&replies::sender_ok());
            }
            Question::Rcpt(recipient) => {
                if let State::ExpectRcpt(_, transaction) = &mut self.state {
                    transaction.envelope.recipients.push(recipient);
                }
                self.reply(&replies::recipient_ok());
            }
            Question::Data => {
                self.begin_body(Body::data(now, &self.settings));
                self.reply(&replies::send_data());
            }
            Question::Chunk(chunk) => {
                self.begin_body(Body::chunks(now, chunk, None, &self.settings));
            }
            Question::BodyEnd => self.finish(&replies::ok()),
        }
    }

    fn refuse(&mut self, now: Instant, question: Question, reply: Reply) {
        match question {
            Question::Connect | Question::Xclient { .. } => {
                self.state = State::ExpectQuit;
                self.say(&reply);
            }
            Question::Hello(_) | Question::Credentials | Question::Mail(_) => self.say(&reply),
            Question::Rcpt(_) => {
                if let State::ExpectRcpt(_, transaction) = &mut self.state {
                    transaction.refused = true;
                }
                self.say(&reply);
            }
            Question::Data => {
                self.last_of_group = Some(replies::bytes_behind_data());
                self.say(&reply);
            }
            Question::Chunk(chunk) => self.fail_chunks(now, chunk, reply),
            Question::BodyEnd => self.finish(&reply),
        }
    }

    fn begin_body(&mut self, body: Body) {
        if let State::ExpectRcpt(hello, transaction) = self.take_state() {
            self.state = State::Body(hello, transaction, body);
        }
    }

    fn finish(&mut self, reply: &Reply) {
        self.end_body();
        if reply.is_success() {
            self.counts.idle_commands = 0;
        }
        self.say(reply);
    }

    /// The body was answered for: nothing is left to abandon, and its transaction is over.
    pub(super) fn end_body(&mut self) {
        self.state = self.take_state().without_transaction();
    }
}
