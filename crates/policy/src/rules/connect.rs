//! Rules before the greeting: none yet. Blocked networks and DNS blocklists belong here.
//!
//! How many connections a client may hold is not decided here but in `smtp-in`, before any session exists.

use crate::facts::Connect;
use crate::rules::Rule;

pub(crate) const RULES: &[Rule<Connect>] = &[];
