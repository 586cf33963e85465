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
//! * A 4xx that says that we send too much: half the connections, and none more for a while. After three in a row, of which nothing
//!   was taken, or when a rule of `shaping` says so, the site is *throttled*: as if it were down, but what ends that is a probe
//!   whose mail it takes.
//! * Another 421: the peer wants fewer connections. It gets one less, and none more for a while.
//! * No connection, or a greeting that refuses: the same beside open connections; the site is down when there are none.
//!
//! What an operator ordered goes before all of it: a paused site gets no connection, a limited one no more connections and
//! messages than the limit says. The end of a pause is as that of an outage: window 1, then ramping.
//!
//! While no connection is open only one is tried at a time, so a site that died costs one attempt and not as many as
//! it has lanes. A new connection that fails beside open ones is a limit of the peer, not an outage.

use std::time::{Duration, Instant};

use envelope::{Diagnosis, Share};
use rand::{Rng, RngExt};

mod answers;
mod learned;
mod ordered;
mod rate;

pub(crate) use answers::{Answer, Turn};
pub(crate) use rate::{Rate, per_minute};

use crate::orders::Limit;
use crate::view::Reach;

/// What a site knows about itself.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) limits: Limits,
    pub(crate) down: Option<Down>,
    /// Connections that are allowed at the moment; 1 to `limits.concurrency`.
    pub(crate) window: usize,
    connecting: usize,
    open: usize,
    /// When a connection was last made.
    connected_at: Option<Instant>,
    /// Another node gets through where this one does not.
    disputed: bool,
    /// No further connection before this, after one failed beside open ones, or the peer had enough.
    crowded_until: Option<Instant>,
    /// When it last got fewer connections, and why.
    slowed: Option<(Instant, Diagnosis)>,
    /// When the window was last halved.
    throttled_at: Option<Instant>,
    /// The window stays as it is before this.
    steady_until: Option<Instant>,
    /// Transactions in a row of which it took nothing because we send too much.
    throttles: u32,
    /// The probe of a down site is under way, or its connection open.
    probing: bool,
    /// Transactions since it last took mail of which nothing but 4xx came.
    deferrals: u32,
    deferred_at: Option<Instant>,
    /// When it was last told that it takes mail again.
    told_at: Option<Instant>,
    /// It takes mail again, which is still to be told.
    untold: bool,
    paused: bool,
    ordered: Limit,
    /// Of what is ordered.
    share: Share,
    /// Under a limit that an operator ordered.
    pub(crate) rate: Rate,
}

/// The settings that matter here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) concurrency: usize,
    pub(crate) probe_first: Duration,
    pub(crate) probe_longest: Duration,
}

/// Why it gets no mail now.
#[derive(Debug)]
pub(crate) struct Down {
    pub(crate) since: Instant,
    pub(crate) failures: u32,
    pub(crate) probe_at: Instant,
    pub(crate) reason: Diagnosis,
    /// It can be reached, but takes no mail: a connection alone does not end it.
    pub(crate) throttled: bool,
    /// What another node has found, so often since this one tried for itself; 0: it has found it.
    pub(crate) learned: u32,
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
            connected_at: None,
            disputed: false,
            crowded_until: None,
            slowed: None,
            throttled_at: None,
            steady_until: None,
            throttles: 0,
            probing: false,
            deferrals: 0,
            deferred_at: None,
            told_at: None,
            untold: false,
            paused: false,
            ordered: Limit::default(),
            share: Share::default(),
            rate: Rate::default(),
        }
    }

    /// Whether another connection may be tried now. Whoever does it calls [`Health::connecting`].
    pub(crate) fn may_connect(&self, now: Instant) -> bool {
        if self.is_paused() {
            return false;
        }
        if let Some(down) = &self.down {
            return self.connecting == 0 && !self.probing && now >= down.probe_at;
        }
        if self.open == 0 {
            return self.connecting == 0;
        }
        self.open + self.connecting < self.window() && self.crowded_until.is_none_or(|t| now >= t)
    }

    pub(crate) fn connecting(&mut self) {
        self.connecting += 1;
        self.probing = self.down.is_some();
    }

    /// An attempt ended without saying anything about the site.
    pub(crate) fn connect_ended(&mut self) {
        self.connecting -= 1;
        self.probing = false;
    }

    /// A connection is open. Tells how long the site was down, if it was.
    pub(crate) fn connected(&mut self, now: Instant) -> Option<Duration> {
        self.connecting -= 1;
        self.open += 1;
        self.connected_at = Some(now);
        self.disputed = false;
        let down = self.down.take_if(|down| !down.throttled)?;
        self.probing = false;
        self.window = 1;
        Some(now.saturating_duration_since(down.since))
    }

    /// No host of the site gave us a connection, and maybe none is worth trying before `back_at`.
    pub(crate) fn connect_failed(
        &mut self,
        now: Instant,
        reason: Diagnosis,
        back_at: Option<Instant>,
        rng: &mut impl Rng,
    ) -> Failure {
        self.connect_ended();
        if self.open > 0 && self.down.is_none() {
            self.crowded(self.open, reason, now);
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
        let (failures, mut probe_in) = self.went_down(reason, None, now, rng);
        if let (Some(back_at), Some(down)) = (back_at, &mut self.down) {
            down.probe_at = back_at.max(now);
            probe_in = down.probe_at - now;
        }
        Failure::Down { failures, probe_in }
    }

    /// A probe failed, or what begins an outage happened: no mail for a pause, this one no shorter than a rule wants it.
    fn went_down(
        &mut self,
        reason: Diagnosis,
        least: Option<Duration>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> (u32, Duration) {
        let earlier = self.down.take();
        let earlier = earlier.as_ref();
        let failures = earlier.map_or(1, |down| down.failures + 1);
        let probe_in = self.pause(failures, rng).max(least.unwrap_or_default());
        self.probing = false;
        self.down = Some(Down {
            since: earlier.map_or(now, |down| down.since),
            failures,
            probe_at: now + probe_in,
            throttled: reason.class().is_throttle() || earlier.is_some_and(|down| down.throttled),
            learned: 0,
            reason,
        });
        (failures, probe_in)
    }

    /// Its provider has told another of its sites to pause: no mail before `until`. When it will be probed.
    pub(crate) fn pause_with_others(
        &mut self,
        until: Instant,
        reason: &Diagnosis,
        now: Instant,
    ) -> Instant {
        let earlier = self.down.take();
        let earlier = earlier.as_ref();
        let probe_at = earlier.map_or(until, |down| down.probe_at.max(until));
        self.down = Some(Down {
            since: earlier.map_or(now, |down| down.since),
            failures: earlier.map_or(1, |down| down.failures),
            probe_at,
            throttled: true,
            learned: 0,
            reason: reason.clone(),
        });
        probe_at
    }

    /// The peer wants no more connections than these, for now.
    fn crowded(&mut self, connections: usize, reason: Diagnosis, now: Instant) {
        self.window = self.window.min(connections.max(1));
        self.crowded_until = Some(now + CROWDED_PAUSE);
        self.slowed = Some((now, reason));
    }

    /// A connection was closed.
    pub(crate) fn closed(&mut self) {
        self.open -= 1;
        self.probing &= self.open > 0;
    }

    /// Whether it takes no mail at present, though it can be reached: what waits for it waits in the spool.
    pub(crate) fn is_deferring(&self, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < DEFERRING_KEPT;
        self.deferrals >= DEFERRALS_TOLD && self.deferred_at.is_some_and(lately)
    }

    /// Whether more connections are open than the site is to have.
    pub(crate) fn is_over_window(&self) -> bool {
        self.is_paused() || self.down.is_some() || self.open > self.window()
    }

    /// Connections that it may have now.
    pub(crate) fn window(&self) -> usize {
        let ordered = self.ordered.connections.map(|n| self.share.of(n));
        let ordered = ordered.map_or(usize::MAX, |n| n as usize);
        self.window
            .min(ordered.max(1))
            .min(self.limits.concurrency.max(1))
    }

    /// Other limits hold from now on, and no pause that a rule wanted which may be gone.
    pub(crate) fn reshape(&mut self, limits: Limits, now: Instant) {
        self.limits = limits;
        if let Some(down) = self.down.as_mut().filter(|down| down.throttled) {
            down.probe_at = down.probe_at.min(now + limits.probe_longest);
        }
    }

    pub(crate) fn is_throttled(&self) -> bool {
        self.down.as_ref().is_some_and(|down| down.throttled)
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
            let lasts = now.saturating_duration_since(down.since);
            let probe_in = down.probe_at.saturating_duration_since(now);
            let reason = down.reason.clone();
            return match down.throttled {
                true => Reach::Throttled {
                    lasts,
                    reason,
                    probe_in,
                },
                false => Reach::Down {
                    lasts,
                    reason,
                    probe_in,
                },
            };
        }
        let Some((at, reason)) = &self.slowed else {
            return Reach::Up;
        };
        let lately = now.saturating_duration_since(*at) < SLOWED_KEPT;
        match lately && self.window < self.limits.concurrency {
            _ if self.is_deferring(now) => Reach::Deferring(reason.clone()),
            true => Reach::Crowded(reason.clone()),
            false => Reach::Up,
        }
    }

    /// Whether it is up, and nothing but a limit keeps the next message from it.
    pub(crate) fn takes_at_once(&self, now: Instant) -> bool {
        self.reach(now) == Reach::Up && !self.is_paused()
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
/// For how long it counts that a site got fewer connections: the window grows slowly, and operators see why.
const SLOWED_KEPT: Duration = Duration::from_mins(10);
/// So many transactions in a row that end with 4xx alone are no longer the bad luck of a few messages (greylisting).
const DEFERRALS_TOLD: u32 = 10;
/// For how long that is remembered: longer than usual pauses between the attempts at a leg.
const DEFERRING_KEPT: Duration = Duration::from_hours(5);
/// Beyond any sensible longest pause; keeps the power from overflowing.
const DOUBLINGS_MAX: u32 = 16;

#[cfg(test)]
mod tests;
