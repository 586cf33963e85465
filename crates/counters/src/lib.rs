//! What is counted over time: rates by user, client, sender, recipient and site; their limits; and who is frozen.
//!
//! A [`Limit`] says what may happen how often for one [`Key`], and what happens beyond. [`Counters`] keeps the rates, in memory
//! and bounded. [`Freezes`] keeps the keys that one limit has shut out until an operator lifts it; they outlive a restart, in a file.
//!
//! It decides nothing, and reads no clock: rates take the time since some start of the caller's, which must not be a clock that can
//! be set; freezes take the time of day, which they only keep.

mod counters;
mod forgetful;
mod freezes;
mod key;
mod limit;

pub use counters::Counters;
pub use freezes::{Freeze, Freezes, Mark, Told, Unshared};
pub use key::{Key, Kind, NotAKey};
pub use limit::{Limit, Of, Then};
