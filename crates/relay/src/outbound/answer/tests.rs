//! Every moment at which an outcome may come while the client waits, goes, or is told something else meanwhile.

use delivery::Work as _;
use envelope::{Diagnosis, EnhancedStatus, Leg, Message, ReversePath, Trip};
use spool::State;

use super::*;
use crate::outbound::tests::{Fixture, done};
use crate::tests::now;

/// A message whose client waits.
struct Waiting {
    fixture: Fixture,
    writer: Option<<queue::LogSpool as Spool>::Writer>,
    arrival: Arrival,
    claims: Vec<Claim>,
}

const PRINT: &str = "print";

impl Waiting {
    async fn new(legs: usize) -> Self {
        let fixture = Fixture::with(crate::tests::routing(""), dns::Fixed::new());
        let outbound = &fixture.outbound;
        let id = outbound.ids.next(now());
        let mut writer = outbound.spool.begin(id).await.unwrap();
        writer.write(&b"A: b\r\n\r\nbody\r\n"[..]).await.unwrap();
        assert!(writer.is_in_memory());
        let message = Message::new(id, now(), ReversePath::Null, writer.len());
        let to = |n: usize| format!("a{n}@b.test").parse().unwrap();
        let leg = |n| Leg::new(ReversePath::Null, to(n), to(n));
        let arrival = Arrival::new(message, (0..legs).map(leg).collect(), now());
        let body = writer.read_back().await.unwrap();
        let begun = outbound.online.begin(id, print(), legs, 100, body);
        assert!(begun.is_ok());
        let claims = outbound.unqueued(&arrival);
        Self {
            fixture,
            writer: Some(writer),
            arrival,
            claims,
        }
    }

    fn id(&self) -> MessageId {
        self.arrival.message.id
    }

    async fn settle(&self, leg: usize, outcome: Outcome) {
        let attempt = &self.claims[leg..=leg];
        let outbound = &self.fixture.outbound;
        outbound
            .settle(attempt, &Trip::default(), vec![outcome])
            .await;
    }

    async fn take_back(&mut self) -> Result<(), Error> {
        let (writer, arrival) = (self.writer.take().unwrap(), self.arrival.clone());
        let outbound = Arc::clone(&self.fixture.outbound);
        outbound.take_back(writer, arrival, true).await
    }

    /// What the queue has, as ready, deferred and active.
    async fn queued(&self) -> [u64; 3] {
        let counts = self.fixture.outbound.spool.counts().await.unwrap();
        [counts.ready, counts.deferred, counts.active]
    }

    /// Which of the legs will not be delivered again.
    fn known(&self) -> Vec<bool> {
        let knows = |claim: &Claim| {
            let of_leg = print().of_leg(&claim.leg);
            self.fixture.outbound.unread.knows(of_leg, now())
        };
        self.claims.iter().map(knows).collect()
    }

    fn end_wait(&self) -> Verdict {
        self.fixture.outbound.online.end_wait(self.id())
    }

    /// Nothing of it is left in memory.
    fn is_gone(&self) -> bool {
        !self.fixture.outbound.online.has(&self.claims[0])
    }
}

fn print() -> Print {
    Print::new(PRINT)
}

fn delivered() -> Outcome {
    Outcome::Delivered(done())
}

fn failed() -> Outcome {
    Outcome::Failed(done())
}

fn deferred() -> Outcome {
    let busy = Diagnosis::local(EnhancedStatus::transient(2, 1), "busy");
    Outcome::Deferred(busy)
}

#[tokio::test]
async fn one_verdict_of_all_legs_is_the_answer() {
    for (outcome, is_delivered) in [(delivered(), true), (failed(), false)] {
        let waiting = Waiting::new(2).await;
        waiting.settle(0, outcome.clone()).await;
        waiting.settle(1, outcome).await;
        match waiting.end_wait() {
            Verdict::Delivered(back) => assert!(is_delivered && back.len() == 2),
            Verdict::Refused(back) => assert!(!is_delivered && back.len() == 2),
            other => panic!("all legs have come back: {other:?}"),
        }
        assert!(waiting.is_gone());
        assert_eq!(waiting.queued().await, [0, 0, 0]);
    }
}

/// An outcome before the commit, during it, and after it: each counts once.
#[tokio::test]
async fn what_comes_while_the_message_is_taken_back_counts() {
    for before in [0, 1, 2] {
        let mut waiting = Waiting::new(3).await;
        if before > 0 {
            waiting.settle(0, delivered()).await;
        }
        assert!(matches!(waiting.end_wait(), Verdict::Open("")));
        if before > 1 {
            waiting.settle(1, deferred()).await;
        }
        waiting.take_back().await.unwrap();
        assert!(waiting.is_gone());
        let active = 3 - before;
        assert_eq!(
            waiting.queued().await[2],
            active as u64,
            "leased while they are tried"
        );
        for leg in before..3 {
            waiting
                .settle(leg, [delivered(), deferred(), delivered()][leg].clone())
                .await;
        }
        assert_eq!(waiting.queued().await, [0, 1, 0], "{before} before");
    }
}

#[tokio::test]
async fn what_is_not_tried_waits_in_the_queue() {
    let mut waiting = Waiting::new(2).await;
    let (one, other) = (waiting.claims[0].clone(), waiting.claims[1].clone());
    waiting.fixture.outbound.release(vec![one]).await;
    assert!(matches!(waiting.end_wait(), Verdict::Open("")));
    waiting.take_back().await.unwrap();
    waiting.fixture.outbound.release(vec![other]).await;
    let [ready, deferred, active] = waiting.queued().await;
    assert_eq!((ready + deferred, active), (2, 0));
}

/// A lane that panics has its legs settled as deferred.
#[tokio::test]
async fn a_deferral_ends_the_wait_at_once() {
    let waiting = Waiting::new(2).await;
    let online = &waiting.fixture.outbound.online;
    let again = online.begin(
        waiting.id(),
        print(),
        1,
        1,
        online.body(waiting.id()).unwrap(),
    );
    assert!(matches!(again, Err(Verdict::Again)));
    waiting.settle(0, deferred()).await;
    assert!(matches!(waiting.end_wait(), Verdict::Open("")));
}

#[tokio::test]
async fn what_is_delivered_of_a_message_whose_client_left_is_remembered_and_told() {
    for outcomes in [
        [delivered(), delivered()],
        [delivered(), failed()],
        [deferred(), delivered()],
        [failed(), failed()],
    ] {
        // It leaves before anything is known, between the two, and when all is.
        for leaves_at in 0..3 {
            let mut waiting = Waiting::new(2).await;
            for (leg, outcome) in outcomes.iter().enumerate() {
                if leg == leaves_at {
                    waiting.fixture.outbound.leave(waiting.id());
                }
                waiting.settle(leg, outcome.clone()).await;
            }
            waiting.fixture.outbound.leave(waiting.id());
            let expected: Vec<_> = outcomes.iter().map(is_delivered).collect();
            assert_eq!(
                waiting.known(),
                expected,
                "{outcomes:?}, left at {leaves_at}"
            );
            let told = crate::tests::lines(&mut waiting.fixture.events);
            let delivered = told.iter().filter(|line| line.starts_with("delivered "));
            let is_true = |of: &&bool| **of;
            assert_eq!(delivered.count(), expected.iter().filter(is_true).count());
            assert!(waiting.is_gone());
            assert_eq!(waiting.queued().await, [0, 0, 0]);
        }
    }
}

/// The client is told 451 and comes back: then it must be known what was delivered meanwhile.
#[tokio::test]
async fn a_commit_that_fails_leaves_the_attempt_alone() {
    let mut waiting = Waiting::new(1).await;
    assert!(matches!(waiting.end_wait(), Verdict::Open("")));
    waiting.fixture.outbound.spool.close();
    assert!(waiting.take_back().await.is_err());
    assert_eq!(waiting.known(), [false]);
    waiting.settle(0, delivered()).await;
    assert!(waiting.known() == [true] && waiting.is_gone());
}

#[tokio::test]
async fn memory_is_bounded_and_given_back() {
    let waiting = Waiting::new(1).await;
    let outbound = &waiting.fixture.outbound;
    let body = outbound.online.body(waiting.id()).unwrap();
    let begin = |n: u64, octets| {
        let id = outbound.ids.next(now());
        let begun = outbound
            .online
            .begin(id, Print::new(&n.to_string()), 1, octets, body.clone());
        begun.map(|_| id).ok()
    };
    let octets_max = outbound.answering.octets_max;
    assert_eq!(begin(1, octets_max), None);
    let id = begin(2, octets_max / 2).unwrap();
    assert_eq!(begin(3, octets_max / 2), None);
    outbound.online.queued(id);
    assert!(begin(4, octets_max / 2).is_some());
}

#[tokio::test]
async fn a_message_is_read_from_memory_and_then_from_the_queue() {
    let mut waiting = Waiting::new(1).await;
    let message = Message {
        trace: "T: 1\r\n".into(),
        ..waiting.arrival.message.clone()
    };
    waiting.arrival.message = message.clone();
    for is_queued in [false, true] {
        if is_queued {
            waiting.take_back().await.unwrap();
        }
        let mut body = waiting.fixture.outbound.open(&message).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = delivery::Body::chunk(&mut body).await.unwrap() {
            text.extend_from_slice(&chunk);
        }
        assert_eq!(text, b"T: 1\r\nA: b\r\n\r\nbody\r\n", "queued: {is_queued}");
    }
    let listed = waiting
        .fixture
        .outbound
        .spool
        .list(&spool::Filter::default(), None, 9)
        .await;
    assert_eq!(listed.unwrap().entries[0].state, State::Active);
}
