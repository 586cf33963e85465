//! Outcomes that cannot be written, deadlines without claims, and whom notices reach.

use delivery::Work;
use envelope::{Destination, Leg, LegId, Outcome, Trip};
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use journal::{Event, Reader};
use queue::{LogSpool, Settings};
use spool::{Arrival, BodyWriter, Clock, Deadlines, Lifetime};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::deadlines::OVERDUE_BATCH;
use super::*;
use crate::tests::{core, now, routing, routing_by, settings};

const HOUR: Duration = Duration::from_hours(1);

pub(super) struct Fixture {
    pub(super) outbound: Arc<Outbound<LogSpool>>,
    pub(super) events: Reader,
    dir: TempDir,
}

const FORWARDS: &str =
    "hosted@h.test home@c.test, work@c.test\nnobody@h.test :discard:\n@old.test @new.test\n";

fn spool_settings(dir: &std::path::Path) -> Settings {
    Settings {
        min_free_bytes: 0,
        clock: Clock::manual(now()),
        ..Settings::new(dir)
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with(routing(FORWARDS), dns::Fixed::new())
    }

    pub(super) fn with(routing: crate::Routing, records: dns::Fixed) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::default();
        let events = journal.subscribe();
        let spool = LogSpool::open(spool_settings(dir.path())).unwrap();
        let core = core(spool, routing, journal);
        let outbound = Outbound::new(&core, &settings(), dns::Backend::Fixed(records));
        Self {
            outbound: Arc::new(outbound),
            events,
            dir,
        }
    }

    /// As after trouble that is over.
    pub(super) fn reopen(&mut self) {
        let settings = spool_settings(self.dir.path());
        let spool = LogSpool::open(settings).unwrap();
        Arc::get_mut(&mut self.outbound).unwrap().spool = Arc::new(spool);
    }

    async fn commit(&self, targets: &[&str], arrived: Timestamp, notify: Option<envelope::Notify>) {
        self.commit_from("sender@a.test", targets, arrived, notify)
            .await;
    }

    async fn commit_from(
        &self,
        sender: &str,
        targets: &[&str],
        arrived: Timestamp,
        notify: Option<envelope::Notify>,
    ) {
        self.commit_with(sender, targets, arrived, notify, None)
            .await;
    }

    async fn commit_with(
        &self,
        sender: &str,
        targets: &[&str],
        arrived: Timestamp,
        notify: Option<envelope::Notify>,
        deadlines: Option<Deadlines>,
    ) {
        let id = self.outbound.ids.next(arrived);
        let mut writer = self.outbound.spool.begin(id).await.unwrap();
        writer.write(&b"A: b\r\n\r\nbody\r\n"[..]).await.unwrap();
        let message = envelope::Message::new(
            id,
            arrived,
            envelope::ReversePath::Mailbox(sender.parse().unwrap()),
            writer.len(),
        );
        let leg = |target: &&str| Leg {
            notify,
            ..Leg::new(
                message.reverse_path.clone(),
                target.parse().unwrap(),
                target.parse().unwrap(),
            )
        };
        let legs = targets.iter().map(leg).collect();
        let arrival = Arrival {
            deadlines,
            ..Arrival::new(message, legs, arrived)
        };
        self.outbound.spool.commit(writer, arrival).await.unwrap();
    }

    pub(super) async fn claim(&self, now: Timestamp) -> Vec<Claim> {
        let want = spool::Want {
            max: 10,
            per_host: 10,
            lease: 6 * HOUR,
        };
        self.outbound.spool.clock().set(now);
        self.outbound.spool.claim(&want).await.unwrap()
    }

    /// Settles the one leg there is while nothing can be written to the log.
    async fn settle_unwritten(&self, outcome: Outcome) -> LegId {
        let notify = envelope::Notify {
            success: true,
            failure: true,
            delay: false,
        };
        self.commit(&["a@b.test"], now(), Some(notify)).await;
        let claim = self.claim(now()).await.remove(0);
        let id = claim.lease.leg;
        self.outbound.spool.close();
        self.outbound
            .settle(&[claim], &Trip::default(), vec![outcome])
            .await;
        id
    }
}

pub(super) fn done() -> Diagnosis {
    Diagnosis::local(envelope::EnhancedStatus::permanent(0, 0), "done")
}

#[tokio::test]
async fn delivered_is_not_delivered_again_for_want_of_a_notice() {
    let fixture = Fixture::new();
    fixture.settle_unwritten(Outcome::Delivered(done())).await;
    let later = now().plus(7 * HOUR);
    assert_eq!(fixture.claim(later).await.len(), 0);
}

#[tokio::test]
async fn failure_that_cannot_be_told_comes_out_again_soon() {
    let fixture = Fixture::new();
    let id = fixture.settle_unwritten(Outcome::Failed(done())).await;
    assert_eq!(fixture.claim(now()).await.len(), 0, "not at once");
    let later = now().plus(2 * TROUBLE_PAUSE);
    assert_eq!(fixture.claim(later).await[0].lease.leg, id);
}

/// Each try would deliver again what was refused.
#[tokio::test]
async fn a_failure_whose_sender_cannot_be_looked_up_rests_long() {
    let service = testkit::lookup::Lookup::start().await;
    service.fails(Some("503 Service Unavailable"));
    let routing = routing_by(&service, FORWARDS);
    let fixture = Fixture::with(routing, dns::Fixed::new());
    fixture.commit(&["a@b.test"], now(), None).await;
    let claims = fixture.claim(now()).await;
    let failed = vec![Outcome::Failed(done())];
    let outbound = &fixture.outbound;
    outbound.settle(&claims, &Trip::default(), failed).await;
    let soon = now().plus(2 * TROUBLE_PAUSE);
    assert_eq!(fixture.claim(soon).await.len(), 0, "not soon");
    let later = now().plus(2 * DOUBT_PAUSE);
    assert_eq!(fixture.claim(later).await.len(), 1);
}

#[tokio::test]
async fn deadlines_hold_while_nothing_is_claimed() {
    let fixture = Fixture::new();
    let (outbound, shutdown) = (&fixture.outbound, CancellationToken::new());
    let deadlines = tokio::spawn(Arc::clone(outbound).keep_deadlines(shutdown.clone()));
    let long_ago = Timestamp::from_unix_millis(now().unix_millis() - 1_000_000_000);
    let legs = OVERDUE_BATCH + 20;
    for _ in 0..legs {
        fixture.commit(&["a@b.test"], long_ago, None).await;
    }
    outbound
        .spool
        .park(&[("b.test".parse().unwrap(), true)])
        .await;
    // Each that was told of has left a notice in its place.
    loop {
        let counts = outbound.spool.counts().await.unwrap();
        if counts.hosts == [("a.test".parse().unwrap(), legs as u64)] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    deadlines.await.unwrap();
}

/// Whatever the settings say by then.
#[tokio::test]
async fn a_notice_of_delay_names_the_deadline_of_its_message() {
    for days in [1, 5, 30] {
        let fixture = Fixture::new();
        let arrived = Timestamp::from_unix_millis(now().unix_millis() - 18_000_000);
        let lifetime = Lifetime {
            expire: days * 24 * HOUR,
            ..Lifetime::default()
        };
        let deadlines = Some(lifetime.deadlines(arrived));
        let sender = "sender@a.test";
        fixture
            .commit_with(sender, &["a@b.test"], arrived, None, deadlines)
            .await;
        let parked = [("b.test".parse().unwrap(), true)];
        fixture.outbound.spool.park(&parked).await;
        fixture.outbound.tell_overdue().await;
        let deadline = arrived.plus(days * 24 * HOUR).rfc5322();
        let text = notice(&fixture).await;
        let field = format!("Will-Retry-Until: {deadline}");
        assert!(text.contains(&field), "{days} days: {text}");
    }
}

#[tokio::test]
async fn a_panic_over_one_message_does_not_keep_others_from_being_told() {
    let fixture = Fixture::new();
    let ill: Destination = "ill.test".parse().unwrap();
    let trouble = move |host: &Destination| {
        assert!(*host != ill, "as the test wants it");
        None
    };
    assert!(fixture.outbound.trouble.set(Box::new(trouble)).is_ok());
    let long_ago = Timestamp::from_unix_millis(now().unix_millis() - 1_000_000_000);
    fixture.commit(&["a@ill.test"], long_ago, None).await;
    fixture.commit(&["a@b.test"], long_ago, None).await;
    fixture.outbound.tell_overdue().await;
    assert!(notice(&fixture).await.contains("rfc822; a@b.test"));
}

/// The text of the one notice that is due, now or when all that waits has been told.
async fn notice(fixture: &Fixture) -> String {
    let claims = fixture.claim(now().plus(2 * gather::GATHER)).await;
    let [claim] = &claims[..] else {
        panic!("not one leg: {claims:?}")
    };
    assert!(claim.message.reverse_path.is_null());
    assert_eq!(claim.message.origin, envelope::Origin::Ours);
    let mut body = fixture.outbound.open(&claim.message).await.unwrap();
    let chunk = delivery::Body::chunk(&mut body).await.unwrap().unwrap();
    String::from_utf8(chunk.to_vec()).unwrap()
}

#[tokio::test]
async fn legs_that_fail_together_are_told_of_together() {
    let fixture = Fixture::new();
    fixture.commit(&["a@b.test", "c@b.test"], now(), None).await;
    let claims = fixture.claim(now()).await;
    let failed = vec![Outcome::Failed(done()); 2];
    fixture
        .outbound
        .settle(&claims, &Trip::default(), failed)
        .await;
    let text = notice(&fixture).await;
    assert!(
        text.contains("rfc822; a@b.test") && text.contains("rfc822; c@b.test"),
        "{text}"
    );
}

#[tokio::test]
async fn a_leg_that_another_owner_has_is_left_to_him() {
    let fixture = Fixture::new();
    fixture.commit(&["a@b.test", "c@b.test"], now(), None).await;
    let claims = fixture.claim(now()).await;
    fixture.outbound.release(vec![claims[0].clone()]).await;
    let other = fixture.claim(now()).await;
    assert_eq!(other.len(), 1);
    let failed = vec![Outcome::Failed(done()); 2];
    fixture
        .outbound
        .settle(&claims, &Trip::default(), failed)
        .await;
    let text = notice(&fixture).await;
    assert!(
        !text.contains("a@b.test") && text.contains("rfc822; c@b.test"),
        "{text}"
    );
}

#[tokio::test]
async fn legs_that_fail_one_after_the_other_are_told_of_together() {
    let fixture = Fixture::new();
    fixture.commit(&["a@b.test", "c@d.test"], now(), None).await;
    let claims = fixture.claim(now()).await;
    let failed = || vec![Outcome::Failed(done())];
    fixture
        .outbound
        .settle(&claims[..1], &Trip::default(), failed())
        .await;
    assert_eq!(fixture.claim(now()).await.len(), 0, "the other is tried");
    fixture
        .outbound
        .settle(&claims[1..], &Trip::default(), failed())
        .await;
    let text = notice(&fixture).await;
    assert!(
        text.contains("rfc822; a@b.test") && text.contains("rfc822; c@d.test"),
        "{text}"
    );
}

#[tokio::test]
async fn a_failure_does_not_wait_for_ever_for_the_others() {
    let fixture = Fixture::new();
    fixture.commit(&["a@b.test", "c@d.test"], now(), None).await;
    let claims = fixture.claim(now()).await;
    let failed = vec![Outcome::Failed(done())];
    fixture
        .outbound
        .settle(&claims[..1], &Trip::default(), failed)
        .await;
    fixture
        .outbound
        .tell_gathered(now().plus(gather::GATHER))
        .await;
    let text = notice(&fixture).await;
    assert!(
        text.contains("rfc822; a@b.test") && !text.contains("c@d.test"),
        "{text}"
    );
}

/// After a restart the host may be down: its sender would hear of a refusal days later.
#[tokio::test]
async fn a_stop_tells_of_what_has_failed() {
    let fixture = Fixture::new();
    fixture.commit(&["a@b.test", "c@d.test"], now(), None).await;
    let claims = fixture.claim(now()).await;
    let failed = vec![Outcome::Failed(done())];
    fixture
        .outbound
        .settle(&claims[..1], &Trip::default(), failed)
        .await;
    fixture.outbound.tell_the_rest().await;
    let text = notice(&fixture).await;
    assert!(text.contains("rfc822; a@b.test"), "{text}");
}

#[tokio::test]
async fn deliveries_of_one_transaction_are_told_of_together() {
    let fixture = Fixture::new();
    let notify = envelope::Notify {
        success: true,
        failure: false,
        delay: false,
    };
    let targets = ["a@b.test", "c@b.test"];
    fixture.commit(&targets, now(), Some(notify)).await;
    let claims = fixture.claim(now()).await;
    let delivered = vec![Outcome::Delivered(done()); 2];
    fixture
        .outbound
        .settle(&claims, &Trip::default(), delivered)
        .await;
    let text = notice(&fixture).await;
    assert!(
        text.contains("rfc822; a@b.test") && text.contains("rfc822; c@b.test"),
        "{text}"
    );
}

/// Where a notice to this sender goes, and what is logged when it goes nowhere.
#[track_caller]
fn check_way(sender: &str, found: (Vec<String>, Vec<String>), targets: &[&str], reason: &str) {
    assert_eq!(found.0, targets, "{sender}");
    let said = found.1.join(", ");
    assert!(said.contains(reason), "{sender}: {said}");
}

async fn way(sender: &str) -> (Vec<String>, Vec<String>) {
    let mut fixture = Fixture::new();
    fixture
        .commit_from(sender, &["a@b.test"], now(), None)
        .await;
    let claims = fixture.claim(now()).await;
    let failed = vec![Outcome::Failed(done())];
    fixture
        .outbound
        .settle(&claims, &Trip::default(), failed)
        .await;
    let mut targets = Vec::new();
    for claim in fixture.claim(now()).await {
        assert!(claim.message.reverse_path.is_null());
        assert!(claim.leg.reverse_path.is_null(), "null stays null");
        targets.push(claim.leg.target.to_string());
    }
    targets.sort();
    let mut reasons = Vec::new();
    while let Some(Ok(entry)) = fixture.events.try_next() {
        if let Event::NotBounced { reason, .. } = entry.event {
            reasons.push(reason.to_owned());
        }
    }
    (targets, reasons)
}

/// The MX of these domains is us: a notice to the literal address would come back to us and go nowhere.
#[tokio::test]
async fn notices_go_the_way_of_incoming_mail() {
    for (sender, targets, reason) in [
        ("sender@a.test", &["sender@a.test"][..], ""),
        ("hosted@h.test", &["home@c.test", "work@c.test"], ""),
        ("nobody@h.test", &[], "discarded"),
        ("unknown@h.test", &[], "does not exist"),
        ("origin@old.test", &["origin@new.test"], ""),
        ("x%victim.test@old.test", &[], "names a further host"),
        ("x%victim.test@a.test", &["x%victim.test@a.test"], ""),
        (
            "SRS0=AAAA=BB=a.test=x@fwd.test",
            &[],
            "no valid SRS address",
        ),
    ] {
        check_way(sender, way(sender).await, targets, reason);
    }
    let fixture = Fixture::new();
    let routing = fixture.outbound.routing.load_full();
    let today = srs::Day::from_unix_secs(now().unix_secs());
    let local = routing.forwarder.srs().forward("origin", "far.test", today);
    let sender = format!("{}@fwd.test", local.unwrap());
    check_way(&sender, way(&sender).await, &["origin@far.test"], "");
}

/// A notice that could not be queued, however often, was not told.
#[tokio::test]
async fn a_failure_is_told_after_any_trouble() {
    let mut fixture = Fixture::new();
    fixture.commit(&["a@b.test"], now(), None).await;
    let claim = fixture.claim(now()).await.remove(0);
    fixture.outbound.spool.close();
    for _ in 0..20 {
        let failed = vec![Outcome::Failed(done())];
        fixture
            .outbound
            .settle(std::slice::from_ref(&claim), &Trip::default(), failed)
            .await;
    }
    fixture.reopen();
    let claims = fixture.claim(now()).await;
    let failed = vec![Outcome::Failed(done())];
    fixture
        .outbound
        .settle(&claims, &Trip::default(), failed)
        .await;
    assert!(notice(&fixture).await.contains("rfc822; a@b.test"));
    let events = std::iter::from_fn(|| fixture.events.try_next()?.ok());
    let told = events.filter(|entry| matches!(entry.event, Event::Bounced { .. }));
    assert_eq!(told.count(), 1);
}

/// Whom a notice goes to cannot be read at the moment: it is not forgotten over that.
#[tokio::test]
async fn a_failure_waits_for_the_token_of_its_sender() {
    let fixture = Fixture::new();
    let routing = fixture.outbound.routing.load_full();
    let late = now().plus(48 * HOUR);
    let token = fixture.outbound.spool.token("origin@far.test", late);
    let today = srs::Day::from_unix_secs(now().unix_secs());
    let local = routing.forwarder.srs().token(&token.name, today);
    let sender = format!("{local}@fwd.test");
    fixture
        .commit_from(&sender, &["a@b.test"], now(), None)
        .await;
    let claims = fixture.claim(now()).await;
    let id = claims[0].lease.leg;
    // A file that cannot be opened.
    let hour = late.unix_secs() / 3600;
    let file = fixture.dir.path().join(format!("tokens/{hour:08}"));
    std::fs::create_dir(&file).unwrap();
    let failed = vec![Outcome::Failed(done())];
    fixture
        .outbound
        .settle(&claims, &Trip::default(), failed)
        .await;
    let later = now().plus(2 * TROUBLE_PAUSE);
    assert_eq!(fixture.claim(later).await[0].lease.leg, id);
}

/// One claim through delivery's door.
async fn claim_for_delivery(fixture: &Fixture) -> Vec<Claim> {
    let want = delivery::Want {
        max: 10,
        per_host: 10,
        park: Vec::new(),
    };
    fixture.outbound.claim(&want).await
}

#[tokio::test]
async fn the_heartbeat_keeps_a_leg_that_is_worked_on() {
    let fixture = Fixture::new();
    let due = fixture.outbound.spool.clock().now();
    fixture.commit(&["a@b.test"], due, None).await;
    let claims = claim_for_delivery(&fixture).await;
    assert_eq!(claims.len(), 1);
    let clock = fixture.outbound.spool.clock();
    for _ in 0..5 {
        clock.advance(Duration::from_secs(50));
        fixture.outbound.renew_leases().await;
        let others = fixture.claim(clock.now()).await;
        assert_eq!(others.len(), 0, "nobody else may have it");
    }
}

/// As when the machine slept for an hour.
#[tokio::test]
async fn a_leg_that_is_worked_on_is_not_begun_again() {
    let fixture = Fixture::new();
    let due = fixture.outbound.spool.clock().now();
    fixture.commit(&["a@b.test"], due, None).await;
    let claims = claim_for_delivery(&fixture).await;
    fixture.outbound.spool.clock().advance(HOUR);
    assert_eq!(claim_for_delivery(&fixture).await.len(), 0);
    let delivered = vec![Outcome::Delivered(done())];
    fixture
        .outbound
        .settle(&claims, &Trip::default(), delivered)
        .await;
    let counts = fixture.outbound.spool.counts().await.unwrap();
    assert_eq!(counts, spool::Counts::default());
}

#[tokio::test]
async fn what_comes_of_a_leg_counts_no_more_when_its_lease_is_lost() {
    let fixture = Fixture::new();
    let due = fixture.outbound.spool.clock().now();
    fixture.commit(&["a@b.test"], due, None).await;
    let claims = claim_for_delivery(&fixture).await;
    let later = now().plus(HOUR);
    let others = fixture.claim(later).await;
    assert_eq!(others.len(), 1, "another node has it");
    fixture.outbound.renew_leases().await;
    let failed = vec![Outcome::Failed(done())];
    fixture
        .outbound
        .settle(&claims, &Trip::default(), failed)
        .await;
    let counts = fixture.outbound.spool.counts().await.unwrap();
    assert_eq!((counts.active, counts.ready), (1, 0), "no end, no notice");
}

#[tokio::test]
async fn a_message_that_others_have_ended_does_not_fail() {
    let fixture = Fixture::new();
    let due = fixture.outbound.spool.clock().now();
    fixture.commit(&["a@b.test"], due, None).await;
    let claim = claim_for_delivery(&fixture).await.remove(0);
    let others = fixture.claim(now().plus(HOUR)).await.remove(0);
    let ended = fixture.outbound.spool.complete(others.lease, None).await;
    assert_eq!(ended, Ok(()));
    let opened = fixture.outbound.open(&claim.message).await;
    assert!(matches!(opened, Err(delivery::BodyError::NotNow(_))));
}

/// The spool may give a leg out again before its last worker hears that it is settled.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "it is to hold up whoever waits for the log"
)]
async fn a_leg_settled_but_a_moment_ago_may_be_claimed() {
    let fixture = Fixture::new();
    let (outbound, started) = (&fixture.outbound, now());
    fixture.commit(&["a@b.test"], started, None).await;
    outbound.spool.clock().set(started.plus(5 * HOUR));
    let mut telling = std::pin::pin!(outbound.tell_overdue().fuse());
    let mut claims = Vec::new();
    while claims.is_empty() && !telling.is_terminated() {
        let _ = (&mut telling).now_or_never();
        tokio::task::yield_now().await;
        // The log has time to make it durable, and who waits for that has none to hear of it.
        std::thread::sleep(Duration::from_millis(5));
        claims = claim_for_delivery(&fixture).now_or_never().unwrap();
    }
    assert_eq!(claims.len(), 2, "the leg, and the notice of its delay");
}
