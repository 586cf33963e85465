//! Where a row stands: by time, and found from an id without looking it up.
//!
//! A key is 43 bits of milliseconds, 8 that count within one, and 12 for the row: 0 is the message, from 1 on its legs. The
//! count of a message is the lowest part of its id; what was refused before there was an id has the upper half.

use envelope::{LegId, MessageId, Timestamp};

/// The first key of this moment.
pub(crate) fn at(time: Timestamp) -> i64 {
    let millis = time.unix_millis().min((1 << 43) - 1);
    i64::try_from(millis << 20).unwrap_or(i64::MAX)
}

/// The moment of a key.
pub(crate) fn time(key: i64) -> Timestamp {
    Timestamp::from_unix_millis(u64::try_from(key >> 20).unwrap_or_default())
}

/// A message's. In a millisecond there are no more than 128 of them: two with one key are told apart by their ids.
pub(crate) fn message(id: MessageId) -> i64 {
    at(id.timestamp()) | i64::from((id.bits() & 0x7f) as u8) << ROW_BITS
}

/// A leg's; none when the message has too many.
pub(crate) fn leg(id: LegId) -> Option<i64> {
    let row = i64::from(id.number) + 1;
    (row < ROWS).then(|| message(id.message) | row)
}

/// That of something refused, after `last`.
pub(crate) fn refusal(time: Timestamp, last: i64) -> i64 {
    (at(time).max(last + ROWS) / ROWS * ROWS) | REFUSAL
}

/// Rows of a message.
pub(crate) const ROWS: i64 = 1 << ROW_BITS;
const ROW_BITS: u32 = 12;
const REFUSAL: i64 = 0x80 << ROW_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_the_order_of_time_and_never_meet() {
        let time = Timestamp::from_unix_millis(1_795_264_496_789);
        let id = |n: u128| MessageId::new(time, 77 << 32 | n);
        let later = at(Timestamp::from_unix_millis(1_795_264_496_790));
        let leg_of = |number| {
            leg(LegId {
                message: id(5),
                number,
            })
        };
        assert!(at(time) < message(id(5)) && message(id(5)) < leg_of(0).unwrap());
        assert!(leg_of(4094).unwrap() < message(id(6)));
        assert_eq!(leg_of(4095), None);
        assert!(message(id(127)) < refusal(time, 0));
        let mut last = leg_of(7).unwrap();
        for _ in 0..300 {
            let next = refusal(time, last);
            assert!(next > last && next & (REFUSAL | (ROWS - 1)) == REFUSAL);
            last = next;
        }
        assert!(last > later, "it goes on in the next millisecond");
        assert_eq!(super::time(message(id(5))), time);
    }
}
