//! What a summary tells waiting legs apart by, two octets a leg each: names that many legs share are kept once.
//!
//! A name goes when its last leg does. There are at most 65,535: a flood of senders finds no room, and counts as one.

use std::collections::HashMap;
use std::sync::Arc;

/// What is kept of a leg's sender and of its last error: places in [`Names`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Labels {
    pub(crate) sender: u16,
    pub(crate) error: u16,
}

/// Names, each with the legs that have it.
#[derive(Debug, Default)]
pub(crate) struct Names {
    places: HashMap<Arc<str>, u16>,
    /// By place, from 1 on.
    names: Vec<(Arc<str>, u32)>,
    free: Vec<u16>,
}

impl Names {
    /// The place of a name, for one more leg.
    pub(crate) fn take(&mut self, name: &str) -> u16 {
        if let Some(place) = self.places.get(name) {
            self.names[usize::from(*place) - 1].1 += 1;
            return *place;
        }
        let name: Arc<str> = name.into();
        let one = (Arc::clone(&name), 1);
        let place = match (self.free.pop(), u16::try_from(self.names.len() + 1)) {
            (Some(place), _) => {
                self.names[usize::from(place) - 1] = one;
                place
            }
            (None, Ok(place)) => {
                self.names.push(one);
                place
            }
            (None, Err(_)) => return NO_ROOM,
        };
        self.places.insert(name, place);
        place
    }

    /// One leg less has it.
    pub(crate) fn give_back(&mut self, place: u16) {
        if place == NO_ROOM {
            return;
        }
        let (name, legs) = &mut self.names[usize::from(place) - 1];
        *legs -= 1;
        if *legs == 0 {
            self.places.remove(name);
            *name = "".into();
            self.free.push(place);
        }
    }

    pub(crate) fn name(&self, place: u16) -> &str {
        match place {
            NO_ROOM => "(others)",
            place => &self.names[usize::from(place) - 1].0,
        }
    }
}

const NO_ROOM: u16 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_and_go_with_their_legs() {
        let mut names = Names::default();
        let (a, again, b) = (names.take("a"), names.take("a"), names.take("b"));
        assert!(a == again && a != b);
        names.give_back(a);
        assert_eq!((names.name(a), names.name(b)), ("a", "b"));
        names.give_back(a);
        assert_eq!(names.take("c"), a);
        assert_eq!((names.name(a), names.places.len()), ("c", 2));
    }

    #[test]
    fn a_flood_of_names_takes_bounded_room() {
        let mut names = Names::default();
        let places: Vec<u16> = (0..70_000).map(|n| names.take(&n.to_string())).collect();
        assert_eq!((places[69_999], names.name(NO_ROOM)), (NO_ROOM, "(others)"));
        assert_eq!(names.names.len(), usize::from(u16::MAX));
        places.into_iter().for_each(|place| names.give_back(place));
        assert!(names.places.is_empty());
        assert_ne!(names.take("a"), NO_ROOM);
    }
}
