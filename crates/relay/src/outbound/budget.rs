//! How much senders are told: a sender may be forged, and then each notice hits somebody who sent nothing.
//!
//! Notices are counted by message, and their octets by sender and hour. First the whole message is given back no more, then
//! only headers are, in the end nothing is told. Memory is bounded: what was not used for an hour is forgotten.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use envelope::{Mailbox, Message, MessageId, ReversePath, Timestamp};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;

/// What was told of late.
#[derive(Debug)]
pub(super) struct Budget {
    messages: Recent<MessageId, OfMessage>,
    senders: Recent<Mailbox, ToSender>,
}

type Recent<K, V> = Cache<K, Arc<Mutex<V>>>;

#[derive(Debug, Default)]
struct OfMessage {
    notices: u32,
    /// Octets of it that were given back whole.
    whole: u64,
}

#[derive(Debug)]
struct ToSender {
    since: Timestamp,
    octets: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            messages: recent(),
            senders: recent(),
        }
    }
}

impl Budget {
    /// Whether one more notice about a message may be sent: `Some` says whether the message may be given back in it, which all
    /// notices about it may do up to `whole_max` octets in all.
    pub(super) fn allows(
        &self,
        message: &Message,
        wants_whole: bool,
        whole_max: u64,
        now: Timestamp,
    ) -> Option<bool> {
        let to_sender = self.to_sender(message, 0, now);
        let of_message = self.messages.get_with(message.id, Arc::default);
        let of_message = of_message.lock();
        if to_sender >= SENDER_OCTETS_MAX || of_message.notices >= NOTICES_MAX {
            return None;
        }
        let whole = of_message.whole.saturating_add(message.size);
        Some(wants_whole && whole <= whole_max && to_sender < SENDER_WHOLE_MAX)
    }

    /// Takes a notice about a message that was queued out of the budget.
    pub(super) fn spend(&self, message: &Message, whole: bool, octets: u64, now: Timestamp) {
        self.to_sender(message, octets, now);
        let of_message = self.messages.get_with(message.id, Arc::default);
        let mut of_message = of_message.lock();
        of_message.notices += 1;
        of_message.whole += if whole { message.size } else { 0 };
    }

    /// Octets that the sender of a message was told within this hour, with so many more.
    fn to_sender(&self, message: &Message, more: u64, now: Timestamp) -> u64 {
        let ReversePath::Mailbox(sender) = &message.reverse_path else {
            return 0;
        };
        let fresh = || ToSender {
            since: now,
            octets: 0,
        };
        let told = self
            .senders
            .get_with(sender.clone(), || Arc::new(Mutex::new(fresh())));
        let mut told = told.lock();
        if now.since(told.since) >= HOUR {
            *told = fresh();
        }
        told.octets += more;
        told.octets
    }
}

/// Values of which those not asked for within an hour, or behind many others, are forgotten.
fn recent<K: Eq + Hash + Send + Sync + 'static, V: Send + Sync + 'static>() -> Recent<K, V> {
    Cache::builder()
        .max_capacity(KEPT_MAX)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_idle(HOUR)
        .build()
}

/// Notices about one message.
const NOTICES_MAX: u32 = 10;
/// Octets to one sender beyond which no message is given back whole, and beyond which nothing is told.
const SENDER_WHOLE_MAX: u64 = 8 << 20;
const SENDER_OCTETS_MAX: u64 = 32 << 20;
const HOUR: Duration = Duration::from_hours(1);
const KEPT_MAX: u64 = 20_000;

#[cfg(test)]
mod tests {

    use super::*;

    fn message(n: u128, size: u64) -> Message {
        Message::new(
            MessageId::from_bits(n),
            at(0),
            ReversePath::Mailbox("a@a.test".parse().unwrap()),
            size,
        )
    }

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_000 + minutes * 60_000)
    }

    /// Sends a notice of no octets, if one may be.
    fn take(budget: &Budget, message: &Message, wants_whole: bool, now: Timestamp) -> Option<bool> {
        let whole = budget.allows(message, wants_whole, 1000, now)?;
        budget.spend(message, whole, 0, now);
        Some(whole)
    }

    #[test]
    fn a_message_is_given_back_once_and_told_of_ten_times() {
        let budget = Budget::default();
        let told: Vec<_> = (0..12)
            .map(|_| take(&budget, &message(1, 600), true, at(0)))
            .collect();
        let mut wanted = vec![Some(true)];
        wanted.extend([Some(false); 9]);
        wanted.extend([None; 2]);
        assert_eq!(told, wanted);
        let other = |n, size, whole| take(&budget, &message(n, size), whole, at(0));
        assert_eq!(other(2, 600, false), Some(false));
        assert_eq!(other(3, 1001, true), Some(false));
    }

    #[test]
    fn a_sender_is_told_less_and_then_nothing_until_time_has_passed() {
        let budget = Budget::default();
        let other = |n, minutes| take(&budget, &message(n, 10), true, at(minutes));
        let spend = |octets, minutes| budget.spend(&message(9, 10), false, octets, at(minutes));
        assert_eq!(other(1, 0), Some(true));
        spend(SENDER_WHOLE_MAX, 0);
        assert_eq!(other(2, 1), Some(false));
        spend(SENDER_OCTETS_MAX, 1);
        assert_eq!(other(3, 2), None);
        assert_eq!(other(4, 59), None);
        assert_eq!(other(5, 61), Some(true));
    }
}
