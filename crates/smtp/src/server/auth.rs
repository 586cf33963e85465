//! AUTH (RFC 4954) with PLAIN (RFC 4616) and LOGIN: lines of base64 to one question, whether the credentials are right.
//!
//! Only under TLS, once, and outside of transactions. A line behind AUTH is a secret until its exchange is over: it is
//! never taken for a command, nor shown. What was read is wiped from our buffers as soon as it is used.

use std::fmt;

use data_encoding::BASE64;
use envelope::Reply;
use zeroize::Zeroizing;

use super::state::{Question, State};
use super::{Auth, Event, Session, replies};
use crate::command::{self, WORD_OCTETS_MAX, upper_case};
use crate::limits;

/// Who a client says it is, and its proof. The proof is never shown, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How they came.
    pub mechanism: Mechanism,
    /// The user name as given: printable, 1 to 255 octets.
    pub user: Box<str>,
    /// The password, in whatever charset the client has.
    pub password: Zeroizing<Box<[u8]>>,
}

envelope::named! {
    /// A mechanism of SASL.
    pub enum Mechanism {
        /// RFC 4616.
        Plain = "PLAIN",
        /// Never a standard; some clients know nothing else.
        Login = "LOGIN",
    }
}

/// What the next line of an exchange is.
#[derive(Debug)]
pub(super) enum Awaited {
    /// The whole message of PLAIN.
    Plain,
    /// The user name of LOGIN.
    User,
    /// The password of LOGIN, of this user.
    Password(Box<str>),
}

impl Session {
    pub(super) fn auth(&mut self, auth: command::Auth<'_>) {
        self.counts.idle_commands += 1;
        self.last_of_group = Some(replies::bytes_behind_auth());
        self.secrets_may_follow = true;
        if let Some(reply) = self.reason_against_auth() {
            return self.reply(&reply);
        }
        let awaited = match upper_case(auth.mechanism, &mut [0; WORD_OCTETS_MAX]) {
            b"PLAIN" => Awaited::Plain,
            b"LOGIN" => Awaited::User,
            _ => return self.reply(&replies::unknown_mechanism()),
        };
        match auth.initial {
            None => self.challenge(awaited),
            // RFC 4954 §4: an initial response of nothing.
            Some("=") => self.respond(awaited, b""),
            Some(text) => self.respond(awaited, text.as_bytes()),
        }
    }

    fn reason_against_auth(&self) -> Option<Reply> {
        match (self.auth, &self.state) {
            (Auth::NotOffered, _) => Some(replies::auth_not_offered()),
            (Auth::Done, _) => Some(replies::auth_already()),
            (Auth::Offered, _) if !self.tls => Some(replies::auth_needs_tls()),
            (Auth::Offered, State::ExpectMail(hello)) if hello.extended => None,
            (Auth::Offered, _) => Some(replies::auth_not_now()),
        }
    }

    /// The next line of the exchange.
    pub(super) fn response(&mut self, line: &[u8]) {
        self.last_of_group = Some(replies::bytes_behind_auth());
        let State::ExpectCredentials(hello, awaited) = self.take_state() else {
            unreachable!("lines of an exchange come within one")
        };
        self.state = State::ExpectMail(hello);
        match line {
            b"*" => self.reply(&replies::auth_cancelled()),
            text => self.respond(awaited, text),
        }
    }

    fn challenge(&mut self, awaited: Awaited) {
        self.say(&replies::challenge(match awaited {
            Awaited::Plain => "",
            Awaited::User => "VXNlcm5hbWU6",
            Awaited::Password(_) => "UGFzc3dvcmQ6",
        }));
        if let State::ExpectMail(hello) = self.take_state() {
            self.state = State::ExpectCredentials(hello, awaited);
        }
    }

    /// Takes a response, in base64.
    fn respond(&mut self, awaited: Awaited, text: &[u8]) {
        let Ok(octets) = BASE64.decode(text).map(Zeroizing::new) else {
            return self.reply(&replies::bad_credentials());
        };
        let credentials = match awaited {
            Awaited::Plain => plain(&octets),
            Awaited::User => match user(&octets) {
                Some(user) => return self.challenge(Awaited::Password(user)),
                None => Err(replies::bad_credentials()),
            },
            Awaited::Password(user) => Ok(Credentials::new(Mechanism::Login, user, &octets)),
        };
        match credentials {
            Ok(credentials) => self.ask(Question::Credentials, Event::Auth(credentials)),
            Err(reply) => self.reply(&reply),
        }
    }
}

/// `[authorization identity] NUL user NUL password`.
fn plain(octets: &[u8]) -> Result<Credentials, Reply> {
    let mut parts = octets.splitn(3, |octet| *octet == 0);
    let (Some(identity), Some(name), Some(password)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(replies::bad_credentials());
    };
    let user = user(name).ok_or_else(replies::bad_credentials)?;
    if !identity.is_empty() && identity != name {
        return Err(replies::acts_for_another());
    }
    Ok(Credentials::new(Mechanism::Plain, user, password))
}

fn user(octets: &[u8]) -> Option<Box<str>> {
    let name = std::str::from_utf8(octets).ok()?;
    let fits = (1..=limits::USER_OCTETS_MAX).contains(&name.len());
    (fits && !name.contains(char::is_control)).then(|| name.into())
}

impl Credentials {
    fn new(mechanism: Mechanism, user: Box<str>, password: &[u8]) -> Self {
        Self {
            mechanism,
            user,
            password: Zeroizing::new(password.into()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.mechanism.name(), self.user)
    }
}
