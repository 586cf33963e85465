//! Giving out names: each leads to a place that no other ever leads to.

use std::collections::{BTreeMap, HashMap};

use envelope::Timestamp;
use spool::Token;

use crate::tokens::record::{self, Place};

/// Where each file goes on, and the names that were given out of late.
#[derive(Debug, Default)]
pub(super) struct Names {
    ends: BTreeMap<u32, u64>,
    /// By value: a sender who comes again keeps his name, so that the next hop knows the reverse path.
    recent: HashMap<Box<str>, Token>,
    /// The generation before.
    earlier: HashMap<Box<str>, Token>,
}

impl Names {
    pub(super) fn name(&mut self, value: &str, expires: Timestamp) -> Token {
        let known = self.recent.get(value).or_else(|| self.earlier.get(value));
        let known = known.filter(|token| token.expires == expires);
        let token = known.cloned();
        let token = token.unwrap_or_else(|| self.make(value, expires));
        if self.recent.len() >= RECENT_MAX {
            self.earlier = std::mem::take(&mut self.recent);
        }
        self.recent.insert(value.into(), token.clone());
        token
    }

    fn make(&mut self, value: &str, expires: Timestamp) -> Token {
        let hour = record::hour(expires);
        let end = self.ends.entry(hour).or_default();
        let place = Place::new(hour, *end);
        *end += record::octets(value);
        Token {
            name: place.name(),
            value: value.into(),
            expires,
        }
    }

    /// All before `end` in an hour's file is taken.
    pub(super) fn pass(&mut self, hour: u32, end: u64) {
        let known = self.ends.entry(hour).or_default();
        *known = end.max(*known);
    }

    /// Whether nothing in an hour's file stands there, or behind it.
    pub(super) fn is_free(&self, place: Place) -> bool {
        let end = self.ends.get(&place.hour).copied();
        end.unwrap_or_default() <= place.offset
    }

    pub(super) fn forget(&mut self, hour: u32) {
        self.ends.remove(&hour);
    }
}

/// Names in one generation: some 250 octets each, and two generations.
const RECENT_MAX: usize = 8_192;
