//! Who wrote a message, as far as its header and DNS can prove it: DKIM (RFC 6376, 8301, 8463), ARC (RFC 8617) and
//! DMARC (RFC 9989).
//!
//! A [`Reader`] takes the message as it streams in, and keeps its header block and a hash of its body: memory does not
//! grow with the message. What it has read, [`Parsed`], is verified once ([`Parsed::verify`]), with every look-up
//! through [`dns::Resolver`]. Whatever is odd does not pass: a signature that covers part of the body, a tag named twice,
//! a From that two mail programs would read in two ways.
//!
//! It also writes what a relay says of a message: the fields with the results ([`field`], [`received_spf`]), and with a
//! [`Key`] a signature ([`sign`]) and an ARC set ([`seal`]).
//!
//! It does *not* decide what becomes of the message.

mod author;
mod canonical;
mod chain;
mod dkim;
mod dmarc;
mod header;
mod keys;
mod outcome;
mod published;
mod reader;
mod results;
mod sign;
mod signature;
mod tags;
mod texts;

pub use canonical::{Canonical, relaxed_field, simple_field};
pub use header::{Field, Header};
pub use keys::{Key, KeyError, Kind};
pub use outcome::{Chain, Dmarc, Results, Signed, Spf, Verdict};
pub use reader::{Parsed, Reader};
pub use results::{CLAIM_OCTETS_MAX, Checked, SpfFacts, field, is_ours, received_spf};
pub use sign::{seal, sign};

#[cfg(test)]
mod tests;
