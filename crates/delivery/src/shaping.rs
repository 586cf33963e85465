//! Shaping: how much a site is sent at most, and which of its replies change what about that. Pure; the clock comes in.
//!
//! It is written in layers, each for the sites that a [`SiteMatch`] names, or for all. For one site the layers that name it are
//! put together: what the most particular one says counts, and its replies are looked at first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envelope::{Class, Diagnosis, Outcome, ReplyWords, TlsUse};
use parking_lot::RwLock;

use crate::health::Answer;
use crate::orders::SiteMatch;
use crate::plan::SiteKey;

/// The layers of now: all clones see it when they are replaced.
#[derive(Debug, Clone, Default)]
pub struct Shaping(Arc<RwLock<Arc<[Layer]>>>);

/// What holds for some sites.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layer {
    /// For these; none: for all.
    pub of: Option<SiteMatch>,
    /// At most so much.
    pub shape: Shape,
    /// What their replies mean, the first that fits.
    pub replies: Vec<ReplyRule>,
}

/// At most so much; none: what a wider layer says, or the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// Connections at once, to all its sites together.
    pub connections: Option<u32>,
    /// Messages over one connection.
    pub messages_per_connection: Option<u32>,
    /// Recipients of one transaction.
    pub recipients: Option<u32>,
    /// Messages to all its sites together.
    pub messages_per_hour: Option<u32>,
    /// TLS at least so.
    pub tls: Option<TlsUse>,
}

/// What follows from a reply.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplyRule {
    /// With this code; none: any that refuses.
    pub code: Option<u16>,
    /// With these words, in lower case, `*` for anything between.
    pub words: Box<str>,
    /// Then this.
    pub then: Then,
    /// When it came so many times
    pub after: u32,
    /// within so long.
    pub within: Duration,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    /// Nothing is sent to the site for so long.
    Pause(Duration),
    /// Less is sent to it, as if it had said that it is too much.
    Slow,
    /// Our address that it came to sends nothing there for so long; the site pauses when there is no other one.
    Rest(Duration),
    /// The message is not tried again.
    Fail,
    /// The mailbox is full, whatever else the reply seems to say.
    Full,
    /// It is about what the message says, not about us.
    Content,
}

/// What holds for one site. All sites that a layer names have together what it says, if it names any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rules {
    pub(crate) shape: Shape,
    connections_of: Option<SiteMatch>,
    messages_of: Option<SiteMatch>,
    replies: Vec<(Option<SiteMatch>, ReplyRule)>,
}

/// How often rules were met: since when, for each.
#[derive(Debug, Default)]
pub(crate) struct Tally(HashMap<ReplyRule, (u32, Instant)>);

/// A reply, by its outcome's number, and the number of the rule that fits.
pub(crate) type Hit = (usize, usize);

impl Shaping {
    /// Of these layers.
    pub fn new(layers: Vec<Layer>) -> Self {
        let shaping = Self::default();
        shaping.replace(layers);
        shaping
    }

    /// Other layers count from now on; of those that name a site equally well, the first.
    pub fn replace(&self, mut layers: Vec<Layer>) {
        let width = |layer: &Layer| layer.of.as_ref().map_or(0, |of| of.to_string().len());
        layers.sort_by_key(|layer| Reverse(width(layer)));
        *self.0.write() = layers.into();
    }

    /// The layers of now; the same pointer until they are replaced.
    pub(crate) fn layers(&self) -> Arc<[Layer]> {
        Arc::clone(&self.0.read())
    }

    /// What holds for this site.
    pub(crate) fn of(&self, site: &SiteKey) -> Rules {
        let layers = self.layers();
        let named = || layers.iter().filter(|layer| layer.names(site));
        let first = |says: fn(&Shape) -> Option<u32>| {
            let layer = named().find(|layer| says(&layer.shape).is_some());
            layer.and_then(|layer| layer.of.clone())
        };
        let replies = |layer: &Layer| {
            let rules = layer.replies.iter().cloned();
            rules
                .map(|rule| (layer.of.clone(), rule))
                .collect::<Vec<_>>()
        };
        Rules {
            shape: named().fold(Shape::default(), |shape, layer| shape.or(layer.shape)),
            connections_of: first(|shape| shape.connections),
            messages_of: first(|shape| shape.messages_per_hour),
            replies: named().flat_map(replies).collect(),
        }
    }

    /// The TLS that is asked of this site.
    pub(crate) fn tls(&self, site: &SiteKey) -> Option<TlsUse> {
        let layers = self.layers();
        let mut named = layers.iter().filter(|layer| layer.names(site));
        named.find_map(|layer| layer.shape.tls)
    }
}

impl Layer {
    fn names(&self, site: &SiteKey) -> bool {
        let of = self.of.as_ref();
        of.is_none_or(|of| of.matches(site, [].iter()))
    }
}

impl PartialEq for Shaping {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || *self.0.read() == *other.0.read()
    }
}

/// `3 connections to all of orange.fr, 20 messages a connection`; empty when it says nothing.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape {
            connections,
            messages_per_connection,
            recipients,
            messages_per_hour,
            tls: _,
        } = self.shape;
        let parts = [
            (connections, "connections", &self.connections_of),
            (messages_per_connection, "messages a connection", &None),
            (recipients, "recipients a message", &None),
            (messages_per_hour, "messages an hour", &self.messages_of),
        ];
        let said = parts.iter().filter_map(|(n, what, of)| {
            let together = of.as_ref().map(|of| format!(" to all of {of}"));
            Some(format!("{} {what}{}", (*n)?, together.unwrap_or_default()))
        });
        f.write_str(&said.collect::<Vec<_>>().join(", "))
    }
}

impl Shape {
    fn or(self, wider: Self) -> Self {
        Self {
            connections: self.connections.or(wider.connections),
            messages_per_connection: self
                .messages_per_connection
                .or(wider.messages_per_connection),
            recipients: self.recipients.or(wider.recipients),
            messages_per_hour: self.messages_per_hour.or(wider.messages_per_hour),
            tls: self.tls.or(wider.tls),
        }
    }
}

impl Rules {
    /// Which of these outcomes are met by which rule.
    pub(crate) fn hits(&self, outcomes: &[Outcome]) -> Vec<Hit> {
        if self.replies.is_empty() {
            return Vec::new();
        }
        let hit = |(number, outcome): (usize, &Outcome)| {
            let reply = match outcome {
                Outcome::Delivered(_) => None,
                Outcome::Deferred(said) | Outcome::Failed(said) => said.reply.as_ref(),
            }?;
            let words = ReplyWords::of(reply);
            let fits = |(_, rule): &(_, ReplyRule)| {
                rule.code.is_none_or(|code| code == reply.code) && words.have("", &rule.words)
            };
            Some((number, self.replies.iter().position(fits)?))
        };
        outcomes.iter().enumerate().filter_map(hit).collect()
    }

    /// What is to be done about outcomes that met these rules, as far as `is_due` says so: each is counted once a transaction,
    /// with all sites that its layer names.
    pub(crate) fn acts(
        &self,
        hits: &[Hit],
        mut is_due: impl FnMut(Option<&SiteMatch>, &ReplyRule) -> bool,
    ) -> Vec<(usize, Then)> {
        let mut met: Vec<_> = hits.iter().map(|(_, number)| *number).collect();
        met.sort_unstable();
        met.dedup();
        let rule = |number: &usize| self.replies.get(*number);
        met.retain(|number| rule(number).is_some_and(|(of, rule)| is_due(of.as_ref(), rule)));
        let due = hits.iter().filter(|(_, number)| met.contains(number));
        due.filter_map(|(outcome, number)| Some((*outcome, rule(number)?.1.then)))
            .collect()
    }

    /// Which sites have the connections together, and how many.
    pub(crate) fn connections(&self) -> Option<(&SiteMatch, usize)> {
        Some((
            self.connections_of.as_ref()?,
            self.shape.connections? as usize,
        ))
    }

    /// Which sites have the messages an hour together.
    pub(crate) fn messages_of(&self) -> Option<&SiteMatch> {
        self.messages_of.as_ref()
    }

    /// Between two messages, if they are limited.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let messages = self.shape.messages_per_hour?;
        Some(Duration::from_hours(1) / messages.max(1))
    }
}

impl Tally {
    /// Counts that a rule was met. Whether it was so often that something is to be done.
    pub(crate) fn count(&mut self, rule: &ReplyRule, now: Instant) -> bool {
        let (times, since) = self.0.entry(rule.clone()).or_insert((0, now));
        if now.saturating_duration_since(*since) >= rule.within {
            (*times, *since) = (0, now);
        }
        *times += 1;
        *times >= rule.after
    }
}

/// What the outcomes of a transaction say of the peer, with what is to be done about some of them: that is done to the outcomes.
pub(crate) fn judge(outcomes: &mut [Outcome], acts: &[(usize, Then)]) -> Answer {
    let mut slowed: Option<(Diagnosis, Option<Duration>)> = None;
    for (number, then) in acts {
        let outcome = &mut outcomes[*number];
        let pause = match then {
            Then::Fail => {
                let mut said = outcome.diagnosis().clone();
                said.status.class = Class::Permanent;
                *outcome = Outcome::Failed(said);
                continue;
            }
            Then::Full => {
                set_about(outcome, MAILBOX_FULL);
                continue;
            }
            Then::Content => {
                set_about(outcome, CONTENT);
                continue;
            }
            Then::Slow => None,
            Then::Pause(pause) | Then::Rest(pause) => Some(*pause),
        };
        let before = slowed.take().and_then(|(_, pause)| pause);
        slowed = Some((outcome.diagnosis().clone(), pause.max(before)));
        if pause.is_some() {
            put_off(outcome);
        }
    }
    let took = outcomes
        .iter()
        .any(|outcome| matches!(outcome, Outcome::Delivered(_)));
    let deferred = || {
        outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Deferred(said) => Some(said),
            Outcome::Delivered(_) | Outcome::Failed(_) => None,
        })
    };
    let throttle = || deferred().find(|said| said.class().is_throttle());
    if let Some((reason, pause)) = slowed.or_else(|| throttle().map(|said| (said.clone(), None))) {
        return Answer::Throttled {
            reason,
            took,
            pause,
        };
    }
    let is_end = |said: &&Diagnosis| said.reply.as_ref().is_some_and(|reply| reply.code == 421);
    match (deferred().find(is_end), deferred().next()) {
        _ if took => Answer::Took,
        _ if deferred().count() < outcomes.len() => Answer::Refused,
        (Some(said), _) => Answer::Ended(said.clone()),
        (None, Some(said)) => Answer::Deferred(said.clone()),
        (None, None) => Answer::Refused,
    }
}

/// It is about us, not about the message: that waits, whatever the code.
pub(crate) fn put_off(outcome: &mut Outcome) {
    if let Outcome::Failed(said) = outcome {
        let mut said = said.clone();
        said.status.class = Class::Transient;
        *outcome = Outcome::Deferred(said);
    }
}

fn set_about(outcome: &mut Outcome, (subject, detail): (u16, u16)) {
    let status = &mut outcome.diagnosis_mut().status;
    (status.subject, status.detail) = (subject, detail);
}

/// RFC 3463 §3.3 and §3.7: the statuses that say so whatever the words are.
const MAILBOX_FULL: (u16, u16) = (2, 2);
const CONTENT: (u16, u16) = (6, 0);

#[cfg(test)]
mod tests {
    use envelope::{EnhancedStatus, Reply, ReplyClass};

    use super::*;
    use crate::orders::tests::site;

    fn outcome(line: &str) -> Outcome {
        let code: u16 = line[..3].parse().unwrap();
        let (class, make): (_, fn(Diagnosis) -> Outcome) = match code / 100 {
            2 => (Class::Success, Outcome::Delivered),
            4 => (Class::Transient, Outcome::Deferred),
            _ => (Class::Permanent, Outcome::Failed),
        };
        let status = EnhancedStatus {
            class,
            subject: 0,
            detail: 0,
        };
        make(Diagnosis {
            reply: Some(Reply::new(code, status, &line[3..])),
            ..Diagnosis::local(status, "while sending RCPT TO")
        })
    }

    /// The replies that the recipients of a transaction got.
    #[track_caller]
    fn check(replies: &[&str], acts: &[(usize, Then)], expected: &str) {
        let mut outcomes: Vec<_> = replies.iter().map(|line| outcome(line)).collect();
        let answer = match judge(&mut outcomes, acts) {
            Answer::Took => "took".to_owned(),
            Answer::Refused => "refused".to_owned(),
            Answer::Deferred(said) => format!("deferred: {}", said.words()),
            Answer::Ended(said) => format!("ended: {}", said.words()),
            Answer::Throttled {
                reason,
                took,
                pause,
            } => {
                let words = reason.reply.map(|reply| reply.text).unwrap_or_default();
                format!("throttled:{words}, {took}, {pause:?}")
            }
        };
        let answer = answer.replace("while sending RCPT TO: ", "");
        assert_eq!(answer, expected, "{replies:?} {acts:?}");
    }

    #[test]
    fn what_a_transaction_says_of_the_peer() {
        check(&["250", "450", "452"], &[], "took");
        check(&["250", "421"], &[], "took");
        check(&["550", "450"], &[], "refused");
        check(&["450", "451"], &[], "deferred: 450 4.0.0");
        check(&["450", "421"], &[], "ended: 421 4.0.0");
        check(
            &["450", "450 too many connections"],
            &[],
            "throttled: too many connections, false, None",
        );
        check(
            &["250", "550", "450 slow down"],
            &[],
            "throttled: slow down, true, None",
        );
        check(&["550 5.7.1 on our blocklist"], &[], "refused");
    }

    #[test]
    fn what_rules_make_of_it() {
        let hour = Duration::from_hours(1);
        check(
            &["450 a", "450 b"],
            &[(1, Then::Slow)],
            "throttled: b, false, None",
        );
        check(
            &["550 listed"],
            &[(0, Then::Rest(hour))],
            "throttled: listed, false, Some(3600s)",
        );
        check(
            &["450 a", "450 b"],
            &[(0, Then::Pause(hour)), (1, Then::Pause(hour / 2))],
            "throttled: b, false, Some(3600s)",
        );
        check(&["450 slow down"], &[(0, Then::Fail)], "refused");
        check(
            &["450 slow down"],
            &[(0, Then::Full)],
            "deferred: 450 4.0.0  slow down",
        );
        for then in [Then::Rest(hour), Then::Pause(hour)] {
            let mut outcomes = [outcome("550 listed")];
            judge(&mut outcomes, &[(0, then)]);
            assert!(matches!(outcomes[0], Outcome::Deferred(_)), "{then:?}");
        }
        let mut outcomes = [outcome("421 slow down")];
        judge(&mut outcomes, &[(0, Then::Fail)]);
        let [Outcome::Failed(said)] = &outcomes else {
            panic!("{outcomes:?}")
        };
        assert_eq!(said.status.class, Class::Permanent);
        for (then, class) in [
            (Then::Full, ReplyClass::MailboxFull),
            (Then::Content, ReplyClass::Content),
        ] {
            let mut outcomes = [outcome("450 slow down")];
            judge(&mut outcomes, &[(0, then)]);
            assert_eq!(outcomes[0].diagnosis().class(), class);
        }
    }

    fn rule(code: Option<u16>, words: &str, after: u32) -> ReplyRule {
        ReplyRule {
            code,
            words: words.into(),
            then: Then::Slow,
            after,
            within: Duration::from_mins(10),
        }
    }

    #[test]
    fn the_first_rule_that_fits_and_its_count() {
        let replies = [rule(Some(421), "busy", 1), rule(None, "try*later", 3)];
        let rules = Rules {
            replies: replies.map(|rule| (None, rule)).into(),
            ..Rules::default()
        };
        let outcomes = [
            "250 busy",
            "450 Try it\nLATER",
            "450 busy",
            "421 busy, try later",
            "550 try later",
        ];
        let hits = rules.hits(&outcomes.map(outcome));
        assert_eq!(hits, [(1, 1), (3, 0), (4, 1)]);
        let (mut tally, mut now) = (Tally::default(), Instant::now());
        let mut acts = |after_minutes: u64| {
            now += Duration::from_mins(after_minutes);
            let acts = rules.acts(&[(0, 1), (1, 1)], |_, rule| tally.count(rule, now));
            acts.len()
        };
        assert_eq!([0, 9, 0].map(&mut acts), [0, 0, 2], "once a transaction");
        assert_eq!([1, 0, 0].map(&mut acts), [0, 0, 2], "begins again");
    }

    #[test]
    fn the_most_particular_layer_counts() {
        let layer = |of: &str, connections, recipients, words: &str| Layer {
            of: of.parse().ok(),
            shape: Shape {
                connections,
                recipients,
                ..Shape::default()
            },
            replies: vec![rule(None, words, 1)],
        };
        let shaping = Shaping::new(vec![
            layer("", Some(9), Some(9), "all"),
            layer("google.com", Some(3), None, "own"),
            layer("google.com", Some(4), Some(4), "ours"),
            layer("l.google.com", Some(2), None, "narrow"),
        ]);
        let of = |name| {
            let rules = shaping.of(&site(&[(5, name)]));
            let words: Vec<_> = rules
                .replies
                .iter()
                .map(|(_, rule)| rule.words.to_string())
                .collect();
            (
                rules.shape.connections,
                rules.shape.recipients,
                words.join(" "),
            )
        };
        assert_eq!(of("mx.test"), (Some(9), Some(9), "all".to_owned()));
        assert_eq!(
            of("mx.google.com"),
            (Some(3), Some(4), "own ours all".to_owned())
        );
        assert_eq!(
            of("mx.l.google.com"),
            (Some(2), Some(4), "narrow own ours all".to_owned())
        );
        let said = shaping.of(&site(&[(5, "mx.google.com")])).to_string();
        let all = "3 connections to all of google.com, 4 recipients a message";
        assert_eq!(said, all);
        let (clone, before) = (shaping.clone(), shaping.layers());
        clone.replace(Vec::new());
        assert!(!Arc::ptr_eq(&before, &shaping.layers()));
        assert_eq!(of("mx.google.com"), (None, None, String::new()));
    }
}
