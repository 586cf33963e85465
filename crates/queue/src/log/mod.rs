//! The segment log: the truth of the spool.
//!
//! `header` is what a file says of itself, `segment` the set of them, `record` what is in a file, `codec` and `rows` what is in a record, `committer` the
//! one thread that writes, `recovery` the reading of what a crash left, `compact` (in `index`) gives room back.

pub(crate) mod codec;
pub(crate) mod committer;
pub(crate) mod fields;
pub(crate) mod header;
pub(crate) mod mend;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod rows;
pub(crate) mod segment;
pub(crate) mod vouch;
