//! What came of nodes that were hurt: what clients waited, what each node sent, and what the books prove.

use std::fmt;
use std::time::{Duration, Instant};

use super::Settings;
use crate::campaign::proof::Account;

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub(super) settings: Settings,
    /// What the books prove.
    pub account: Account,
    pub(super) answers: Vec<Answer>,
    pub(super) begun: Instant,
    /// From when until when something was hurt.
    pub(super) hurt: (Instant, Instant),
    /// What each node sent, and when.
    pub(super) sent: Vec<(usize, Instant)>,
    /// When the last message had arrived that the first node had acknowledged before.
    pub(super) taken_over: Option<Instant>,
}

/// One offer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) message: u64,
    pub(super) node: usize,
    /// When its end was sent, if that was reached.
    pub(super) asked: Instant,
    pub(super) waited: Duration,
    pub(super) taken: bool,
}

impl Report {
    /// Offers to the first node, or to the others, that were made in this time: what was taken, how long that took, what was not.
    fn row(&self, of_first: bool, (from, until): (Instant, Instant)) -> String {
        let made = self.answers.iter();
        let made = made.filter(|it| (it.node == 0) == of_first);
        let made = made.filter(|it| it.asked >= from && it.asked < until);
        let (taken, other): (Vec<&Answer>, Vec<&Answer>) = made.partition(|it| it.taken);
        let mut times: Vec<_> = taken.iter().map(|it| it.waited.as_millis()).collect();
        times.sort_unstable();
        let at = |share: usize| match times.len() {
            0 => "-".to_owned(),
            n => times[(n * share / 100).min(n - 1)].to_string(),
        };
        let (n, p50, p99, worst) = (times.len(), at(50), at(99), at(100));
        let rate = n as f64 / (until - from).as_secs_f64();
        let put_off = other.len();
        format!("{n:6} {rate:8.0} {p50:>7} {p99:>7} {worst:>7} {put_off:8}")
    }

    /// What the first node did.
    fn first(&self) -> String {
        let (from, until) = self.hurt;
        let answered = |taken: bool, after: Instant| {
            let its = self.answers.iter();
            let its = its.filter(|it| it.node == 0 && it.taken == taken);
            seconds(its.map(|it| it.asked + it.waited), after)
        };
        let sent = || self.sent.iter().filter(|it| it.0 == 0).map(|it| it.1);
        let lost = sent().filter(|at| *at > from + LOST && *at < until);
        format!(
            "the first node put mail off first after {}, sent {} copies while it was lost; after the end its first 250 came after {}, \
            its first copy after {}",
            answered(false, from),
            lost.count(),
            answered(true, until),
            seconds(sent(), until),
        )
    }

    fn books(&self) -> String {
        let account = &self.account;
        let share = |n: usize| {
            let share = 100.0 * n as f64 / account.messages.max(1) as f64;
            format!("{n} ({share:.3} %)")
        };
        format!(
            "{} messages, {} acknowledged, {} offers unheard, {} cut; {} copies, {} DSNs; lost {}, damaged {}, unexplained {}\n\
            twice: {} since they were offered again, {} since their end could not be noted, {} DSNs told again",
            account.messages,
            account.acknowledged,
            account.unheard,
            account.cut,
            account.delivered,
            account.bounced,
            account.lost,
            account.damaged,
            account.unexplained,
            share(account.duplicates_unheard),
            share(account.named.len()),
            account.duplicates_told
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = self.hurt;
        let around = self.settings.around;
        writeln!(f, "{:?}", self.settings)?;
        writeln!(
            f,
            "| offered to |        |  taken a second  p50 ms  p99 ms   worst  not yet |"
        )?;
        for (name, of_first) in [("the first", true), ("the others", false)] {
            for (when, span) in [
                ("before", (self.begun + around / 4, from)),
                ("during", (from, until)),
                ("after", (until, until + around)),
            ] {
                writeln!(f, "| {name:10} | {when:6} | {} |", self.row(of_first, span))?;
            }
        }
        writeln!(f, "{}", self.first())?;
        let last = self.sent.iter().map(|it| it.1).max();
        let last = seconds(last.into_iter(), from);
        let taken_over = seconds(self.taken_over.into_iter(), from);
        writeln!(
            f,
            "after the beginning: the last copy of what a dead node had acknowledged {taken_over}, of all {last}"
        )?;
        writeln!(f, "{}", self.books())?;
        let shown = self.account.named.iter().chain(&self.account.findings);
        let mut shown = shown.take(SHOWN_MAX);
        shown.try_for_each(|it| writeln!(f, "  {it}"))
    }
}

/// The first of these moments after another, in words.
fn seconds(moments: impl Iterator<Item = Instant>, after: Instant) -> String {
    let first = moments.filter(|at| *at > after).min();
    first.map_or_else(
        || "never".to_owned(),
        |at| format!("{:.1} s", (at - after).as_secs_f64()),
    )
}

/// A node that has not reached its database for so long sends nothing more; a second for what is on its way.
const LOST: Duration = Duration::from_secs(13);
const SHOWN_MAX: usize = 40;
