//! The index over the log: what is queued, when it is due, who has it.
//!
//! `state` is the part in memory (all that changed lately, all that is leased), `window` the order of all legs by due
//! time, `lease` who works on what, `tree` the rest in sled (`row`: what it says of a message), `keeper` the thread that
//! moves messages between the two (`load`: the way back), `query` the operator's questions and actions, `summary` the queue counted by what `labels` tells of each leg, `compact` the
//! giving back of log segments, `reclaim` which of them need not be read for that, `renew` a fresh sled in the old one's
//! place, `purge` the end of old tokens, `settling` the legs that nobody may change for a moment, `drafts` the bodies on their way in, `damage` what becomes of a message that cannot be read.
//!
//! The rule that keeps it simple: a message is either in memory, and then sled's rows of it count for nothing, or not,
//! and then they are the truth. Only the keeper moves one across.

pub(crate) mod compact;
pub(crate) mod damage;
pub(crate) mod drafts;
pub(crate) mod entry;
pub(crate) mod keeper;
mod labels;
pub(crate) mod lease;
pub(crate) mod load;
mod purge;
pub(crate) mod query;
pub(crate) mod reclaim;
pub(crate) mod renew;
pub(crate) mod row;
pub(crate) mod settling;
pub(crate) mod state;
pub(crate) mod summary;
pub(crate) mod thread;
pub(crate) mod tree;
pub(crate) mod window;
