//! The demo's destination: the mail server of all its example domains, in memory.
//!
//! It takes everything except mail to `full@` (552, for good) and `busy@` (451, for a while), and tells what it got.

use std::net::SocketAddr;
use std::sync::Arc;

use envelope::{EnhancedStatus, Envelope, Recipient, Reply, Verdict};
use smtp_in::{BindError, Client, Limits, Role, Service, Settings, TlsMode, Visit};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

/// A message that the destination got.
pub(super) struct Arrived {
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
}

/// The destination before it runs.
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    listeners: Vec<smtp_in::Listener>,
    arrived: UnboundedSender<Arrived>,
}

struct Mailroom(UnboundedSender<Arrived>);

struct Letter {
    bytes: Vec<u8>,
    arrived: UnboundedSender<Arrived>,
}

impl Destination {
    /// Binds it; what arrives comes out of the channel.
    pub(super) fn bind(
        address: SocketAddr,
    ) -> Result<(Self, UnboundedReceiver<Arrived>), BindError> {
        let settings = Settings {
            bind: address,
            role: Role::Mx,
            tls: TlsMode::Off,
            proxy_from: Vec::new(),
            xclient_from: Vec::new(),
            session: smtp::server::Settings {
                hostname: "mx.mail.example.com".into(),
                ..Default::default()
            },
        };
        let listeners = smtp_in::bind(vec![settings], Vec::new())?;
        let address = listeners
            .first()
            .and_then(|listener| listener.local_addr().ok())
            .unwrap_or(address);
        let (arrived, arrivals) = unbounded_channel();
        Ok((
            Self {
                address,
                listeners,
                arrived,
            },
            arrivals,
        ))
    }

    /// Runs until `shutdown`.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mailroom = Arc::new(Mailroom(self.arrived));
        smtp_in::serve(self.listeners, Limits::default(), mailroom, shutdown).await;
    }
}

impl Service for Mailroom {
    type Visit = Letter;

    fn visit(self: &Arc<Self>) -> Letter {
        Letter {
            bytes: Vec::new(),
            arrived: self.0.clone(),
        }
    }
}

impl Visit for Letter {
    async fn rcpt(&mut self, _: &Client, _: &Envelope, recipient: &Recipient) -> Verdict {
        match recipient
            .forward_path
            .mailbox()
            .map(|mailbox| mailbox.local_part().as_str())
        {
            Some("full") => refuse(552, EnhancedStatus::permanent(2, 2), "mailbox full"),
            Some("busy") => refuse(
                451,
                EnhancedStatus::transient(2, 0),
                "mailbox busy, try again later",
            ),
            _ => Verdict::Accept,
        }
    }

    async fn data(&mut self, _: &Client, _: &Envelope) -> Verdict {
        Verdict::Accept
    }

    async fn write(&mut self, _: &Client, chunk: Vec<u8>) -> Result<(), Reply> {
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    async fn commit(&mut self, _: &Client, envelope: &Envelope) -> Reply {
        // When the demo is ending, nobody waits for it any more.
        let _ = self.arrived.send(Arrived {
            envelope: envelope.clone(),
            bytes: std::mem::take(&mut self.bytes),
        });
        Reply::new(
            250,
            EnhancedStatus::success(0, 0),
            "delivered to the mailbox",
        )
    }

    fn reset(&mut self) {
        self.bytes.clear();
    }
}

fn refuse(code: u16, status: EnhancedStatus, text: &str) -> Verdict {
    Verdict::Refuse(Reply::new(code, status, text))
}
