//! Somebody else's opinion of a message: rspamd over HTTP, clamd, milters.
//!
//! A [`Filter`] is asked once a message, with the [`Facts`] of the transaction and the whole [`Body`], and gives an [`Opinion`].
//! Filters are trusted to judge, and with nothing else: an answer is bounded in size and time, its words are cleaned, and what
//! would change the message is left undone and said in [`Opinion::remarks`].
//!
//! It does *not* decide: what follows from an opinion, or from a filter that [`Failed`], is the caller's.

mod address;
mod clamd;
mod clean;
mod facts;
mod filter;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
mod milter;
mod opinion;
mod rspamd;

pub use address::{Address, BadAddress};
pub use facts::{Body, Facts};
pub use filter::{Definition, Filter, Kind, NoSuchFilter};
pub use opinion::{Failed, Opinion, Verdict};
