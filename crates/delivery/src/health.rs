//! The state of one site: whether it can be reached, and how many connections it gets. Pure; clock and randomness come in.
//!
//! ```text
//!            first connection, or any while none is open, fails
//!    Up ───────────────────────────────────────────────────────► Down ◄─┐ probe fails:
//!     ▲                                                           │     │ the pause doubles
//!     └───────────────────────────────────────────────────────────┴─────┘
//!                          probe connects: window 1, then ramping
//! ```
//!
//! What the class of a reply does:
//! * 2xx for one recipient at least, or 5xx: the peer works, and may get one connection more. Some 4xx beside it (greylisting, a
//!   full mailbox) are a matter of those recipients.
//! * 4xx for all recipients of a transaction: no connection more. After ten in a row the window is 1 again, and the first mail that
//!   it takes is an event: what waits for later may come at once.
//! * 421: the peer wants fewer connections. It gets one less, and none more for a while.
//! * No connection, or a greeting that refuses: the same beside open connections; the site is down when there are none.
//!
//! What an operator ordered goes before all of it: a paused site gets no connection, a limited one no more connections and
//! messages than the limit says. The end of a pause is as that of an outage: window 1, then ramping.
//!
//! While no connection is open only one is tried at a time, so a site that died costs one attempt and not as many as
//! it has lanes. A new connection that fails beside open ones is a limit of the peer, not an outage.

use std::time::{Duration, Instant};

use envelope::Diagnosis;
use rand::{Rng, RngExt};

use crate::orders::Limit;
use crate::view::Reach;

/// What a site knows about itself.
#[derive(Debug)]
pub(crate) struct Health {
    limits: Limits,
    down: Option<Down>,
    /// Connections that are allowed at the moment; 1 to `limits.concurrency`.
    window: usize,
    connecting: usize,
    open: usize,
    /// No further connection before this, after one failed beside open ones.
    crowded_until: Option<Instant>,
    /// Transactions since it last took mail of which nothing but 4xx came.
    deferrals: u32,
    deferred_at: Option<Instant>,
    /// When it was last told that it takes mail again.
    told_at: Option<Instant>,
    paused: bool,
    ordered: Limit,
    /// Under a limit of messages: when the next one may go.
    next_at: Option<Instant>,
}

/// How a peer answered a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It took the mail, for somebody at least.
    Took,
    /// It took it for nobody, and for somebody never will.
    Refused,
    /// Not now, for nobody.
    Deferred,
    /// Not now, and it ended the session: 421 (RFC 5321 §3.8).
    Ended,
}

/// The settings that matter here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) concurrency: usize,
    pub(crate) probe_first: Duration,
    pub(crate) probe_longest: Duration,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    failures: u32,
    probe_at: Instant,
    reason: Diagnosis,
}

/// What a failed connection means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Others are open: the peer wants no more of them.
    Crowded,
    /// The site is down, since now or still; `failures` attempts failed since it was up.
    Down { failures: u32, probe_in: Duration },
}

impl Health {
    /// A site of which nothing is known: up, and one connection to begin with.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            down: None,
            window: 1,
            connecting: 0,
            open: 0,
            crowded_until: None,
            deferrals: 0,
            deferred_at: None,
            told_at: None,
            paused: false,
            ordered: Limit::default(),
            next_at: None,
        }
    }

    /// Whether another connection may be tried now. Whoever does it calls [`Health::connecting`].
    pub(crate) fn may_connect(&self, now: Instant) -> bool {
        if self.paused {
            return false;
        }
        if let Some(down) = &self.down {
            return self.connecting == 0 && now >= down.probe_at;
        }
        if self.open == 0 {
            return self.connecting == 0;
        }
        self.open + self.connecting < self.window() && self.crowded_until.is_none_or(|t| now >= t)
    }

    pub(crate) fn connecting(&mut self) {
        self.connecting += 1;
    }

    /// An attempt ended without saying anything about the site.
    pub(crate) fn connect_ended(&mut self) {
        self.connecting -= 1;
    }

    /// A connection is open. Tells how long the site was down, if it was.
    pub(crate) fn connected(&mut self, now: Instant) -> Option<Duration> {
        self.connecting -= 1;
        self.open += 1;
        let down = self.down.take()?;
        self.window = 1;
        Some(now.saturating_duration_since(down.since))
    }

    /// No host of the site gave us a connection.
    pub(crate) fn connect_failed(
        &mut self,
        now: Instant,
        reason: Diagnosis,
        rng: &mut impl Rng,
    ) -> Failure {
        self.connecting -= 1;
        if self.open > 0 {
            self.crowded(self.open, now);
            return Failure::Crowded;
        }
        if let Some(down) = &self.down
            && now < down.probe_at
        {
            // Under way when the site went down: the same outage, and no probe that failed.
            return Failure::Down {
                failures: down.failures,
                probe_in: down.probe_at - now,
            };
        }
        let earlier = self.down.take();
        let failures = earlier.as_ref().map_or(1, |down| down.failures + 1);
        let probe_in = self.pause(failures, rng);
        self.down = Some(Down {
            since: earlier.map_or(now, |down| down.since),
            failures,
            probe_at: now + probe_in,
            reason,
        });
        Failure::Down { failures, probe_in }
    }

    /// The peer wants no more connections than these, for now.
    fn crowded(&mut self, connections: usize, now: Instant) {
        self.window = self.window.min(connections.max(1));
        self.crowded_until = Some(now + CROWDED_PAUSE);
    }

    /// A connection was closed.
    pub(crate) fn closed(&mut self) {
        self.open -= 1;
    }

    /// The peer finished a transaction: it gets one connection more, if it did not put all off. Tells whether it takes mail
    /// again after it took none for some time.
    pub(crate) fn answered(&mut self, answer: Answer, now: Instant) -> bool {
        if answer == Answer::Ended {
            self.crowded(self.open.saturating_sub(1), now);
        }
        if matches!(answer, Answer::Deferred | Answer::Ended) {
            self.deferrals = self.deferrals.saturating_add(1);
            self.deferred_at = Some(now);
            if self.deferrals == DEFERRALS_TOLD {
                self.window = 1;
            }
            return false;
        }
        self.window = (self.window + 1).min(self.limits.concurrency.max(1));
        if answer == Answer::Refused || std::mem::take(&mut self.deferrals) < DEFERRALS_TOLD {
            return false;
        }
        let lately = |at: Instant| now.saturating_duration_since(at) < TOLD_EVERY;
        let tell = !self.told_at.is_some_and(lately);
        if tell {
            self.told_at = Some(now);
        }
        tell
    }

    /// Whether it takes no mail at present, though it can be reached: what waits for it waits in the spool.
    pub(crate) fn is_deferring(&self, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < DEFERRING_KEPT;
        self.deferrals >= DEFERRALS_TOLD && self.deferred_at.is_some_and(lately)
    }

    /// Whether more connections are open than the site is to have.
    pub(crate) fn is_over_window(&self) -> bool {
        self.paused || self.open > self.window()
    }

    /// Connections that it may have now.
    pub(crate) fn window(&self) -> usize {
        let ordered = self.ordered.connections.map_or(usize::MAX, |n| n as usize);
        self.window.min(ordered.max(1))
    }

    /// What an operator ordered holds from now on.
    pub(crate) fn obey(&mut self, paused: bool, limit: Limit) {
        if std::mem::replace(&mut self.paused, paused) && !paused {
            self.window = 1;
        }
        if std::mem::replace(&mut self.ordered, limit) != limit {
            self.next_at = None;
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn ordered(&self) -> Limit {
        self.ordered
    }

    /// Messages that may go now.
    pub(crate) fn allowance(&self, now: Instant) -> usize {
        let (Some(interval), Some(next_at)) = (self.interval(), self.next_at) else {
            // The first of a limit; or there is none.
            return self.interval().map_or(usize::MAX, |_| 1);
        };
        match now.checked_duration_since(next_at) {
            Some(since) => 1 + (since.min(SAVED).as_nanos() / interval.as_nanos()) as usize,
            None => 0,
        }
    }

    /// A message is about to go.
    pub(crate) fn sends(&mut self, now: Instant) {
        if let Some(interval) = self.interval() {
            let earliest = now.checked_sub(SAVED).unwrap_or(now);
            let next_at = self.next_at.map_or(now, |at| at.max(earliest));
            self.next_at = Some(next_at + interval);
        }
    }

    /// When to look again whether more messages may go.
    pub(crate) fn allows_more_at(&self, now: Instant) -> Instant {
        self.next_at.unwrap_or(now).max(now + LOOK_AGAIN)
    }

    /// Between two messages.
    fn interval(&self) -> Option<Duration> {
        let per_minute = self.ordered.per_minute?;
        Some(Duration::from_mins(1) / per_minute.max(1))
    }

    /// Whether the site is down and its probe is not due.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        self.down.as_ref().is_some_and(|down| now < down.probe_at)
    }

    /// When the next probe is due, and why the site is down, if it is.
    pub(crate) fn down(&self) -> Option<(Instant, &Diagnosis)> {
        let down = self.down.as_ref()?;
        Some((down.probe_at, &down.reason))
    }

    /// Whether it can be reached, in words for operators.
    pub(crate) fn reach(&self, now: Instant) -> Reach {
        if let Some(down) = &self.down {
            return Reach::Down {
                lasts: now.saturating_duration_since(down.since),
                reason: down.reason.clone(),
                probe_in: down.probe_at.saturating_duration_since(now),
            };
        }
        match self.is_deferring(now) {
            true => Reach::Deferring,
            false if self.crowded_until.is_some_and(|until| now < until) => Reach::Crowded,
            false => Reach::Up,
        }
    }

    /// Makes the probe of a resting site due. Tells when it would have been; `None` when the site does not rest.
    ///
    /// The failures so far still count: a probe that fails is followed by a longer pause, as any.
    pub(crate) fn probe_now(&mut self, now: Instant) -> Option<Instant> {
        let resting = self.down.as_mut().filter(|down| now < down.probe_at)?;
        Some(std::mem::replace(&mut resting.probe_at, now))
    }

    /// Connections being made.
    pub(crate) fn attempts(&self) -> usize {
        self.connecting
    }

    /// Connections open or being made.
    pub(crate) fn connections(&self) -> usize {
        self.open + self.connecting
    }

    /// Doubles with each failure; a tenth up or down, so that sites that fell together are not probed together.
    fn pause(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let doublings = (failures - 1).min(DOUBLINGS_MAX);
        let pause = self.limits.probe_first * 2u32.pow(doublings);
        let pause = pause.min(self.limits.probe_longest);
        pause.mul_f64(rng.random_range(0.9..1.1))
    }
}

/// How long a peer that refused one connection too many is left alone with those it has.
const CROWDED_PAUSE: Duration = Duration::from_secs(10);
/// So many transactions in a row that end with 4xx alone are no longer the bad luck of a few messages (greylisting).
const DEFERRALS_TOLD: u32 = 10;
/// A site that cannot make up its mind has the spool searched once in so long.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// For how long that is remembered: longer than usual pauses between the attempts at a leg.
const DEFERRING_KEPT: Duration = Duration::from_hours(5);
/// What a limit of messages did not use may be used for so long.
const SAVED: Duration = Duration::from_secs(1);
/// Under a high limit messages go in small groups: each look costs as much as a message.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Beyond any sensible longest pause; keeps the power from overflowing.
const DOUBLINGS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use envelope::EnhancedStatus;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

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
            self.health.connect_failed(self.now, reason, &mut self.rng)
        }

        fn took(&mut self) {
            assert!(!self.health.answered(Answer::Took, self.now));
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
            assert!(!site.health.answered(Answer::Deferred, site.now));
            assert_eq!(site.connect_all(), 0);
        }
        assert!(site.health.is_deferring(site.now));
        assert!(!site.health.answered(Answer::Refused, site.now));
        assert!(site.health.answered(Answer::Took, site.now));
        assert!(!site.health.answered(Answer::Took, site.now), "told once");
        assert!(!site.health.is_deferring(site.now));
    }

    #[test]
    fn a_session_ended_by_the_peer_is_one_connection_less() {
        let mut site = Simulation::new();
        site.connect_all();
        site.health.connected(site.now);
        (0..4).for_each(|_| site.took());
        assert_eq!(site.connect_all(), 4);
        (0..4).for_each(|_| assert_eq!(site.health.connected(site.now), None));
        assert!(!site.health.answered(Answer::Ended, site.now));
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
        site.connect_all();
        site.health.connected(site.now);
        (0..4).for_each(|_| site.took());
        site.connect_all();
        (0..4).for_each(|_| assert_eq!(site.health.connected(site.now), None));
        (0..10).for_each(|_| assert!(!site.health.answered(Answer::Deferred, site.now)));
        assert!(!site.health.answered(Answer::Ended, site.now));
        site.health.closed();
        assert!(site.health.is_over_window(), "one is enough");
    }

    #[test]
    fn some_deferred_messages_say_nothing_of_the_site() {
        let mut site = Simulation::new();
        site.connect_all();
        site.health.connected(site.now);
        (0..4).for_each(|_| site.took());
        site.connect_all();
        (0..4).for_each(|_| assert_eq!(site.health.connected(site.now), None));
        for _ in 0..20 {
            (0..9).for_each(|_| assert!(!site.health.answered(Answer::Deferred, site.now)));
            site.took();
        }
        assert!(!site.health.is_over_window());
        (0..10).for_each(|_| assert!(!site.health.answered(Answer::Deferred, site.now)));
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
}
