//! What was promised, and when: the book that every recovered spool is held against.
//!
//! Moments are counts of the store's events. A deed that was done at a moment has all its events before it; one that was
//! not begun has none. In between it may be there or not, but whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use envelope::{LegId, MessageId};
use spool::Token;

/// A leg as a recovered spool shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) attempts: u32,
    pub(crate) held: bool,
    pub(crate) bounced: bool,
}

/// What a recovered spool shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) legs: BTreeMap<LegId, Leg>,
    /// Those that were asked for.
    pub(crate) tokens: BTreeMap<String, Option<String>>,
}

/// What one call changed of a leg.
#[derive(Debug, Clone)]
struct Step {
    /// `None`: it has ended.
    to: Option<Leg>,
    begun: usize,
    done: Option<usize>,
    /// Durable when it is done. Otherwise: when a durable deed that was begun later is done.
    durable: bool,
}

/// A message, all legs of which come in one transaction.
#[derive(Debug, Clone)]
struct Coming {
    legs: Vec<LegId>,
    begun: usize,
    done: Option<usize>,
    /// A notice: the leg it speaks of, and which step of that leg comes with it.
    cause: Option<(LegId, usize)>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    legs: BTreeMap<LegId, Vec<Step>>,
    coming: Vec<Coming>,
    tokens: HashMap<String, (String, usize, Option<usize>)>,
    /// When durable deeds were begun and done.
    durable: Vec<(usize, usize)>,
    pub(crate) bodies: HashMap<MessageId, Arc<Vec<u8>>>,
}

/// A deed that was begun.
#[derive(Debug)]
pub(crate) struct Begun {
    legs: Vec<(LegId, usize)>,
    coming: Option<usize>,
    begun: usize,
    durable: bool,
}

impl Ledger {
    /// What is known when a spool has recovered: exactly what it shows.
    pub(crate) fn of(seen: &Seen, bodies: &HashMap<MessageId, Arc<Vec<u8>>>) -> Self {
        let step = |leg: &Leg| Step {
            to: Some(*leg),
            begun: 0,
            done: Some(0),
            durable: true,
        };
        let legs = seen.legs.iter().map(|(id, leg)| (*id, vec![step(leg)]));
        let kept = |id: &MessageId| seen.legs.keys().any(|leg| leg.message == *id);
        let tokens = seen.tokens.iter();
        let tokens = tokens.filter_map(|(token, value)| Some((token, value.as_ref()?)));
        Self {
            legs: legs.collect(),
            tokens: tokens
                .map(|(token, value)| (token.clone(), (value.clone(), 0, Some(0))))
                .collect(),
            bodies: bodies
                .iter()
                .filter(|(id, _)| kept(id))
                .map(|(id, body)| (*id, Arc::clone(body)))
                .collect(),
            ..Self::default()
        }
    }

    /// The open legs as they stand now, whether durably or not.
    pub(crate) fn open(&self) -> impl Iterator<Item = (LegId, Leg)> {
        let last = |steps: &Vec<Step>| steps.last().and_then(|step| step.to);
        self.legs
            .iter()
            .filter_map(move |(id, steps)| Some((*id, last(steps)?)))
    }

    pub(crate) fn leg(&self, id: LegId) -> Option<Leg> {
        self.legs.get(&id)?.last()?.to
    }

    /// A leg is about to change.
    pub(crate) fn change(
        &mut self,
        leg: LegId,
        to: Option<Leg>,
        durable: bool,
        now: usize,
    ) -> Begun {
        let steps = self.legs.entry(leg).or_default();
        steps.push(Step {
            to,
            begun: now,
            done: None,
            durable,
        });
        Begun {
            legs: vec![(leg, steps.len() - 1)],
            coming: None,
            begun: now,
            durable,
        }
    }

    /// A message is about to be committed, or to come as a notice together with a leg's change.
    pub(crate) fn commit(
        &mut self,
        id: MessageId,
        legs: u32,
        body: Arc<Vec<u8>>,
        cause: Option<(LegId, Option<Leg>)>,
        now: usize,
    ) -> Begun {
        self.bodies.insert(id, body);
        let named = (0..legs).map(|number| LegId {
            message: id,
            number,
        });
        let new = Leg {
            attempts: 0,
            held: false,
            bounced: false,
        };
        let mut changed = Vec::new();
        let legs: Vec<LegId> = named.collect();
        for leg in &legs {
            changed.extend(self.change(*leg, Some(new), true, now).legs);
        }
        let cause = cause.map(|(leg, to)| {
            changed.extend(self.change(leg, to, true, now).legs);
            (leg, self.legs[&leg].len() - 1)
        });
        self.coming.push(Coming {
            legs,
            begun: now,
            done: None,
            cause,
        });
        Begun {
            legs: changed,
            coming: Some(self.coming.len() - 1),
            begun: now,
            durable: true,
        }
    }

    /// A message is about to bring a token; another may have brought it before.
    pub(crate) fn keep(&mut self, token: &Token, now: usize) {
        let told = || (token.value.to_string(), now, None);
        let name = token.name.to_string();
        self.tokens.entry(name).or_insert_with(told);
    }

    /// The message with the token was committed.
    pub(crate) fn kept(&mut self, token: &Token, now: usize) {
        if let Some((.., done)) = self.tokens.get_mut(&*token.name) {
            done.get_or_insert(now);
        }
    }

    pub(crate) fn token_names(&self) -> impl Iterator<Item = &String> {
        self.tokens.keys()
    }

    /// What was begun has been answered.
    pub(crate) fn done(&mut self, begun: Begun, now: usize) {
        for (leg, step) in begun.legs {
            if let Some(step) = self
                .legs
                .get_mut(&leg)
                .and_then(|steps| steps.get_mut(step))
            {
                step.done = Some(now);
            }
        }
        if let Some(coming) = begun.coming {
            self.coming[coming].done = Some(now);
        }
        if begun.durable {
            self.durable.push((begun.begun, now));
        }
    }

    /// Whether a spool that recovered from a power cut at `cut` may show this; why not, otherwise.
    pub(crate) fn check(&self, cut: usize, seen: &Seen) -> Result<(), String> {
        let durable = self.durable.iter().filter(|(_, done)| *done <= cut);
        let covered = durable.map(|(begun, _)| *begun).max();
        for (id, steps) in &self.legs {
            let shown = seen.legs.get(id).copied();
            let settled = |step: &Step| {
                step.done.is_some_and(|done| {
                    done <= cut && (step.durable || covered.is_some_and(|at| done < at))
                })
            };
            let floor = steps.iter().rposition(settled);
            let begun = steps.iter().take_while(|step| step.begun <= cut).count();
            let from_nothing = floor.is_none() && shown.is_none();
            let possible = &steps[floor.unwrap_or(0).min(begun)..begun];
            if !from_nothing && !possible.iter().any(|step| step.to == shown) {
                return Err(format!("leg {id:?} is {shown:?}; promised: {possible:?}"));
            }
        }
        if let Some(id) = seen.legs.keys().find(|id| !self.legs.contains_key(id)) {
            return Err(format!("leg {id:?} is not of this life"));
        }
        self.check_whole(cut, seen)?;
        for (token, shown) in &seen.tokens {
            let Some((value, begun, done)) = self.tokens.get(token) else {
                return Err(format!("token {token} is not of this life"));
            };
            let must = done.is_some_and(|done| done <= cut);
            let may = *begun <= cut;
            let wrong = |shown: &String| !may || shown != value;
            if shown.as_ref().map_or(must, wrong) {
                return Err(format!("token {token} is {shown:?}, not {value}"));
            }
        }
        Ok(())
    }

    /// A transaction that runs is there whole or not at all.
    fn check_whole(&self, cut: usize, seen: &Seen) -> Result<(), String> {
        let running =
            |coming: &&Coming| coming.begun <= cut && coming.done.is_none_or(|done| done > cut);
        for coming in self.coming.iter().filter(running) {
            let there = |id: &&LegId| seen.legs.contains_key(id);
            let n = coming.legs.iter().filter(there).count();
            if n != 0 && n != coming.legs.len() {
                return Err(format!("{n} legs of {coming:?}"));
            }
            if let Some((leg, step)) = coming.cause {
                let changed = seen.legs.get(&leg).copied() == self.legs[&leg][step].to;
                if changed != (n > 0) {
                    return Err(format!("{coming:?} without its cause, or the reverse"));
                }
            }
        }
        Ok(())
    }
}
