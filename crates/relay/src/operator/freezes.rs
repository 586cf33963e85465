//! What is frozen, and its end.

use std::sync::Arc;

use control::ask::{FreezeLift, FreezeList};
use control::{Answers, Fault, FreezePage, FreezeRow, Lifted};
use counters::{Freeze, Key, Kind};
use envelope::Actor;
use journal::Event;
use spool::{Action, Filter, Spool, State};

use super::Operator;
use crate::outbound::users;

impl<S: Spool> Answers<FreezeList> for Operator<S> {
    async fn answer(&self, ask: FreezeList, _by: Actor) -> Result<FreezePage, Fault> {
        let FreezeList { cursor, limit } = ask;
        let limit = limit as usize;
        let after = cursor.map(|text| text.parse::<Key>()).transpose();
        let after = after.map_err(Fault::of)?;
        let page = self.counting.freezes.list(after.as_ref(), limit);
        let last = page.last().filter(|_| page.len() == limit);
        Ok(FreezePage {
            next: last.map(|last| last.key.to_string()),
            freezes: page.iter().map(row).collect(),
        })
    }
}

impl<S: Spool> Answers<FreezeLift> for Operator<S> {
    async fn answer(&self, lift: FreezeLift, by: Actor) -> Result<Lifted, Fault> {
        let keys = match &lift.key {
            Some(typed) => meant(typed),
            None => {
                let all = self.counting.frozen(|_| true);
                all.into_iter().map(|freeze| freeze.key).collect()
            }
        };
        let limits = Arc::clone(&self.routing.load().limits);
        let lifted = keys
            .iter()
            .filter_map(|key| self.counting.lift(&limits, key));
        let lifted: Vec<Freeze> = lifted.collect();
        if let (true, Some(typed)) = (lifted.is_empty(), &lift.key) {
            return Err(Fault::missing(format!("`{typed}` is not frozen"))
                .with_hint("`onward freeze list` shows what is"));
        }
        for Freeze {
            key,
            limit,
            since,
            hits,
            ..
        } in &lifted
        {
            self.journal.record(Event::FreezeLifted {
                key: key.to_string(),
                limit: limit.to_string(),
                since: *since,
                hits: *hits,
                by: by.clone(),
            });
        }
        self.counting.sync().await.map_err(|error| {
            Fault::new(format!("lifted, but a restart freezes again: {error}"))
                .with_hint("see to the disk of the spool, and lift again")
        })?;
        let users = users(lifted.iter().map(|freeze| &freeze.key));
        let mut released = 0;
        if lift.release && !users.is_empty() {
            let filter = Filter {
                users,
                states: vec![State::Held],
                // What a content filter or a limit has put aside is another matter.
                not_since_arrival: true,
                ..Filter::default()
            };
            let release = spool::change_all(&*self.spool, &filter, Action::Release, |entry| {
                super::queue::record(
                    &self.journal,
                    control::QueueAction::Release,
                    &by,
                    &Arc::default(),
                    &[entry],
                );
            });
            released = release.await.map_err(Fault::of)?;
        }
        Ok(Lifted {
            lifted: lifted.len() as u64,
            released,
        })
    }
}

/// A key may be typed with its kind or without; then it may be of any kind.
fn meant(typed: &str) -> Vec<Key> {
    if let Ok(key) = typed.parse() {
        return vec![key];
    }
    let of_kind = |kind: &Kind| format!("{kind}:{typed}").parse().ok();
    Kind::ALL.iter().filter_map(of_kind).collect()
}

fn row(freeze: &Freeze) -> FreezeRow {
    FreezeRow {
        key: freeze.key.to_string(),
        limit: freeze.limit.to_string(),
        since: freeze.since,
        hits: freeze.hits,
        told: freeze.told.is_mailed,
    }
}
