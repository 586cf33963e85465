//! The nouns of mail that every stage shares: addresses, envelope, recipient, message, leg, reply, outcome.
//!
//! All of it is plain data: no socket, file, clock or randomness. An address that exists as one of these
//! types is valid and carries no control character, so it can be written to a peer or a log as it is.
//!
//! It does *not* know the grammar of SMTP commands (`smtp`), nor how any of it is stored (`queue`).

#[macro_use]
mod names;

mod actor;
mod address;
mod class;
mod destination;
mod dmarc;
mod domain;
mod id;
mod leg;
mod mail;
mod network;
mod options;
mod outcome;
mod path;
mod pattern;
mod reply;
mod share;
mod status;
mod timestamp;
mod tls;

pub use actor::Actor;
pub use address::{AddressError, Host, LocalPart, Mailbox};
pub use class::{ReplyClass, ReplyWords};
pub use destination::Destination;
pub use dmarc::DmarcPolicy;
pub use domain::{Domain, DomainError};
pub use id::{LegId, MessageId};
pub use leg::{Claim, Lease, Leg, Merged, Message, Origin, Peer};
pub use mail::{BodyKind, Envelope, Notify, OriginalRecipient, Recipient, Return};
pub use names::NotOneOf;
pub use network::network_of;
pub use options::{LegOptions, NotOptions, SenderTls};
pub use outcome::{Diagnosis, Outcome, Trip};
pub use path::{ForwardPath, ReversePath};
pub use pattern::{
    AddressGlob, AddressPattern, Glob, HostPattern, IdPart, IdPattern, NotAPattern, SenderPattern,
};
pub use reply::{NotARefusal, Reply, Verdict};
pub use share::Share;
pub use status::{Class, EnhancedStatus};
pub use timestamp::{Timestamp, millis};
pub use tls::{PeerTls, Tls, TlsFailure, TlsFinding, TlsPolicy, TlsPolicyKind, TlsProof, TlsUse};
