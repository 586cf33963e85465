//! DNS as mail sees it: the [`Resolver`] trait and two resolvers, [`Hickory`] and [`Fixed`].
//!
//! The contract of every lookup: an answer is never empty (that is [`Error::NoRecords`]); "there is no such name" is
//! never confused with "could not find out" (RFC 5321 §5.1: the first is permanent, the second is not); names are asked
//! as they are, fully qualified: no search list, no hosts file.
//!
//! What mail is sent by (MX, addresses of hosts, TLSA) comes with its proof by DNSSEC, where that is validated ([`Answer`]); an answer
//! that is forged or whose signature has expired is trouble, never an answer and never absence.
//!
//! Answers are kept as long as their TTL says, that there is none too, and failures for a moment. It does *not* choose among
//! MX records or addresses.

mod fixed;
mod hickory;
mod proof;
mod resolver;
mod settings;

pub use fixed::Fixed;
pub use hickory::Hickory;
pub use proof::Proof;
pub use resolver::{Answer, Backend, Error, Mx, Resolver, Tlsa};
pub use settings::{Settings, SetupError};
