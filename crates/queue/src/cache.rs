//! Recent small bodies in memory, bounded in octets: a healthy relay does not read what it has just written.
//!
//! The oldest goes first. It does *not* read the disk when a body is not here.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use envelope::MessageId;

/// Bodies by message.
#[derive(Debug)]
pub(crate) struct BodyCache {
    bodies: HashMap<MessageId, Bytes>,
    /// In order of arrival; may name bodies that are gone.
    order: VecDeque<MessageId>,
    octets: usize,
    octets_max: usize,
}

impl BodyCache {
    pub(crate) fn new(octets_max: usize) -> Self {
        Self {
            bodies: HashMap::new(),
            order: VecDeque::new(),
            octets: 0,
            octets_max,
        }
    }

    /// Keeps a body, and drops old ones for it.
    pub(crate) fn insert(&mut self, id: MessageId, body: Bytes) {
        if body.len() > self.octets_max {
            return;
        }
        self.octets += body.len();
        if let Some(old) = self.bodies.insert(id, body) {
            self.octets -= old.len();
        } else {
            self.order.push_back(id);
        }
        while self.octets > self.octets_max {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.remove(oldest);
        }
        // Bodies leave by `remove` long before they are the oldest: forget their names now and then.
        if self.order.len() > 2 * self.bodies.len() + SLACK {
            self.order.retain(|id| self.bodies.contains_key(id));
        }
    }

    pub(crate) fn body(&self, id: MessageId) -> Option<Bytes> {
        self.bodies.get(&id).cloned()
    }

    pub(crate) fn remove(&mut self, id: MessageId) {
        if let Some(body) = self.bodies.remove(&id) {
            self.octets -= body.len();
        }
    }
}

const SLACK: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_it_is_full() {
        let mut cache = BodyCache::new(10);
        let id = MessageId::from_bits;
        for n in 1..=3 {
            cache.insert(id(n), Bytes::from_static(b"1234"));
        }
        let held = [1, 2, 3].map(|n| cache.body(id(n)).is_some());
        assert_eq!(held, [false, true, true]);
        cache.remove(id(2));
        cache.insert(id(4), Bytes::from_static(b"123456"));
        assert!(cache.body(id(3)).is_some());
        cache.insert(id(5), Bytes::from_static(b"12345678901"));
        assert!(cache.body(id(5)).is_none());
    }
}
