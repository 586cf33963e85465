//! A bounded map from hashes to one number each, in shards, that forgets what no longer matters.
//!
//! The numbers are such that a smaller one matters less: a time in their upper bits. Before a shard grows, it drops what is stale; at
//! its full size it also drops the lesser half of what is left. So it takes in whatever comes, in a bounded amount of memory.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The map.
#[derive(Debug)]
pub(crate) struct Forgetful {
    shards: Vec<Mutex<HashMap<u64, u64>>>,
    per_shard_max: usize,
}

impl Forgetful {
    /// For this many keys.
    pub(crate) fn new(keys_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            per_shard_max: keys_max / SHARDS,
        }
    }

    /// The number of this key.
    pub(crate) fn find(&self, key: u64) -> Option<u64> {
        self.shard(key).lock().get(&key).copied()
    }

    /// Puts another number in the place of this key's, unless there is no other.
    pub(crate) fn replace(
        &self,
        key: u64,
        is_stale: impl Fn(u64) -> bool,
        other: impl FnOnce(Option<u64>) -> Option<u64>,
    ) -> bool {
        let mut shard = self.shard(key).lock();
        if let Some(number) = shard.get_mut(&key) {
            let other = other(Some(*number));
            *number = other.unwrap_or(*number);
            return other.is_some();
        }
        let Some(number) = other(None) else {
            return false;
        };
        let is_full = shard.len() >= self.per_shard_max;
        if is_full || shard.len() == shard.capacity() {
            shard.retain(|_, number| !is_stale(*number));
        }
        if is_full && shard.len() > self.per_shard_max / 2 {
            let mut numbers: Vec<u64> = shard.values().copied().collect();
            let middle = numbers.len() / 2;
            let median = *numbers.select_nth_unstable(middle).1;
            shard.retain(|_, number| *number > median);
        }
        shard.insert(key, number);
        true
    }

    /// Drops this key.
    pub(crate) fn remove(&self, key: u64) {
        self.shard(key).lock().remove(&key);
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, key: u64) -> &Mutex<HashMap<u64, u64>> {
        // The map itself hashes once more, so these bits are free.
        &self.shards[key as usize % SHARDS]
    }
}

const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stale_or_old_is_forgotten_and_nothing_is_turned_away() {
        let map = Forgetful::new(64 * 100);
        for key in 0..1_000_000u64 {
            let is_stale = |number| number + 1000 < key;
            assert!(map.replace(key, is_stale, |_| Some(key)));
            assert_eq!(map.find(key), Some(key));
        }
        assert!(map.len() <= 64 * 100, "{}", map.len());
        // Nothing is stale, and those that matter most stay.
        for key in 1_000_000..1_100_000u64 {
            map.replace(key, |_| false, |_| Some(u64::MAX - key));
            map.replace(7, |_| false, |_| Some(u64::MAX));
        }
        assert!(map.len() <= 64 * 100 + 1, "{}", map.len());
        assert_eq!(map.find(7), Some(u64::MAX));
        map.remove(7);
        assert_eq!(map.find(7), None);
    }
}
