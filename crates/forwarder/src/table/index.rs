//! A hash index of numbers: eight octets a slot, no keys.
//!
//! The keys stay in the file's text; a slot has 32 bits of a key's hash and a number that leads to it, and whoever
//! looks up compares the key itself. Open addressing with linear probing; nothing is ever removed.

/// Numbers by hash. Several may have one hash, and even one key.
#[derive(Debug)]
pub(super) struct Index {
    slots: Box<[Slot]>,
    taken: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    /// The number plus one; 0 is an empty slot.
    number: u32,
}

impl Index {
    /// With room for so many numbers; grows beyond.
    pub(super) fn with_room(numbers: usize) -> Self {
        let slots = (numbers + numbers / 2).next_power_of_two().max(SLOTS_MIN);
        Self {
            slots: vec![EMPTY; slots].into_boxed_slice(),
            taken: 0,
        }
    }

    /// Adds a number below `u32::MAX`.
    pub(super) fn insert(&mut self, hash: u64, number: u32) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.taken += 1;
        self.place(Slot {
            hash: short(hash),
            number: number + 1,
        });
    }

    /// The numbers under this hash, and perhaps others: the caller compares.
    pub(super) fn find(&self, hash: u64) -> impl Iterator<Item = u32> {
        let hash = short(hash);
        let mask = self.slots.len() - 1;
        (0..self.slots.len())
            .map(move |step| self.slots[(hash as usize + step) & mask])
            .take_while(|slot| slot.number != 0)
            .filter(move |slot| slot.hash == hash)
            .map(|slot| slot.number - 1)
    }

    /// All numbers, in no order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        let taken = self.slots.iter().filter(|slot| slot.number != 0);
        taken.map(|slot| slot.number - 1)
    }

    pub(super) fn octets(&self) -> usize {
        size_of_val(&*self.slots)
    }

    fn grow(&mut self) {
        let bigger = vec![EMPTY; self.slots.len() * 2].into_boxed_slice();
        let old = std::mem::replace(&mut self.slots, bigger);
        let taken = old.iter().filter(|slot| slot.number != 0);
        taken.for_each(|slot| self.place(*slot));
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].number != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }
}

/// Half of the hash is what is kept.
fn short(hash: u64) -> u32 {
    hash as u32
}

const EMPTY: Slot = Slot { hash: 0, number: 0 };
const SLOTS_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_under_a_hash_and_grows() {
        let mut index = Index::with_room(0);
        for number in 0..1000 {
            index.insert(u64::from(number % 100), number);
        }
        for hash in 0..100u64 {
            let mut found: Vec<u32> = index.find(hash).collect();
            found.sort_unstable();
            let expected: Vec<u32> = (0..10)
                .map(|n| n * 100 + u32::try_from(hash).unwrap())
                .collect();
            assert_eq!(found, expected);
        }
        assert_eq!(index.find(100).count(), 0);
        assert_eq!(index.numbers().count(), 1000);
    }
}
