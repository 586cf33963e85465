//! What is wrong altogether: log, bodies and index held against each other.

use std::collections::HashSet;

use envelope::MessageId;

use crate::verify::mirror::Mirror;
use crate::verify::survey::Survey;
use crate::verify::{Damage, Depth, IndexState, Report};

impl Survey {
    /// Messages that only the index knows, and that the log says nothing newer of.
    pub(super) fn only_in(&self, ids: &HashSet<MessageId>) -> Vec<MessageId> {
        let unknown = |id: &&MessageId| !self.live.contains_key(id) && !self.touched.contains(id);
        let mut ids: Vec<_> = ids.iter().filter(unknown).copied().collect();
        ids.sort_unstable();
        ids
    }

    /// What is wrong altogether.
    pub(super) fn report(mut self, mirror: &Mirror, depth: Depth) -> Report {
        self.check_files(mirror);
        let (mut legs, mut octets) = (0, 0);
        if depth == Depth::Whole {
            let known = mirror.ids();
            for id in self.only_in(&known) {
                self.lost(mirror, id);
            }
            self.given_up(mirror, &known);
            for id in self.live.keys().copied().collect::<Vec<_>>() {
                legs += self.live.get(&id).map_or(0, |live| live.legs.len() as u64);
                octets += self.check_message(mirror, &known, id);
            }
        }
        Report {
            messages: self.live.len() as u64,
            legs,
            octets,
            index: mirror.state.clone(),
            segments: self.segments,
            damage: self.damage,
            notes: self.notes,
        }
    }

    fn check_files(&mut self, mirror: &Mirror) {
        let text = match &mirror.state {
            IndexState::Fits => None,
            IndexState::Missing if self.files.is_empty() => None,
            IndexState::Missing => Some("is missing".to_owned()),
            IndexState::Foreign => Some("is another spool's, or another version's".to_owned()),
            IndexState::Older => Some("is older than the log".to_owned()),
            IndexState::Unreadable(why) => Some(format!("cannot be read: {why}")),
        };
        if let Some(text) = text {
            let follows = match self.lost_records {
                false => "nothing is lost",
                true => "what only the damaged records said is lost",
            };
            let text = format!("the index {text}; `serve` makes it anew from the log: {follows}");
            self.damage.push(Damage::new(&mirror.path, None, text));
        }
        let at = mirror.position().segment();
        if at > 0 && !self.files.contains_key(&at) {
            let text =
                format!("log segment {at} is missing: the index is current up to a place in it");
            self.damage.push(Damage::new(&mirror.path, None, text));
        }
    }

    /// Whether segments are missing that should hold something. A hint: what the index says of live octets is one.
    pub(super) fn misses(&self, live: &[u32]) -> bool {
        live.iter().any(|number| !self.files.contains_key(number))
    }

    /// A message of which the log has no commit record any more.
    fn lost(&mut self, mirror: &Mirror, id: MessageId) {
        let Some((row, _)) = mirror.message(id) else {
            return;
        };
        let body = row.body.iter().find_map(|extent| self.piece(extent).err());
        let (place, what) = match body {
            Some(damage) => (damage, "`serve` holds it"),
            None => {
                let whole = Damage::new(&mirror.path, None, "its body is whole");
                (whole, "`serve` goes on with it")
            }
        };
        let text = format!(
            "queued, but its record in log segment {} is damaged or gone; {}; {what}",
            row.commit_segment, place.text
        );
        self.damage.push(Damage { text, ..place }.of(id));
    }

    /// Messages whose records are damaged and that nobody else knows.
    fn given_up(&mut self, mirror: &Mirror, known: &HashSet<MessageId>) {
        let unknown = |id: &MessageId| !known.contains(id) && !self.live.contains_key(id);
        let hints = self.hints.iter().filter(|(id, _)| unknown(id));
        // The index has had what lies before its position: it has ended.
        let hints = hints.filter(|(_, (_, at))| *at >= mirror.position());
        let told = hints.filter_map(|(id, (hint, at))| {
            let file = self.files.get(&at.segment())?;
            let text = format!("queued, but its record is damaged: lost, {hint}");
            Some(Damage::new(&file.path, Some(u64::from(at.offset())), text).of(*id))
        });
        self.damage.extend(told.collect::<Vec<_>>());
    }

    /// Checks a message's body and its rows in the index; its octets.
    fn check_message(&mut self, mirror: &Mirror, known: &HashSet<MessageId>, id: MessageId) -> u64 {
        let Some(live) = self.live.get(&id).cloned() else {
            return 0;
        };
        if mirror.state == IndexState::Fits && !self.touched.contains(&id) {
            let told = known.contains(&id).then(|| mirror.message(id)).flatten();
            let agree = told.is_some_and(|(_, legs)| {
                let mut numbers: Vec<_> = live.legs.iter().map(|leg| leg.0).collect();
                numbers.sort_unstable();
                legs.iter().map(|leg| leg.number).eq(numbers)
            });
            if !agree {
                let follows = match self.lost_records {
                    true => "a record is damaged, and `serve` goes by the index",
                    false => "`onward spool rebuild` makes it anew",
                };
                let text = format!("the index does not say of it what the log says; {follows}");
                self.damage
                    .push(Damage::new(&mirror.path, None, text).of(id));
            }
        }
        let Some(row) = self.row(&live) else {
            return 0;
        };
        if !live.body_checked {
            for extent in &row.body {
                if let Err(damage) = self.piece(extent) {
                    self.damage.push(damage.of(id));
                }
            }
        }
        row.body.iter().map(|extent| u64::from(extent.octets)).sum()
    }
}
