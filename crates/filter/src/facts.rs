//! What a filter is told of a message, beside the message itself.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use envelope::{Domain, Envelope, MessageId, Tls};
use futures_util::stream::BoxStream;

/// The message from its first octet, our Received field, to its last; CRLF line ends.
pub type Body = BoxStream<'static, io::Result<Bytes>>;

/// Who sent it, and to whom.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Its id in our queue and log.
    pub id: MessageId,
    /// Our own name.
    pub hostname: &'a Domain,
    /// The client.
    pub client: SocketAddr,
    /// Its name, if that leads back to its address.
    pub client_name: Option<&'a Domain>,
    /// The argument of EHLO or HELO; may be empty.
    pub hello: &'a str,
    /// How the connection is encrypted.
    pub tls: Option<Tls<'a>>,
    /// Who has logged in.
    pub user: Option<&'a str>,
    /// MAIL and RCPT.
    pub envelope: &'a Envelope,
    /// Octets of the body.
    pub size: u64,
}
