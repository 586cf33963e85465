//! The log, read from end to end: which messages live, and where their records are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envelope::{LegId, MessageId};

use crate::index::entry::placed;
use crate::log::codec::{Change, Commit, Extent, LegRow, LegState, MessageRow, Token, chunk_owner};
use crate::log::fields::Malformed;
use crate::log::header::{Found, HeaderRead, ID_FILE, Misfit, VERSION, is_segment, owner, read_id};
use crate::log::record::{Header, Kind, Position};
use crate::log::recovery::{Item, SegmentBytes};
use crate::quarantine::{BAD_CHECKSUM, DAMAGED_HEADER};
use crate::read::read_extent;
use crate::settings::StartError;
use crate::store::{StoreFile, read_full};
use crate::verify::mirror::Mirror;
use crate::verify::{Damage, Depth, IndexState, Progress, Report, SegmentReport};

/// What the log says, in little memory: places instead of rows.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) spool_id: u128,
    files: BTreeMap<u32, SegmentFile>,
    pub(super) live: HashMap<MessageId, Live>,
    /// Messages of which something is said behind the index's position.
    touched: HashSet<MessageId>,
    segments: Vec<SegmentReport>,
    damage: Vec<Damage>,
    notes: Vec<Damage>,
}

#[derive(Debug)]
struct SegmentFile {
    path: PathBuf,
    file: Arc<dyn StoreFile>,
    octets: u64,
    short: bool,
}

/// A queued message.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// Its newest commit record.
    commit: Position,
    /// That record's checksum covers the body, and was right.
    body_checked: bool,
    /// Its open legs, and the record that says how they stand.
    legs: Vec<(u32, Position)>,
}

impl Survey {
    /// Opens the segments, and looks at their headers.
    pub(super) fn begin(dir: &Path) -> Result<Self, StartError> {
        let log = dir.join("log");
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StartError::Io {
                what: "read",
                path,
                source,
            }
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&log).map_err(io(&log))? {
            let path = entry.map_err(io(&log))?.path();
            if is_segment(&path) {
                let file = File::open(&path).map_err(io(&path))?;
                let read = Found::read(path.clone(), &file).map_err(io(&path))?;
                if let HeaderRead::Newer(found) = read.header {
                    return Err(StartError::NewerVersion {
                        file: path,
                        found,
                        known: VERSION,
                    });
                }
                found.push((read, Arc::new(file)));
            }
        }
        let (found, files): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let file = File::open(dir.join(ID_FILE)).ok();
        let named = file.and_then(|file| read_id(&file));
        let mut survey = Self {
            spool_id: owner(named, &found).unwrap_or(0),
            files: BTreeMap::new(),
            live: HashMap::new(),
            touched: HashSet::new(),
            segments: Vec::new(),
            damage: Vec::new(),
            notes: Vec::new(),
        };
        for (found, file) in found.into_iter().zip(files) {
            survey.take(found, file);
        }
        Ok(survey)
    }

    /// Takes a segment in, if it is one of ours.
    fn take(&mut self, found: Found, file: Arc<File>) {
        let misfit = found.misfit(self.spool_id);
        let short = found.is_short();
        if let Some(misfit) = misfit {
            let proved = misfit == Misfit::Header
                && found.number.is_some_and(|number| {
                    SegmentBytes::of_file(&*file, number)
                        .is_ok_and(|bytes| !bytes.items(0).items.is_empty())
                });
            let follows = match proved {
                true => "its records are read all the same, and `serve` writes it anew",
                false => "`serve` moves the file to quarantine/",
            };
            let text = format!("{}; {follows}", misfit.words());
            self.damage.push(Damage::new(&found.path, Some(0), text));
            if !proved {
                return;
            }
        }
        if let Some(number) = found.number {
            let file = SegmentFile {
                path: found.path,
                file,
                octets: found.octets,
                short,
            };
            self.files.insert(number, file);
        }
    }

    /// Reads every record. Those behind `position` are not in the index yet.
    pub(super) fn read_log(&mut self, position: Position, progress: Progress<'_>) {
        let total: u64 = self.files.values().map(|file| file.octets).sum();
        let mut done = 0;
        for number in self.files.keys().copied().collect::<Vec<_>>() {
            progress(done, total);
            let Some(segment) = self.files.get(&number) else {
                continue;
            };
            let (path, octets, short) = (segment.path.clone(), segment.octets, segment.short);
            match SegmentBytes::of_file(&*segment.file, number) {
                Ok(bytes) => self.read_segment(&path, &bytes, number, short, position),
                Err(e) => {
                    self.damage
                        .push(Damage::new(&path, None, format!("cannot be read: {e}")))
                }
            }
            done += octets;
        }
        progress(total, total);
    }

    fn read_segment(
        &mut self,
        path: &Path,
        bytes: &SegmentBytes,
        number: u32,
        short: bool,
        position: Position,
    ) {
        let scan = bytes.items(0);
        let mut report = SegmentReport {
            file: path.to_owned(),
            octets: bytes.len() as u64,
            used: u64::from(scan.end),
            records: 0,
            commits: 0,
        };
        for item in &scan.items {
            let offset = Some(item.start() as u64);
            let damage = |text| Damage::new(path, offset, text);
            match item {
                Item::Record(header, payload) | Item::Mended(header, payload) => {
                    report.records += 1;
                    report.commits += u64::from(header.kind == Some(Kind::Commit));
                    let new = header.position >= position;
                    if let Err(malformed) = self.record(header, bytes.slice(payload.clone()), new) {
                        self.damage.push(damage(malformed.0.to_owned()));
                    }
                    if matches!(item, Item::Mended(..)) {
                        let text =
                            format!("{DAMAGED_HEADER}; its payload is whole: nothing is lost");
                        self.damage.push(damage(text));
                    }
                }
                Item::Envelope(header, commit, _) => {
                    let id = commit.row.message.id;
                    let new = header.position >= position;
                    // Its body is told here, once.
                    self.commit(header, commit, new, true);
                    let text = "the body of a commit record is damaged, the envelope is whole";
                    self.damage.push(damage(text.to_owned()).of(id));
                }
                Item::Damage(range) => {
                    let text = format!(
                        "{BAD_CHECKSUM}: {} octets are no records any more",
                        range.len()
                    );
                    self.damage.push(damage(text));
                }
            }
        }
        self.tail(path, bytes, number, &scan, short);
        self.segments.push(report);
    }

    /// What stands behind the last record.
    fn tail(
        &mut self,
        path: &Path,
        bytes: &SegmentBytes,
        number: u32,
        scan: &crate::log::recovery::Scan,
        short: bool,
    ) {
        if scan.ended {
            return;
        }
        let offset = Some(u64::from(scan.end));
        let tail = bytes.slice(scan.end as usize..bytes.len());
        if short {
            let text = format!(
                "the file was cut to {} octets; what lay behind is gone",
                bytes.len()
            );
            self.damage.push(Damage::new(path, offset, text));
        } else if Header::decode(tail, Position::new(number, scan.end)).is_ok() {
            let text =
                "an unfinished write, as a crash leaves it; nobody was told that it was taken";
            self.notes.push(Damage::new(path, offset, text));
        }
    }

    fn record(&mut self, header: &Header, payload: &[u8], new: bool) -> Result<(), Malformed> {
        match header.kind {
            Some(Kind::Commit) => {
                let commit = Commit::decode(payload)?;
                let checked = commit.inline.is_some();
                self.commit(header, &commit, new, checked);
            }
            Some(Kind::Change) => self.change(&Change::decode(payload)?, header.position, new),
            Some(Kind::Token) => drop(Token::decode(payload)?),
            Some(Kind::Chunk) => drop(chunk_owner(payload)?),
            Some(Kind::End) | None => {}
        }
        Ok(())
    }

    fn commit(&mut self, header: &Header, commit: &Commit, new: bool, body_checked: bool) {
        if let Some(also) = &commit.also {
            self.change(also, header.position, new);
        }
        let id = commit.row.message.id;
        if new {
            self.touched.insert(id);
        }
        let legs = commit.legs.iter().map(|leg| (leg.number, header.position));
        let live = Live {
            commit: header.position,
            body_checked,
            legs: legs.collect(),
        };
        self.live.insert(id, live);
    }

    fn change(&mut self, change: &Change, position: Position, new: bool) {
        let LegId { message, number } = change.leg;
        if new {
            self.touched.insert(message);
        }
        let Some(live) = self.live.get_mut(&message) else {
            return;
        };
        match change.state {
            Some(_) => {
                let leg = live.legs.iter_mut().find(|leg| leg.0 == number);
                leg.into_iter().for_each(|leg| leg.1 = position);
            }
            None => live.legs.retain(|leg| leg.0 != number),
        }
        if live.legs.is_empty() {
            self.live.remove(&message);
        }
    }

    /// Messages that only the index knows, and that the log says nothing newer of.
    pub(super) fn only_in(&self, ids: &HashSet<MessageId>) -> Vec<MessageId> {
        let unknown = |id: &&MessageId| !self.live.contains_key(id) && !self.touched.contains(id);
        let mut ids: Vec<_> = ids.iter().filter(unknown).copied().collect();
        ids.sort_unstable();
        ids
    }

    /// What is wrong altogether.
    pub(super) fn report(mut self, mirror: &mut Mirror, depth: Depth) -> Report {
        self.check_files(mirror);
        let (mut legs, mut octets) = (0, 0);
        if depth == Depth::Whole {
            let known = mirror.ids();
            for id in self.only_in(&known) {
                self.lost(mirror, id);
            }
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
            IndexState::Unreadable(why) => Some(format!("cannot be read: {why}")),
        };
        if let Some(text) = text {
            let text =
                format!("the index {text}; `serve` makes it anew from the log: nothing is lost");
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
                let text = "the index does not say of it what the log says; `onward spool rebuild` makes it anew";
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

    /// Reads a piece of a body, and checks it.
    pub(super) fn piece(&self, extent: &Extent) -> Result<bytes::Bytes, Damage> {
        let offset = Some(u64::from(extent.offset));
        let Some(segment) = self.files.get(&extent.segment) else {
            let name = PathBuf::from(crate::log::header::file_name(extent.segment));
            return Err(Damage::new(
                &name,
                offset,
                "a body is lost: its log segment is missing",
            ));
        };
        read_extent(&*segment.file, extent).map_err(|e| {
            let why = match e.kind() {
                io::ErrorKind::UnexpectedEof => "the file was cut".to_owned(),
                _ => e.to_string(),
            };
            Damage::new(&segment.path, offset, format!("a body is damaged: {why}"))
        })
    }

    /// A piece of a body as it stands, damaged or not.
    pub(super) fn as_it_stands(&self, extent: &Extent) -> Vec<u8> {
        let segment = self.files.get(&extent.segment);
        segment.map_or_else(Vec::new, |segment| {
            crate::read::as_it_stands(&*segment.file, extent)
        })
    }

    /// The message of a live entry, with where its body is.
    pub(super) fn row(&self, live: &Live) -> Option<MessageRow> {
        Some(placed(self.commit_at(live.commit)?, live.commit))
    }

    /// The legs of a live entry as they stand now.
    pub(super) fn legs(&self, live: &Live) -> Vec<LegRow> {
        let Some(commit) = self.commit_at(live.commit) else {
            return Vec::new();
        };
        let id = commit.row.message.id;
        let mut legs = Vec::new();
        for (number, at) in &live.legs {
            let leg = commit.legs.iter().find(|leg| leg.number == *number);
            let Some(mut leg) = leg.cloned() else {
                continue;
            };
            if *at != live.commit
                && let Some(state) = self.state_at(*at, id, *number)
            {
                leg.state = state;
            }
            legs.push(leg);
        }
        legs
    }

    fn state_at(&self, at: Position, message: MessageId, number: u32) -> Option<LegState> {
        let (header, payload) = self.record_at(at)?;
        let change = match header.kind {
            Some(Kind::Change) => Change::decode(&payload).ok()?,
            _ => self.commit_at(at)?.also?,
        };
        let same = change.leg == LegId { message, number };
        change.state.filter(|_| same)
    }

    /// A commit record again; of a damaged one that is all there, the envelope.
    fn commit_at(&self, at: Position) -> Option<Commit> {
        let (_, payload) = self.record_at(at)?;
        Commit::decode(&payload).ok()
    }

    /// A record again, by its place: it was checked when the log was read.
    fn record_at(&self, at: Position) -> Option<(Header, Vec<u8>)> {
        let segment = self.files.get(&at.segment())?;
        let mut head = vec![0; Header::OCTETS];
        let offset = u64::from(at.offset());
        read_full(&*segment.file, &mut head, offset).ok()?;
        let header = match Header::decode(&head, at) {
            Ok(header) => header,
            // Mended when the log was read: mend it again.
            Err(_) => {
                let bytes = SegmentBytes::of_file(&*segment.file, at.segment()).ok()?;
                let scan = bytes.items(at.offset());
                match scan.items.into_iter().next()? {
                    Item::Mended(header, _) => header,
                    _ => return None,
                }
            }
        };
        let left = segment
            .octets
            .saturating_sub(offset + Header::OCTETS as u64);
        let octets = u64::from(header.octets);
        if octets > left {
            return None;
        }
        let mut payload = vec![0; octets as usize];
        read_full(&*segment.file, &mut payload, offset + Header::OCTETS as u64).ok()?;
        Some((header, payload))
    }
}
