//! MTA-STS (RFC 8461): a domain names the hosts that take its mail, and wants them to prove themselves by TLS.
//!
//! A TXT record says that there is a policy, and by its `id` whether it is a new one ([`record_id`]). The policy is a text behind
//! HTTPS ([`Policy`]), and holds for as long as it says, whatever becomes of record and text. [`Policies`] finds policies, keeps
//! them, and fetches them anew in time.
//!
//! It does *not* speak HTTPS or write files (the caller does both), nor decide what follows for a delivery.

mod kept;
mod policies;
mod policy;
mod record;

pub use kept::Kept;
pub use policies::{Fault, Fetch, Fetching, Found, Policies};
pub use policy::{Mode, Policy};
pub use record::record_id;
