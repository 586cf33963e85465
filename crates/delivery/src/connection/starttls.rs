//! STARTTLS over an open connection (RFC 3207).

use std::sync::Arc;
use std::time::Instant;

use envelope::TlsFailure;
use rustls::ClientConfig;
use smtp::client::Event;
use tokio::time::timeout;

use super::Connection;
use crate::opening::{NoTls, OpenError, Opening};
use crate::peer::Endpoint;

impl Connection {
    pub(super) async fn start_tls(
        &mut self,
        config: &Arc<ClientConfig>,
        opening: &Opening,
    ) -> Result<(), OpenError> {
        self.session.start_tls(Instant::now());
        match self.event().await {
            Event::TlsGo => {}
            // Then in clear, over this connection.
            Event::TlsRefused(_) if opening.security.may_be_clear() => return Ok(()),
            Event::TlsRefused(reply) => return Err(self.no_starttls(&reply.to_string())),
            Event::Closed(diagnosis) => return Err(OpenError::closed(diagnosis)),
            event => unreachable!("{event:?} after STARTTLS"),
        }
        let Some(stream) = self.stream.take() else {
            unreachable!("only closing takes the stream, and that is the last event")
        };
        let Endpoint::Tcp(address) = self.peer.address else {
            let why = "a socket of this machine";
            return Err(self.no_tls(NoTls::new(TlsFailure::ValidationFailure, why)));
        };
        let name = opening.security.base().or(self.peer.name.as_ref());
        let handshake = stream.start_tls(Arc::clone(config), name, address.ip());
        let stream = match timeout(opening.session.timeouts.hello, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.no_tls(NoTls::handshake(&error))),
            Err(_) => return Err(self.no_tls(NoTls::new(TlsFailure::ValidationFailure, "timeout"))),
        };
        self.proof = opening.security.proof();
        self.stream = Some(stream);
        self.session.handle_tls_started(Instant::now());
        self.hello().await.map_err(OpenError::closed)
    }

    pub(super) fn no_starttls(&self, reason: &str) -> OpenError {
        self.no_tls(NoTls::new(TlsFailure::StarttlsNotSupported, reason))
    }

    fn no_tls(&self, mut why: NoTls) -> OpenError {
        self.peer.sign(&mut why.diagnosis);
        OpenError::Tls(why)
    }
}
