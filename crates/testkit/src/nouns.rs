//! Messages, legs and claims as tests need them: as plain as can be where a test says nothing.
//!
//! A test that needs more of them writes what it needs over them (`Leg { trace, ..leg("a@x.test") }`), so that a new field
//! of a noun is no concern of tests that do not speak of it.

use std::sync::Arc;
use std::time::Duration;

use envelope::{
    Claim, Diagnosis, EnhancedStatus, Lease, Leg, LegId, Mailbox, Message, MessageId, ReversePath,
    Timestamp,
};

/// A mailbox.
#[track_caller]
pub fn mailbox(text: &str) -> Mailbox {
    text.parse().expect("an address")
}

/// A message of the null sender that arrived when its id was made.
pub fn message(id: MessageId, size: usize) -> Message {
    Message::new(id, id.timestamp(), ReversePath::Null, size as u64)
}

/// A leg to the recipient itself, of the null sender.
#[track_caller]
pub fn leg(target: &str) -> Leg {
    forward(target, target)
}

/// A leg to the target of a forward, of the null sender.
#[track_caller]
pub fn forward(recipient: &str, target: &str) -> Leg {
    Leg::new(ReversePath::Null, mailbox(target), mailbox(recipient))
}

/// What a deferred attempt came to.
pub fn deferral(text: &str) -> Diagnosis {
    Diagnosis::local(EnhancedStatus::transient(4, 2), text)
}

/// The leg with this number, leased for good, before its first attempt.
pub fn claim(message: &Arc<Message>, number: u32, leg: Leg) -> Claim {
    let name = LegId {
        message: message.id,
        number,
    };
    Claim {
        lease: Lease {
            leg: name,
            owner: 1,
            token: 1,
            expires: Timestamp::from_unix_millis(u64::MAX),
        },
        message: Arc::clone(message),
        leg,
        attempts: 0,
        warned: false,
        deadline: message.arrived.plus(Duration::from_hours(5 * 24)),
    }
}
