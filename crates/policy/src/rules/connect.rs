//! Rules before the greeting: none yet. Blocked networks and DNS blocklists belong here.
//!
//! How many connections a client may hold is not decided here but in `smtp-in`, before any session exists.

use crate::rules::{NO_OBJECTION, Rules};

pub(super) const RULES: Rules = Rules {
    objections: &[],
    grounds: NO_OBJECTION,
};
