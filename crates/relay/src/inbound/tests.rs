//! A visit without a socket: what it asks of the routing, and of which.

use envelope::{Origin, Verdict};
use journal::{Journal, Reader};
use queue::LogSpool;
use smtp::server::Hello;
use smtp_in::{Ending, Incident, Visit as _};

use super::*;
use crate::inbound::refusals::REFUSALS_LOGGED_MAX;
use crate::routing::{ROUTED, Routing};
use crate::tests::{Talk, core, lines, now, routing, settings};

/// A relay's inbound side on a spool of its own, and what it logs.
struct World {
    inbound: Arc<Inbound<LogSpool>>,
    events: Reader,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(forwards: &str) -> Self {
        Self::with(routing(forwards), 0)
    }

    fn with(routing: Routing, min_free_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool = queue::Settings {
            min_free_bytes,
            ..queue::Settings::new(folder.path())
        };
        let spool = LogSpool::open(spool).unwrap();
        let journal = Journal::default();
        let events = journal.subscribe();
        let core = core(spool, routing, journal);
        let resolver = dns::Backend::Fixed(dns::Fixed::new());
        let outbound = Outbound::new(&core, &settings(), resolver.clone());
        let inbound = Inbound::new(&core, &settings(), resolver, Arc::new(outbound));
        Self {
            inbound: Arc::new(inbound),
            events,
            _folder: folder,
        }
    }

    fn talk(&self, from: &str) -> Talk<LogSpool> {
        Talk::new(&self.inbound, from)
    }

    /// The lines of the log so far, without time and id.
    fn lines(&mut self) -> Vec<String> {
        lines(&mut self.events)
    }
}

#[tokio::test]
async fn a_recipient_is_routed_once_and_a_reload_waits_for_the_next_transaction() {
    let mut world =
        World::new("alice@example.test alice@old.test\nbob@example.test bob@old.test\n");
    let before = ROUTED.get();
    let mut talk = world.talk("origin@sender.test");
    assert_eq!(talk.mail().await, "ok");
    assert_eq!(talk.rcpt("alice@example.test").await, "ok");
    world
        .inbound
        .routing
        .store(Arc::new(routing("alice@example.test alice@new.test\n")));
    assert_eq!(talk.rcpt("bob@example.test").await, "ok");
    assert_eq!(talk.data().await, "ok");
    let reply = talk.body("Subject: x\r\n\r\nx\r\n").await;
    assert!(reply.starts_with("250 2.0.0 queued"), "{reply}");
    assert_eq!(ROUTED.get() - before, 2);
    let forwarded: Vec<_> = world.lines();
    let targets = ["target=alice@old.test", "target=bob@old.test"];
    assert!(
        targets
            .iter()
            .all(|target| forwarded.iter().any(|line| line.contains(target))),
        "{forwarded:?}"
    );

    // The connection goes on, under the new rules.
    talk.envelope.recipients.clear();
    assert_eq!(talk.mail().await, "ok");
    let refused = talk.rcpt("bob@example.test").await;
    assert_eq!(refused, "550 5.1.1 no such address here");
}

/// One of the two targets takes nothing: only mail that is for it alone is put off.
#[tokio::test]
async fn mail_for_a_target_under_pressure_is_put_off() {
    let forwards = "alice@example.test a@full.test\nbob@example.test a@full.test, b@fine.test\n";
    let mut world = World::new(forwards);
    let pressed = Arc::new(AtomicBool::new(true));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let share = move |target: &Mailbox, to: &Destination, messages: f64| {
        seen.lock().push(format!("{target} {to} {messages}"));
        if target.local_part().as_str() == "a" {
            100
        } else {
            0
        }
    };
    world.inbound.ask_for_pressure(Arc::clone(&pressed), share);
    let put_off =
        "451 4.2.1 this recipient takes less mail at the moment than comes, try again later";
    let mut talk = world.talk("origin@sender.test");
    talk.mail().await;
    assert_eq!(talk.rcpt("alice@example.test").await, put_off);
    assert_eq!(talk.rcpt("bob@example.test").await, "ok");
    let lines = world.lines();
    assert!(
        lines.iter().any(|line| line.contains("rule=pressure")),
        "{lines:?}"
    );
    let expected = [
        "a@full.test full.test 0",
        "a@full.test full.test 0",
        "b@fine.test fine.test 0",
    ];
    assert_eq!(std::mem::take(&mut *asked.lock()), expected);
    // What counts is mail, not commands.
    talk.data().await;
    talk.body("A: b\r\n\r\n").await;
    let expected = [
        &expected[1..],
        &["a@full.test full.test 1", "b@fine.test fine.test 1"],
    ];
    assert_eq!(std::mem::take(&mut *asked.lock()), expected.concat());

    let mut bounce = world.talk("");
    bounce.mail().await;
    assert_eq!(bounce.rcpt("alice@example.test").await, "ok");
    // Nobody is asked while all is well.
    pressed.store(false, Ordering::Relaxed);
    let mut talk = world.talk("origin@sender.test");
    talk.mail().await;
    assert_eq!(talk.rcpt("alice@example.test").await, "ok");
    assert_eq!(*asked.lock(), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_is_looked_up_once() {
    let mut world = World::new("alice@example.test alice@next.test\n");
    let long = format!("{}@sender.test", "long-".repeat(12));
    let mut talk = world.talk(&long);
    talk.mail().await;
    assert_eq!(talk.rcpt("alice@example.test").await, "ok");
    assert_eq!(talk.data().await, "ok");
    let reply = talk.body("Subject: x\r\n\r\nx\r\n").await;
    assert!(reply.starts_with("250 2.0.0 queued"), "{reply}");
    let lines = world.lines();
    let token = lines.iter().find_map(|line| {
        let at = line.find("SRS0=")?;
        line[at..].split_once('>').map(|(address, _)| address)
    });
    let to = token.expect("a line with the token").to_owned();
    let before = ROUTED.get();
    let mut talk = world.talk("");
    talk.mail().await;
    assert_eq!(talk.rcpt(&to).await, "ok");
    assert_eq!(talk.data().await, "ok");
    let reply = talk.body("Subject: x\r\n\r\nx\r\n").await;
    assert!(reply.starts_with("250 2.0.0 queued"), "{reply}");
    assert_eq!(ROUTED.get() - before, 1);
}

#[tokio::test]
async fn the_sender_behind_srs_addresses_has_a_budget() {
    let world = World::new("");
    let srs = world.inbound.routing.load();
    let today = srs::Day::from_unix_secs(now().unix_secs());
    let srs0 = srs.forwarder.srs().forward("ann", "sender.test", today);
    let to = format!("{}@fwd.test", srs0.unwrap());
    let over = "450 4.7.1 too many messages to the sender behind this SRS address, try again later";
    // All are let in before the first is counted.
    let mut talks = [world.talk(""), world.talk(""), world.talk("")];
    for talk in &mut talks {
        talk.mail().await;
        assert_eq!(talk.rcpt(&to).await, "ok");
    }
    assert_eq!(talks[0].data().await, "ok");
    assert_eq!(talks[1].data().await, "ok");
    assert_eq!(talks[2].data().await, over);
    // Case makes no difference, another sender does.
    let mut talk = world.talk("");
    talk.mail().await;
    assert_eq!(talk.rcpt(&to.to_lowercase()).await, over);
    let other = srs.forwarder.srs().forward("ben", "sender.test", today);
    assert_eq!(
        talk.rcpt(&format!("{}@fwd.test", other.unwrap())).await,
        "ok"
    );
}

/// Of a whole transaction, what was said to RCPT or DATA, whichever was refused.
async fn said_to(world: &World, from: &str, to: &str) -> String {
    let mut talk = world.talk(from);
    talk.mail().await;
    match talk.rcpt(to).await.as_str() {
        "ok" => talk.data().await,
        refused => refused.to_owned(),
    }
}

/// Anybody can call himself `x%victim@` a domain that we pass on, and learn his SRS address from mail to himself.
#[tokio::test]
async fn an_srs_address_is_no_way_round_the_refusal_of_routed_addresses() {
    let relay_domains = vec!["backed.test".parse().unwrap()];
    let routing = Routing {
        relay_domains,
        ..routing("@old.test @new.test\nann@hosted.test x%y@next.test\n")
    };
    let world = World::with(routing, 0);
    let routing = world.inbound.routing.load();
    let today = srs::Day::from_unix_secs(now().unix_secs());
    let refused = "550 5.7.1 relaying denied: the address names a further host";
    for (local, domain, expected) in [
        ("x%victim.test", "old.test", refused),
        ("victim.test!x", "old.test", refused),
        ("x@victim.test", "old.test", refused),
        ("x%victim.test", "backed.test", refused),
        ("x", "old.test", "ok"),
        ("x", "backed.test", "ok"),
        // A stranger's bounce goes to his own servers, whatever he calls himself.
        ("x%victim.test", "sender.test", "ok"),
        ("ann", "hosted.test", "ok"),
    ] {
        let srs0 = routing.forwarder.srs().forward(local, domain, today);
        let local_part = envelope::LocalPart::from_unquoted(&srs0.unwrap()).unwrap();
        let to = format!("{local_part}@fwd.test");
        assert_eq!(said_to(&world, "", &to).await, expected, "{to}");
    }
}

#[tokio::test]
async fn what_is_refused_takes_nothing_of_the_budget() {
    let world = World::new("");
    let srs = world.inbound.routing.load();
    let today = srs::Day::from_unix_secs(now().unix_secs());
    let srs0 = srs.forwarder.srs().forward("ann", "sender.test", today);
    let to = format!("{}@fwd.test", srs0.unwrap());
    for _ in 0..3 {
        let refused = said_to(&world, "origin@sender.test", &to).await;
        assert!(refused.starts_with("550 5.7.1"), "{refused}");
    }
    assert_eq!(said_to(&world, "", &to).await, "ok");
}

#[tokio::test]
async fn policy_is_told_the_last_name_that_was_accepted() {
    let world = World::new("");
    let mut talk = world.talk("origin@sender.test");
    let hello = Hello {
        name: "<bad>".into(),
        extended: true,
    };
    let verdict = talk.visit.hello(&talk.client, &hello).await;
    assert_ne!(verdict, Verdict::Accept);
    talk.mail().await;
    assert_eq!(talk.visit.case.hello, "");
}

#[tokio::test]
async fn a_full_spool_has_a_line() {
    let forwards = "alice@example.test alice@next.test\n";
    let mut world = World::with(routing(forwards), u64::MAX);
    let said = said_to(&world, "origin@sender.test", "alice@example.test").await;
    assert!(said.starts_with("452 4.3.1"), "{said}");
    let lines = world.lines();
    let expected = "refused client=192.0.2.7:4000 listener=192.0.2.1:25 stage=data rule=spool from=<origin@sender.test> reply=";
    assert!(
        lines.iter().any(|line| line.starts_with(expected)),
        "{lines:?}"
    );
    // It is refused for all recipients, so none is named, not even an SRS address.
    let today = srs::Day::from_unix_secs(now().unix_secs());
    let srs = world.inbound.routing.load();
    let srs0 = srs.forwarder.srs().forward("ann", "sender.test", today);
    let said = said_to(&world, "", &format!("{}@fwd.test", srs0.unwrap())).await;
    assert!(said.starts_with("452 4.3.1"), "{said}");
    let lines = world.lines();
    let expected =
        "refused client=192.0.2.7:4000 listener=192.0.2.1:25 stage=data rule=spool from=<> reply=";
    assert!(
        lines.len() == 1 && lines[0].starts_with(expected),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_refused_message_is_not_counted_as_a_refusal_without_a_line() {
    let mut world = World::new("alice@example.test alice@next.test\n");
    let mut talk = world.talk("origin@sender.test");
    talk.mail().await;
    for _ in 0..REFUSALS_LOGGED_MAX {
        assert!(talk.rcpt("bob@example.test").await.starts_with("550"));
    }
    assert_eq!(talk.rcpt("alice@example.test").await, "ok");
    assert_eq!(talk.data().await, "ok");
    world.lines();
    let loops = "Delivered-To: alice@example.test\r\n\r\nx\r\n";
    assert!(talk.body(loops).await.starts_with("554"));
    let ended = Incident::Closed(Ending::Session);
    talk.visit.observe(&talk.client, ended);
    let lines = world.lines();
    assert!(
        lines.len() == 2 && lines[0].starts_with("received") && lines[1].starts_with("refused"),
        "{lines:?}"
    );
}

#[tokio::test]
async fn what_is_left_out_has_a_line() {
    let mut world =
        World::new("team@example.test alice@next.test, gone@example.test, team@example.test\n");
    let mut talk = world.talk("origin@sender.test");
    talk.envelope.dropped = vec!["AUTH", "ORCPT"];
    talk.mail().await;
    assert_eq!(talk.rcpt("team@example.test").await, "ok");
    assert_eq!(talk.data().await, "ok");
    talk.body("Subject: x\r\n\r\nx\r\n").await;
    let lines = world.lines().join("\n");
    for expected in [
        " dropped=AUTH,ORCPT",
        "dead-end target=gone@example.test reason=",
        "dead-end target=team@example.test reason=",
    ] {
        assert!(lines.contains(expected), "{lines}");
    }
}

async fn check_origin(trusted: &[&str], expected: Origin) {
    let routing = Routing {
        trusted: trusted.iter().map(|net| net.parse().unwrap()).collect(),
        ..routing("alice@example.test alice@target.test\n")
    };
    let world = World::with(routing, 0);
    let mut talk = world.talk("origin@sender.test");
    talk.mail().await;
    talk.rcpt("alice@example.test").await;
    talk.data().await;
    talk.body("Subject: x\r\n\r\nx\r\n").await;
    let all = spool::Filter::default();
    let page = world.inbound.spool.list(&all, None, 1).await;
    assert_eq!(page.unwrap().entries[0].message.origin, expected);
}

#[tokio::test]
async fn a_message_says_what_its_client_proved() {
    check_origin(&[], Origin::Stranger).await;
    check_origin(&["192.0.2.0/24"], Origin::TrustedClient).await;
}

#[tokio::test]
async fn legs_keep_what_a_forward_chooses() {
    let world = World::new("h.test :domain: srs_domain=s.test\na@h.test a@b.test srs=off\n");
    let mut talk = world.talk("origin@sender.test");
    assert_eq!(talk.mail().await, "ok");
    assert_eq!(talk.rcpt("a@h.test").await, "ok");
    assert_eq!(talk.data().await, "ok");
    talk.body("Subject: x\r\n\r\nx\r\n").await;
    let spool = &world.inbound.spool;
    let page = spool.list(&spool::Filter::default(), None, 9).await;
    let legs = page.unwrap().entries;
    let chosen = "srs=off srs_domain=s.test";
    assert_eq!(legs[0].leg.options.as_str(), chosen);
    // `queue list --json` and `queue show --json` print it.
    assert_eq!(legs[0].leg.options.as_str(), chosen);
}

#[tokio::test]
async fn a_tier_chooses_what_lines_leave_open() {
    let (tier, bulk) = (
        policy::Tier::Unknown,
        crate::TierWay {
            egress: Some("bulk".into()),
            srs_domain: Some("s.test".parse().unwrap()),
        },
    );
    let forwards = "h.test :domain:\na@h.test a@b.test\nc@h.test c@b.test srs_domain=fwd.test\nd@h.test d@b.test srs=off\n";
    let routing = Routing {
        tiers: [(tier, bulk)].into(),
        ..routing(forwards)
    };
    let world = World::with(routing, 0);
    let mut talk = world.talk("origin@sender.test");
    talk.mail().await;
    for to in ["a@h.test", "c@h.test", "d@h.test"] {
        assert_eq!(talk.rcpt(to).await, "ok");
    }
    talk.data().await;
    talk.body("Subject: x\r\n\r\nx\r\n").await;
    let page = world
        .inbound
        .spool
        .list(&spool::Filter::default(), None, 9)
        .await;
    let legs = page.unwrap().entries;
    let domain = |leg: &envelope::Leg| leg.reverse_path.mailbox().unwrap().host().to_string();
    let legs = legs
        .iter()
        .map(|entry| format!("{} {}", domain(&entry.leg), entry.leg.options.as_str()));
    let expected = [
        "s.test egress=bulk",
        "fwd.test egress=bulk srs_domain=fwd.test",
        "sender.test egress=bulk srs=off",
    ];
    assert_eq!(legs.collect::<Vec<_>>(), expected);
}

/// A forger who hides From behind a header of 300 KiB is not let in where a failed DMARC would be refused.
#[tokio::test]
async fn a_header_too_large_for_dmarc() {
    let header = format!("X: {}\r\n", "x".repeat(900)).repeat(350);
    let body = format!("{header}From: ann@bank.test\r\n\r\nhello\r\n");
    for (dmarc, expected) in [("reject", "552 5.3.4 "), ("hold", "250 "), ("mark", "250 ")] {
        let mut profiles = policy::Profiles::default();
        let measures = [("dmarc", dmarc.to_owned())];
        profiles.add("default", measures).unwrap();
        let routing = Routing {
            profiles,
            ..routing("alice@example.test alice@next.test\n")
        };
        let mut world = World::with(routing, 0);
        let mut talk = world.talk("origin@sender.test");
        talk.mail().await;
        assert_eq!(talk.rcpt("alice@example.test").await, "ok");
        assert_eq!(talk.data().await, "ok");
        let reply = talk.body(&body).await;
        assert!(reply.starts_with(expected), "{dmarc}: {reply}");
        let held = world.lines().iter().any(|line| line.starts_with("held "));
        assert_eq!(held, dmarc == "hold");
    }
}

mod looked_up;
