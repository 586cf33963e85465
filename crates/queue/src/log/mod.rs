//! The segment log: the truth of the spool.
//!
//! `header` is what a file says of itself, `segment` the set of them (`spare` the next ones), `record` what is in a file, `codec`, `rows` and `state` what is in a record, `committer` the
//! one thread that writes, `tail` where it writes, `recovery` the reading of what a crash left, `repair` and `salvage` what a damaged record still says, `compact` (in `index`) gives room back.

pub(crate) mod codec;
pub(crate) mod committer;
pub(crate) mod fields;
pub(crate) mod header;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod repair;
pub(crate) mod rows;
pub(crate) mod salvage;
pub(crate) mod segment;
mod spare;
mod state;
pub(crate) mod tail;
pub(crate) mod vouch;
