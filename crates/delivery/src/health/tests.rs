//! A site, with a clock and luck of the test's.

use envelope::EnhancedStatus;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

fn said(line: &str) -> Diagnosis {
    let reply = envelope::Reply::parse_refusal(line, (0, 0)).unwrap();
    Diagnosis {
        reply: Some(reply.clone()),
        ..Diagnosis::local(reply.status.unwrap(), "while sending RCPT TO")
    }
}

fn throttle(pause: Option<Duration>) -> Answer {
    Answer::Throttled {
        reason: said("450 4.7.28 unusual rate of unsolicited mail"),
        took: false,
        pause,
    }
}

struct Simulation {
    health: Health,
    now: Instant,
    rng: SmallRng,
}

impl Simulation {
    fn new() -> Self {
        let limits = Limits {
            concurrency: 5,
            probe_first: Duration::from_secs(30),
            probe_longest: Duration::from_mins(10),
        };
        Self {
            health: Health::new(limits),
            now: Instant::now(),
            rng: SmallRng::seed_from_u64(1),
        }
    }

    /// Begins as many connections as allowed; tells how many.
    fn connect_all(&mut self) -> usize {
        (0..100)
            .take_while(|_| {
                let may = self.health.may_connect(self.now);
                if may {
                    self.health.connecting();
                }
                may
            })
            .count()
    }

    fn fail(&mut self) -> Failure {
        let reason = Diagnosis::local(EnhancedStatus::transient(4, 1), "connection refused");
        self.health
            .connect_failed(self.now, reason, None, &mut self.rng)
    }

    fn took(&mut self) {
        assert_eq!(self.answered(Answer::Took), Turn::None);
    }

    fn answered(&mut self, answer: Answer) -> Turn {
        self.health.answered(answer, self.now, &mut self.rng)
    }

    fn deferred(&mut self) {
        let answer = Answer::Deferred(said("450 4.2.0 not now"));
        assert_eq!(self.answered(answer), Turn::None);
    }

    fn throttled(&mut self) -> Turn {
        self.answered(throttle(None))
    }

    /// With so many connections open.
    fn open(&mut self, connections: usize) {
        self.connect_all();
        self.health.connected(self.now);
        (1..connections).for_each(|_| self.took());
        self.connect_all();
        (1..connections).for_each(|_| assert_eq!(self.health.connected(self.now), None));
    }

    fn wait(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }
}

#[test]
fn a_dead_site_costs_one_attempt_a_probe() {
    let mut site = Simulation::new();
    let mut attempts = 0;
    let mut pauses = Vec::new();
    // A day, asked every second.
    for _ in 0..86_400 {
        let begun = site.connect_all();
        assert!(begun <= 1);
        attempts += begun;
        if begun == 1 {
            let Failure::Down { failures, probe_in } = site.fail() else {
                panic!("crowded")
            };
            assert_eq!(failures as usize, attempts);
            pauses.push(probe_in.as_secs_f64());
        }
        site.wait(1);
    }
    // 30 + 60 + 120 + 240 + 480 s, then every 600 s.
    assert!((140..=160).contains(&attempts), "{attempts}");
    for (pause, expected) in pauses.iter().zip([30.0, 60.0, 120.0, 240.0, 480.0, 600.0]) {
        assert!(
            (pause / expected - 1.0f64).abs() <= 0.1,
            "{pause} {expected}"
        );
    }
    assert!(pauses[9] != pauses[10], "no jitter");
}

#[test]
fn recovery_ramps() {
    let mut site = Simulation::new();
    assert_eq!(site.connect_all(), 1);
    site.fail();
    assert!(site.health.is_resting(site.now));
    site.wait(40);
    assert!(!site.health.is_resting(site.now));
    assert_eq!(site.connect_all(), 1);
    site.wait(2);
    assert_eq!(
        site.health.connected(site.now),
        Some(Duration::from_secs(42))
    );
    assert_eq!(site.health.down(), None);
    assert_eq!(site.connect_all(), 0);
    for expected in [1, 1, 1, 1, 0, 0] {
        site.took();
        assert_eq!(site.connect_all(), expected);
        if expected == 1 {
            assert_eq!(site.health.connected(site.now), None);
        }
    }
    assert_eq!(site.health.connections(), 5);
    // All closed while idle, then it dies: one attempt again.
    (0..5).for_each(|_| site.health.closed());
    assert_eq!(site.connect_all(), 1);
    assert!(matches!(site.fail(), Failure::Down { failures: 1, .. }));
}

#[test]
fn connections_that_were_under_way_do_not_lengthen_the_pause() {
    let mut site = Simulation::new();
    site.connect_all();
    site.health.connected(site.now);
    (0..4).for_each(|_| site.took());
    assert_eq!(site.connect_all(), 4);
    // The site goes away while four more connections are being made.
    site.health.closed();
    for _ in 0..4 {
        let Failure::Down { failures, probe_in } = site.fail() else {
            panic!("crowded")
        };
        assert_eq!(failures, 1);
        assert!(probe_in <= Duration::from_secs(33), "{probe_in:?}");
    }
    site.wait(34);
    assert_eq!(site.connect_all(), 1);
    assert!(matches!(site.fail(), Failure::Down { failures: 2, .. }));
}

#[test]
fn a_refused_extra_connection_is_no_outage() {
    let mut site = Simulation::new();
    site.connect_all();
    site.health.connected(site.now);
    site.took();
    assert_eq!(site.connect_all(), 1);
    assert_eq!(site.fail(), Failure::Crowded);
    site.took();
    assert_eq!(site.connect_all(), 0);
    site.wait(10);
    assert_eq!(site.connect_all(), 1);
}

#[test]
fn a_site_that_defers_gets_no_connection_more_until_it_takes_mail() {
    let mut site = Simulation::new();
    site.connect_all();
    site.health.connected(site.now);
    for _ in 0..100 {
        site.deferred();
        assert_eq!(site.connect_all(), 0);
    }
    assert!(site.health.is_deferring(site.now));
    assert_eq!(site.answered(Answer::Refused), Turn::None);
    assert_eq!(site.answered(Answer::Took), Turn::TakesMail);
    assert_eq!(site.answered(Answer::Took), Turn::None, "told once");
    assert!(!site.health.is_deferring(site.now));
}

#[test]
fn a_session_ended_by_the_peer_is_one_connection_less() {
    let mut site = Simulation::new();
    site.open(5);
    let ended = Answer::Ended(said("421 4.3.2 shutting down"));
    assert_eq!(site.answered(ended), Turn::None);
    site.health.closed();
    assert!(!site.health.is_over_window());
    site.took();
    assert_eq!(site.connect_all(), 0, "too soon");
    site.wait(10);
    assert_eq!(site.connect_all(), 1);
}

#[test]
fn a_session_ended_by_a_peer_that_takes_nothing_brings_no_connections_back() {
    let mut site = Simulation::new();
    site.open(5);
    (0..10).for_each(|_| site.deferred());
    let ended = Answer::Ended(said("421 4.3.2 shutting down"));
    assert_eq!(site.answered(ended), Turn::None);
    site.health.closed();
    assert!(site.health.is_over_window(), "one is enough");
}

#[test]
fn some_deferred_messages_say_nothing_of_the_site() {
    let mut site = Simulation::new();
    site.open(5);
    for _ in 0..20 {
        (0..9).for_each(|_| site.deferred());
        site.took();
    }
    assert!(!site.health.is_over_window());
    (0..10).for_each(|_| site.deferred());
    assert!(
        site.health.is_over_window(),
        "five are open, and one is enough"
    );
    site.wait(5 * 3600);
    assert!(
        !site.health.is_deferring(site.now),
        "of no interest any more"
    );
}

/// A provider that answers `450 4.7.28` to all for some minutes.
#[test]
fn a_throttled_site_is_sent_one_message_a_pause() {
    let mut site = Simulation::new();
    site.open(5);
    assert_eq!(site.throttled(), Turn::None);
    assert_eq!(site.health.window(), 2, "half of five");
    assert_eq!(site.throttled(), Turn::None);
    assert_eq!(
        site.health.window(),
        2,
        "the same answer, to another connection"
    );
    let Turn::Throttled { probe_in } = site.throttled() else {
        panic!("three in a row")
    };
    assert!((27..=33).contains(&probe_in.as_secs()));
    // What was under way changes nothing, and all connections go.
    assert_eq!(site.throttled(), Turn::None);
    assert_eq!(site.answered(Answer::Took), Turn::None);
    assert!(site.health.is_over_window() && site.health.is_resting(site.now));
    (0..5).for_each(|_| site.health.closed());
    let mut probes = 0;
    for _ in 0..300 {
        site.wait(1);
        if site.connect_all() == 0 {
            continue;
        }
        probes += 1;
        assert_eq!(site.health.connected(site.now), None);
        assert_eq!(site.connect_all(), 0, "one probe at a time");
        assert!(matches!(site.throttled(), Turn::Throttled { .. }));
        site.health.closed();
    }
    assert_eq!(probes, 3, "after 30, 90 and 210 s");
    assert!(matches!(
        site.health.reach(site.now),
        Reach::Throttled { .. }
    ));
    site.wait(600);
    assert_eq!(site.connect_all(), 1);
    site.health.connected(site.now);
    assert_eq!(site.answered(Answer::Took), Turn::TakesMail);
    assert_eq!(site.health.reach(site.now), Reach::Up);
    assert!(!site.health.is_over_window());
    assert_eq!(site.connect_all(), 0);
}

#[test]
fn after_a_throttle_the_window_grows_slowly() {
    let mut site = Simulation::new();
    site.open(5);
    site.throttled();
    (0..3).for_each(|_| site.health.closed());
    for window in [2, 3, 4, 5, 5] {
        (0..50).for_each(|_| site.took());
        assert_eq!(site.health.window(), window);
        site.wait(10);
    }
    // One that took some, and was told to slow down for others, is not out of order.
    for _ in 0..20 {
        let Answer::Throttled { reason, pause, .. } = throttle(None) else {
            unreachable!()
        };
        let took = true;
        assert_eq!(
            site.answered(Answer::Throttled {
                reason,
                took,
                pause
            }),
            Turn::None
        );
        site.wait(10);
    }
    assert_eq!(site.health.window(), 1);
}

#[test]
fn a_site_that_is_throttled_again_and_again_is_told_of_once_a_minute() {
    let mut site = Simulation::new();
    site.open(1);
    let mut turns = Vec::new();
    for _ in 0..4 {
        (0..3).for_each(|_| _ = site.throttled());
        site.health.closed();
        site.wait(33);
        site.connect_all();
        site.health.connected(site.now);
        turns.push(site.answered(Answer::Took));
    }
    let told = [Turn::TakesMail, Turn::Up];
    assert_eq!(turns.chunks(2).collect::<Vec<_>>(), [&told, &told]);
    site.wait(28);
    assert_eq!(site.answered(Answer::Took), Turn::TakesMail, "the last end");
    site.wait(120);
    assert_eq!(site.answered(Answer::Took), Turn::None);
}

#[test]
fn a_rule_pauses_a_site_at_once_and_for_its_time() {
    let mut site = Simulation::new();
    site.open(1);
    let hour = Duration::from_hours(1);
    let turn = site.answered(throttle(Some(hour)));
    assert_eq!(turn, Turn::Throttled { probe_in: hour });
    site.health.closed();
    site.wait(3600);
    assert_eq!(site.connect_all(), 1);
    site.health.connected(site.now);
    // Another trouble than the throttle tells nothing, and is no reason to pause for so long again.
    let deferred = Answer::Deferred(said("452 4.2.2 full"));
    let probe_in = Duration::from_secs(30);
    assert_eq!(site.answered(deferred), Turn::Throttled { probe_in });
    site.health.closed();
    site.wait(30);
    site.connect_all();
    let Failure::Down { failures, probe_in } = site.fail() else {
        panic!("crowded")
    };
    assert!(
        failures == 2 && probe_in < Duration::from_secs(70),
        "{probe_in:?}"
    );
    site.wait(70);
    site.connect_all();
    site.health.connected(site.now);
    let turn = site.answered(throttle(Some(hour)));
    assert_eq!(turn, Turn::Throttled { probe_in: hour }, "the rule again");
    site.health.closed();
    site.wait(3600);
    site.connect_all();
    assert_eq!(
        site.health.connected(site.now),
        None,
        "it is throttled still"
    );
    assert_eq!(site.answered(Answer::Refused), Turn::TakesMail);
}

#[test]
fn a_probe_without_an_answer_is_followed_by_the_next() {
    let mut site = Simulation::new();
    site.open(2);
    site.answered(throttle(Some(Duration::ZERO)));
    site.health.closed();
    site.wait(40);
    // One connection is still busy with what it had.
    assert_eq!(site.connect_all(), 1);
    site.health.connected(site.now);
    assert_eq!(site.connect_all(), 0);
    (0..2).for_each(|_| site.health.closed());
    assert_eq!(site.connect_all(), 1);
    site.health.connect_ended();
    assert_eq!(site.connect_all(), 1);
}

#[test]
fn a_pause_is_no_longer_than_usual_when_its_rule_may_be_gone() {
    let mut site = Simulation::new();
    site.open(1);
    site.answered(throttle(Some(Duration::from_hours(24))));
    site.health.closed();
    site.health.reshape(site.health.limits, site.now);
    site.wait(599);
    assert_eq!(site.connect_all(), 0);
    site.wait(1);
    assert_eq!(site.connect_all(), 1);
}
