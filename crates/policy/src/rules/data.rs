//! Rules before the body: none yet.
//!
//! A null reverse path with several recipients is *not* refused: list software and out-of-office replies send
//! such mail, and what it could be abused for (backscatter) needs a sender to answer to.

use crate::facts::Data;
use crate::rules::Rule;

pub(crate) const RULES: &[Rule<Data>] = &[];
