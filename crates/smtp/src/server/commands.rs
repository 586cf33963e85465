//! Commands of the client: in which state each may come, and what it leads to (RFC 5321 §4.1.4).
//!
//! A command that is wrong in form or order changes nothing and gets its reply at once. What is right in both becomes
//! a question to the driver; it takes effect in `answers`. No decision about mail is made here.

use std::time::Instant;

use envelope::{Envelope, Recipient};

use super::state::{Body, Question, Skip, Source, State};
use super::{Auth, Event, Hello, Session, replies};
use crate::command::{self, Chunk, Command, CommandError, Mail, Rcpt};
use crate::limits;
use crate::line::LineError;
use crate::params::{MailParams, OriginalParam, RcptParams};
use crate::path::PathError;
use crate::xclient::{Xclient, XclientError};

impl Session {
    /// Reads the next command; false when there is none yet.
    pub(super) fn take_command(&mut self, now: Instant) -> bool {
        // The command borrows from the input while the session changes.
        let mut input = std::mem::take(&mut self.input);
        let in_exchange = matches!(self.state, State::ExpectCredentials(..));
        let line = input.next_line(match in_exchange {
            true => limits::AUTH_LINE_OCTETS_MAX,
            false => limits::COMMAND_OCTETS_MAX,
        });
        let progressed = line.is_some();
        let told = self.events.len();
        match line {
            None => {}
            // What follows may be no line, or part of this one: nobody's command.
            Some(Err(error)) => {
                self.close_with(&match error {
                    LineError::TooLong if in_exchange => replies::auth_line_too_long(),
                    _ => replies::bad_line(error),
                });
                self.blame(told, sound_part(input.unread()));
            }
            Some(Ok(line)) if in_exchange => {
                self.response(line);
                self.blame(told, b"AUTH");
            }
            Some(Ok(line)) => {
                match command::parse(line) {
                    Ok(command) => self.command(now, command),
                    Err(error) => self.bad_command(error),
                }
                self.blame(told, line);
            }
        }
        if self.secrets_may_follow {
            input.wipe_used();
        }
        self.input = input;
        if progressed {
            self.clock.command = now;
            self.counts.commands += 1;
        }
        progressed
    }

    /// Tells of which command the refusals behind the first `told` events are.
    fn blame(&mut self, told: usize, line: &[u8]) {
        let new = self.events.iter_mut().skip(told);
        new.for_each(|event| event.blame(line, self.secrets_may_follow));
    }

    /// The 220, unless the client (or someone between) sent more in clear: that could only be meant to be
    /// taken as if it came by TLS (RFC 3207 §4, CVE-2011-0411).
    pub(super) fn begin_tls(&mut self) -> bool {
        if !self.input.unread().is_empty() {
            self.close_with(&replies::bytes_behind_starttls());
            return false;
        }
        self.reply(&replies::start_tls());
        self.state = State::ExpectTls;
        self.events.push_back(Event::StartTls);
        false
    }

    fn bad_command(&mut self, error: CommandError) {
        let reply = replies::bad_command(error);
        if error == CommandError::BadChunk {
            // Where the chunk ends is unknown: its bytes must not be taken for commands.
            self.close_with(&reply);
        } else {
            self.reply(&reply);
        }
    }

    fn command(&mut self, now: Instant, command: Command<'_>) {
        match command {
            Command::Quit => self.quit(),
            Command::Bdat(chunk) => self.bdat(now, chunk),
            _ if matches!(self.state, State::ExpectQuit) => {
                self.reply(&replies::refused_client());
            }
            Command::Mail(mail) if mail.unbracketed && !self.unbracketed_paths => {
                self.bad_command(CommandError::Sender(PathError::NotAPath));
            }
            Command::Rcpt(rcpt) if rcpt.unbracketed && !self.unbracketed_paths => {
                self.bad_command(CommandError::Recipient(PathError::NotAPath));
            }
            Command::Ehlo(name) => self.hello_command(name, true),
            Command::Helo(name) => self.hello_command(name, false),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(rcpt) => self.rcpt(rcpt),
            Command::Data => self.data(),
            Command::StartTls => self.start_tls(),
            Command::Auth(auth) => self.auth(auth),
            Command::Xclient(attributes) => self.xclient(attributes),
            Command::Rset => {
                self.counts.idle_commands += 1;
                self.drop_transaction();
                self.reply(&replies::ok());
            }
            Command::Noop => self.idle(&replies::ok()),
            Command::Vrfy => self.idle(&replies::cannot_verify()),
            Command::Help => self.idle(&replies::help()),
        }
    }

    /// Commands that can go on for ever without a message are counted (RFC 5321 §7.8).
    fn idle(&mut self, reply: &envelope::Reply) {
        self.counts.idle_commands += 1;
        self.reply(reply);
    }

    /// XCLIENT_README: only outside of a transaction; and LOGIN only where users can log in.
    fn xclient(&mut self, attributes: &str) {
        self.counts.idle_commands += 1;
        if self.state.transaction().is_some() {
            return self.reply(&replies::within_transaction());
        }
        if !self.xclient {
            return self.reply(&replies::no_xclient());
        }
        match Xclient::parse(attributes) {
            Ok(xclient) if xclient.user.is_some() && self.auth == Auth::NotOffered => {
                self.reply(&replies::bad_xclient(XclientError::Unknown));
            }
            Ok(xclient) => {
                self.unbracketed_paths = false;
                let login = xclient.user.is_some();
                self.ask(Question::Xclient { login }, Event::Xclient(xclient));
            }
            Err(error) => self.reply(&replies::bad_xclient(error)),
        }
    }

    /// RFC 5321 §4.1.1.10: also drops what is open; nothing behind it is looked at.
    fn quit(&mut self) {
        self.drop_transaction();
        self.quit = true;
        self.close_with(&replies::bye());
    }

    /// A transaction is dropped only when the greeting is accepted (RFC 5321 §4.1.4).
    fn hello_command(&mut self, name: &str, extended: bool) {
        if self.state.hello().is_some() {
            self.counts.idle_commands += 1;
        }
        let hello = Hello {
            name: name.into(),
            extended,
        };
        self.ask(Question::Hello(hello.clone()), Event::Hello(hello));
    }

    /// RFC 5321 §4.1.1.2. Everything that can be refused without asking is, so that the gate sees sound envelopes only.
    fn mail(&mut self, mail: Mail<'_>) {
        let State::ExpectMail(hello) = &self.state else {
            return self.reply(&match self.state {
                State::ExpectHello => replies::hello_first(),
                State::ExpectChunk(..) => replies::within_chunks(),
                _ => replies::nested_mail(),
            });
        };
        if !hello.extended && mail.params != MailParams::default() {
            return self.reply(&replies::params_without_ehlo());
        }
        if mail.non_ascii && !mail.params.smtputf8 {
            return self.reply(&replies::needs_smtputf8());
        }
        if mail.params.require_tls && !self.tls {
            return self.reply(&replies::requiretls_needs_tls());
        }
        if mail.params.size.unwrap_or(0) > self.settings.size_max {
            return self.reply(&replies::too_large(&self.settings));
        }
        if self.counts.transactions >= self.settings.transactions_max {
            return self.close_with(&replies::too_many_transactions());
        }
        let envelope = Envelope {
            reverse_path: mail.reverse_path,
            recipients: Vec::new(),
            body: mail.params.body.unwrap_or_default(),
            smtputf8: mail.params.smtputf8,
            require_tls: mail.params.require_tls,
            declared_size: mail.params.size,
            ret: mail.params.ret,
            envid: mail.params.envid.map(crate::xtext::Xtext::decode),
            dropped: mail.params.dropped.to_vec(),
        };
        self.ask(Question::Mail(envelope.clone()), Event::Mail(envelope));
    }

    /// RFC 5321 §4.1.1.3. A recipient too many is no reason to turn the transaction away: the client sends the rest in
    /// another (§4.5.3.1.10).
    fn rcpt(&mut self, rcpt: Rcpt<'_>) {
        let State::ExpectRcpt(hello, transaction) = &mut self.state else {
            return self.reply(&match self.state {
                State::ExpectHello => replies::hello_first(),
                State::ExpectChunk(..) => replies::within_chunks(),
                _ => replies::mail_first(),
            });
        };
        if !hello.extended && rcpt.params != RcptParams::default() {
            transaction.refused = true;
            return self.reply(&replies::params_without_ehlo());
        }
        if rcpt.non_ascii && !transaction.envelope.smtputf8 {
            transaction.refused = true;
            return self.reply(&replies::needs_smtputf8());
        }
        if transaction.envelope.recipients.len() >= self.settings.recipients_max {
            return self.reply(&replies::too_many_recipients());
        }
        // An ORCPT that only SMTPUTF8 can carry is dropped without it, like any that cannot be read.
        let smtputf8 = transaction.envelope.smtputf8;
        let given = rcpt.params.original;
        let original = given.filter(|given| smtputf8 || given.address.as_str().is_ascii());
        let dropped = &mut transaction.envelope.dropped;
        if (rcpt.params.original_dropped || original != given) && !dropped.contains(&"ORCPT") {
            dropped.push("ORCPT");
        }
        let recipient = Recipient {
            forward_path: rcpt.forward_path,
            notify: rcpt.params.notify,
            original: original.map(OriginalParam::decode),
        };
        self.ask(Question::Rcpt(recipient.clone()), Event::Rcpt(recipient));
    }

    /// RFC 5321 §4.1.1.4.
    fn data(&mut self) {
        match self.reason_against_body() {
            None => self.ask(Question::Data, Event::Data),
            Some(reply) => {
                self.last_of_group = Some(replies::bytes_behind_data());
                self.reply(&reply);
            }
        }
    }

    /// Whatever is wrong with a BDAT, its octets are read over before the reply (RFC 3030 §2), and once a chunk of a
    /// transaction has failed, so do the others: half a message is never taken for a whole one.
    fn bdat(&mut self, now: Instant, chunk: Chunk) {
        if chunk.octets > self.settings.octets_read_max() {
            return self.close_with(&replies::too_large(&self.settings));
        }
        // The next chunk of a body, be it wanted or read over.
        if let State::ExpectChunk(..) = self.state {
            let State::ExpectChunk(hello, transaction, mut body) = self.take_state() else {
                unreachable!("looked at above")
            };
            if let Source::Chunks {
                chunk: at, left, ..
            } = &mut body.source
            {
                (*at, *left) = (chunk, chunk.octets);
            }
            self.state = State::Body(hello, transaction, body);
            return;
        }
        let reply = match self.reason_against_body() {
            None => return self.ask(Question::Chunk(chunk), Event::Data),
            Some(_) if matches!(self.state, State::ExpectQuit) => replies::refused_client(),
            Some(reply) => reply,
        };
        if matches!(self.state, State::ExpectRcpt(..)) {
            self.events.extend(Event::refused("data", &reply));
            self.fail_chunks(now, chunk, reply);
        } else {
            self.skip = Some(Skip {
                left: chunk.octets,
                reply,
            });
        }
    }

    /// A first chunk that is refused: the transaction reads the rest of the chunks over.
    pub(super) fn fail_chunks(&mut self, now: Instant, chunk: Chunk, reply: envelope::Reply) {
        if let State::ExpectRcpt(hello, transaction) = self.take_state() {
            self.events.push_back(Event::Reset);
            let body = Body::chunks(now, chunk, Some(reply), &self.settings);
            self.state = State::Body(hello, transaction, body);
        }
    }

    /// Why no body may begin now.
    fn reason_against_body(&self) -> Option<envelope::Reply> {
        match &self.state {
            State::ExpectRcpt(_, transaction) if !transaction.envelope.recipients.is_empty() => {
                None
            }
            State::ExpectRcpt(_, transaction) if transaction.refused => {
                Some(replies::no_valid_recipients())
            }
            State::ExpectRcpt(..) => Some(replies::recipients_first()),
            State::ExpectChunk(..) => Some(replies::within_chunks()),
            State::ExpectHello => Some(replies::hello_first()),
            _ => Some(replies::mail_first()),
        }
    }

    /// RFC 3207 §4: behind EHLO, before MAIL, once. The 220 waits for [`Session::begin_tls`].
    fn start_tls(&mut self) {
        if self.tls {
            self.reply(&replies::tls_already());
        } else if !self.settings.tls_available {
            self.reply(&replies::tls_not_offered());
        } else if matches!(&self.state, State::ExpectMail(hello) if hello.extended) {
            self.state = State::StartTls;
        } else {
            self.reply(&replies::tls_not_now());
        }
    }
}

/// What of a line that is none may be shown as one.
fn sound_part(line: &[u8]) -> &[u8] {
    let end = memchr::memchr3(b'\r', b'\n', 0, line);
    &line[..end.unwrap_or(line.len())]
}
