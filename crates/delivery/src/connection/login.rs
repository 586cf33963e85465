//! Logging in over an open connection.

use std::time::Instant;

use envelope::{Diagnosis, EnhancedStatus, Reply};
use smtp::client::Event;

use super::Connection;
use crate::login::Login;
use crate::opening::OpenError;
use crate::tls::Stream;

impl Connection {
    /// Says who we are: never in clear, whatever the policy.
    pub(super) async fn log_in(&mut self, login: &Login) -> Result<(), OpenError> {
        if let Some(Stream::Clear(_)) = &self.stream {
            return Err(self.no_login("no password is sent without TLS"));
        }
        let Some(exchange) = login.exchange(self.capabilities()) else {
            return Err(self.no_login("the host offers neither AUTH PLAIN nor AUTH LOGIN"));
        };
        let mut line = Some(exchange.command());
        for _ in 0..LOGIN_LINES_MAX {
            let Some(said) = line else { break };
            self.session.authenticate(Instant::now(), &said);
            line = match self.event().await {
                Event::Ready => return Ok(()),
                Event::AuthChallenge(challenge) => exchange.answer(&challenge),
                Event::Closed(refusal) => {
                    let (peer, reply) = (&self.peer, &refusal.reply);
                    let reply = reply.as_ref().map_or(String::new(), Reply::to_string);
                    tracing::error!(%peer, file = %login, reply, "cannot log in; mail for this host waits");
                    return Err(OpenError::NoService(refusal));
                }
                event => unreachable!("{event:?} during a login"),
            };
        }
        Err(self.no_login("the host's AUTH challenges make no sense"))
    }

    fn no_login(&self, text: &str) -> OpenError {
        let mut diagnosis = Diagnosis::local(NO_LOGIN, text);
        self.peer.sign(&mut diagnosis);
        OpenError::NoService(diagnosis)
    }
}

/// RFC 3463 §3.8: security features not supported.
const NO_LOGIN: EnhancedStatus = EnhancedStatus::transient(7, 4);
/// The command, the name and the password.
const LOGIN_LINES_MAX: usize = 3;
