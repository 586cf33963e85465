//! What every engine must do, as tests that name none.
//!
//! An engine's crate writes `spool::conformance!(make());`, where `make()` gives an [`Engine`] with an empty spool, and has one
//! test for each case. All of them run on a clock that the case turns.

mod model;
mod operating;
mod returning;
mod summary;
mod working;

use std::time::Duration;

use bytes::Bytes;
use envelope::{Claim, Leg, LegId, Message, MessageId, ReversePath, Timestamp};

use crate::{Arrival, BodyReader, BodyWriter, Clock, Dsn, OpenError, Spool, Want};
pub use model::*;
pub use operating::*;
pub use returning::*;
pub use summary::*;
pub use working::*;

/// An engine with one spool.
pub trait Engine {
    /// Its handle.
    type Spool: Spool;

    /// Opens the spool, with this clock. Again: the handle before was dropped, and this is the next start.
    fn open(&self, clock: &Clock) -> impl Future<Output = Self::Spool>;
}

/// Makes a test of each case.
#[macro_export]
macro_rules! conformance {
    (@each $how:tt $engine:expr; $($case:ident),*) => {
        $($crate::conformance!(@one $how $engine, $case);)*
    };
    (@one [$($how:tt)*] $engine:expr, $case:ident) => {
        #[tokio::test] $($how)* async fn $case() { $crate::conformance::$case(&$engine).await; }
    };
    (ignore = $why:literal, $engine:expr) => {
        $crate::conformance!(@all [#[ignore = $why]] $engine);
    };
    (@all $how:tt $engine:expr) => {
        $crate::conformance!(@each $how $engine;
            a_message_goes_through, what_was_given_comes_back, a_restart_frees_leases_and_keeps_the_rest, committing_twice_is_committing_once,
            an_abandoned_body_is_nothing, a_draft_is_read_back, who_commits_may_begin_at_once, legs_may_come_on_hold,
            deadlines_are_the_message_s_own, leases_run_out_and_fence, leases_are_extended_together,
            each_leg_is_settled_for_itself, new_mail_does_not_wait_for_a_backlog, order_limits_and_parked_hosts, ways_to_one_host_are_parked_apart,
            deadlines_hold_whatever_is_parked,
            a_leg_ends_with_its_notice, the_operator_holds_releases_bounces_and_removes, a_listing_is_paged,
            each_condition_of_a_filter_counts, a_summary_counts_by_name_and_age, an_action_on_many_legs_goes_in_pieces,
            a_change_wakes_all_who_wait, tokens_live_until_they_expire, it_does_as_the_model_does, what_comes_back_is_as_it_stood);
    };
    ($engine:expr) => {
        $crate::conformance!(@all [] $engine);
    };
}

async fn open<E: Engine>(engine: &E) -> (E::Spool, Clock) {
    let clock = Clock::manual(at(0));
    (engine.open(&clock).await, clock)
}

fn at(minutes: u64) -> Timestamp {
    Timestamp::from_unix_millis((30_000_000 + minutes) * 60_000)
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn id(n: u64) -> MessageId {
    MessageId::new(at(0), u128::from(n))
}

fn number(leg: LegId) -> u64 {
    (leg.message.bits() & 0xffff) as u64
}

fn message(n: u64, octets: usize) -> Message {
    let sender = ReversePath::Mailbox("sender@a.example".parse().expect("an address"));
    Message::new(id(n), at(0), sender, octets as u64)
}

fn leg(target: &str) -> Leg {
    let recipient = "alice@example.org".parse().expect("an address");
    Leg::new(
        ReversePath::Null,
        target.parse().expect("an address"),
        recipient,
    )
}

fn body(octets: usize) -> Vec<u8> {
    (0..octets).map(|n| (n * 31 + (n >> 8)) as u8).collect()
}

fn notice(n: u64) -> Dsn {
    Dsn {
        arrival: Arrival::new(message(n, 4), vec![leg("sender@a.example")], at(0)),
        body: Bytes::from_static(b"told"),
    }
}

async fn put<S: Spool>(spool: &S, n: u64, octets: usize, targets: &[&str]) {
    let legs = targets.iter().map(|target| leg(target)).collect();
    put_legs(spool, n, octets, legs).await;
}

async fn put_legs<S: Spool>(spool: &S, n: u64, octets: usize, legs: Vec<Leg>) {
    let mut writer = spool.begin(id(n)).await.expect("a writer");
    for chunk in body(octets).chunks(5000) {
        writer.write(chunk.to_vec()).await.expect("written");
    }
    let done = spool
        .commit(writer, Arrival::new(message(n, octets), legs, at(0)))
        .await;
    assert_eq!(done.map(drop), Ok(()));
}

async fn claim_some<S: Spool>(spool: &S, max: usize, per_host: usize) -> Vec<Claim> {
    let want = Want {
        max,
        per_host,
        lease: minutes(10),
    };
    spool.claim(&want).await.expect("claims")
}

async fn claim<S: Spool>(spool: &S) -> Vec<Claim> {
    claim_some(spool, 1000, 1000).await
}

/// In order.
fn names(claims: &[Claim]) -> Vec<(u64, u32)> {
    let legs = claims.iter().map(|claim| claim.lease.leg);
    let mut names: Vec<_> = legs.map(|leg| (number(leg), leg.number)).collect();
    names.sort_unstable();
    names
}

async fn read<S: Spool>(spool: &S, n: u64) -> Result<Vec<u8>, OpenError> {
    read_all(spool.open_body(id(n)).await?).await
}

async fn read_all(mut reader: impl BodyReader) -> Result<Vec<u8>, OpenError> {
    let mut all = Vec::new();
    while let Some(chunk) = reader.chunk().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}
