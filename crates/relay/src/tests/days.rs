//! A message's days on a clock that is turned by hand: a visit takes it in, a delivery that is played answers.

use std::time::Duration;

use delivery::{Body, Want, Work};
use envelope::{Claim, Diagnosis, EnhancedStatus, Outcome, Trip};
use spool::Lifetime;
use spool::memory::MemorySpool;

use super::*;
use crate::outbound::Outbound;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A relay in memory.
struct Days {
    inbound: Arc<Inbound<MemorySpool>>,
    outbound: Arc<Outbound<MemorySpool>>,
    clock: Clock,
    events: Reader,
}

impl Days {
    fn new(forwards: &str) -> Self {
        let clock = Clock::manual(now());
        let settings = Settings {
            schedule: Schedule {
                jitter: 0.0,
                ..Schedule::default()
            },
            ..settings()
        };
        let spool = MemorySpool::new(clock.clone(), Lifetime::default());
        let journal = Journal::default();
        let events = journal.subscribe();
        let core = Core {
            clock: clock.clone(),
            ..core(spool, routing(forwards), journal)
        };
        let resolver = dns::Backend::Fixed(dns::Fixed::new());
        let outbound = Arc::new(Outbound::new(&core, &settings, resolver.clone()));
        let inbound = Inbound::new(&core, &settings, resolver, Arc::clone(&outbound));
        Self {
            inbound: Arc::new(inbound),
            outbound,
            clock,
            events,
        }
    }

    /// Mail of `origin@sender.test` comes in.
    async fn accept(&self, recipients: &[&str]) {
        let mut talk = Talk::new(&self.inbound, "origin@sender.test");
        assert_eq!(talk.mail().await, "ok");
        for recipient in recipients {
            assert_eq!(talk.rcpt(recipient).await, "ok");
        }
        assert_eq!(talk.data().await, "ok");
        let reply = talk.body("Subject: x\r\n\r\nx\r\n").await;
        assert!(reply.starts_with("250"), "{reply}");
    }

    /// What is due is tried, and its targets are busy; only the sender takes mail. How many targets were tried.
    async fn try_all(&self) -> usize {
        let want = Want {
            max: 100,
            per_host: 100,
            park: Vec::new(),
        };
        let claims = self.outbound.claim(&want).await;
        for claim in &claims {
            let outcome = match is_notice(claim) {
                true => Outcome::Delivered(answer(250, "taken")),
                false => Outcome::Deferred(answer(450, "busy")),
            };
            let claim = std::slice::from_ref(claim);
            self.outbound
                .settle(claim, &Trip::default(), vec![outcome])
                .await;
        }
        claims.iter().filter(|claim| !is_notice(claim)).count()
    }

    /// Time passes, and senders are told what there is to tell them.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.outbound.tell_overdue().await;
    }

    /// The one notice that waits for the sender, which then takes it.
    async fn notice(&self) -> String {
        let want = Want {
            max: 100,
            per_host: 100,
            park: Vec::new(),
        };
        let claims = self.outbound.claim(&want).await;
        let (notices, others): (Vec<_>, Vec<_>) = claims.into_iter().partition(is_notice);
        self.outbound.release(others).await;
        let [notice] = notices.as_slice() else {
            panic!("{} notices", notices.len());
        };
        let mut body = self.outbound.open(&notice.message).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = body.chunk().await.unwrap() {
            text.extend_from_slice(&chunk);
        }
        let taken = vec![Outcome::Delivered(answer(250, "taken"))];
        self.outbound
            .settle(&notices, &Trip::default(), taken)
            .await;
        String::from_utf8(text).unwrap()
    }

    fn count(&mut self, words: &str) -> usize {
        let lines = lines(&mut self.events);
        lines.iter().filter(|line| line.contains(words)).count()
    }
}

fn is_notice(claim: &Claim) -> bool {
    claim.message.reverse_path.is_null()
}

fn answer(code: u16, text: &str) -> Diagnosis {
    let status = match code {
        250 => EnhancedStatus::success(0, 0),
        _ => EnhancedStatus::transient(2, 1),
    };
    Diagnosis {
        reply: Some(envelope::Reply::new(code, status, text)),
        ..Diagnosis::local(status, "while sending RCPT TO")
    }
}

#[tokio::test]
async fn pauses_grow_as_the_list_says() {
    let days = Days::new("a@h.test a@b.test\n");
    days.accept(&["a@h.test"]).await;
    assert_eq!(days.try_all().await, 1, "at once");
    for minutes in [1, 5, 15, 30, 60] {
        days.pass(minutes * MINUTE - SECOND).await;
        assert_eq!(days.try_all().await, 0, "{minutes} minutes are not over");
        days.pass(SECOND).await;
        assert_eq!(days.try_all().await, 1, "{minutes} minutes are over");
    }
}

/// One notice after four hours, one after five days; each tells of all recipients, and of what their target said.
#[tokio::test]
async fn a_sender_is_warned_and_in_the_end_told() {
    let mut days = Days::new("a@h.test a@b.test\nc@h.test c@b.test\n");
    days.accept(&["a@h.test", "c@h.test"]).await;
    assert_eq!(days.try_all().await, 2);
    days.pass(4 * HOUR - SECOND).await;
    assert_eq!(days.count("bounced"), 0, "four hours are not over");
    days.pass(SECOND).await;
    check_notice(&days.notice().await, "delayed");
    assert_eq!(days.count("bounced kind=delayed"), 1);
    days.pass(HOUR).await;
    assert_eq!(days.try_all().await, 2, "they are tried on");
    days.pass(5 * 24 * HOUR - 5 * HOUR - SECOND).await;
    assert_eq!(days.count("bounced"), 0, "warned once, and not over");
    days.pass(SECOND).await;
    check_notice(&days.notice().await, "failed");
    assert_eq!(days.count("bounced kind=failed"), 1);
    days.pass(24 * HOUR).await;
    assert_eq!(days.try_all().await, 0, "they have ended");
}

#[track_caller]
fn check_notice(notice: &str, action: &str) {
    let count = |words: &str| notice.matches(words).count();
    assert_eq!(count(&format!("Action: {action}")), 2, "{notice}");
    assert_eq!(
        count("Diagnostic-Code: smtp; 450 4.2.1 busy"),
        2,
        "{notice}"
    );
    for recipient in ["a@h.test", "c@h.test"] {
        let field = format!("Final-Recipient: rfc822; {recipient}");
        assert_eq!(count(&field), 1, "{notice}");
    }
    assert_eq!(count("@b.test"), 0, "the targets are private: {notice}");
}
