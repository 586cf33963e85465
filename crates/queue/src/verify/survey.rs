//! The log, read from end to end: which messages live, and where their records are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envelope::{LegId, MessageId};

use crate::log::codec::{Change, Commit, chunk_owner, decode_token};
use crate::log::fields::Malformed;
use crate::log::header::{Found, HeaderRead, ID_FILE, Misfit, VERSION, is_segment, owner, read_id};
use crate::log::record::{Header, Kind, Position};
use crate::log::recovery::{Item, Scan, SegmentBytes};
use crate::log::salvage::{Hint, salvage};
use crate::log::vouch::vouched;
use crate::quarantine::{BAD_CHECKSUM, DAMAGED_HEADER};
use crate::settings::StartError;
use crate::store::StoreFile;
use crate::tokens::{Batch, Place};
use crate::verify::{Damage, Progress, SegmentReport};

/// What the log says, in little memory: places instead of rows.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(super) spool_id: u128,
    /// An index current up to less than this segment is older than what was given back.
    pub(super) vouched: u32,
    pub(super) files: BTreeMap<u32, SegmentFile>,
    pub(crate) live: HashMap<MessageId, Live>,
    /// Messages of which something is said behind the index's position.
    pub(super) touched: HashSet<MessageId>,
    /// Tokens that a start will write to their files, again perhaps.
    pub(super) tokens_again: Batch,
    /// Legs that have ended, as far as the log still says so.
    pub(super) ended: HashSet<LegId>,
    /// Messages whose commit records are damaged, as far as these can be read, and where they lie. Who has ended is taken out.
    pub(crate) hints: HashMap<MessageId, (Hint, Position)>,
    /// Whether records cannot be read.
    pub(crate) lost_records: bool,
    pub(super) segments: Vec<SegmentReport>,
    pub(crate) damage: Vec<Damage>,
    pub(super) notes: Vec<Damage>,
}

#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn StoreFile>,
    pub(super) octets: u64,
    /// Shorter than it was made.
    short: bool,
}

/// A queued message.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// Its newest commit record.
    pub(super) commit: Position,
    /// That record's checksum covers the body, and was right.
    pub(super) body_checked: bool,
    /// Its open legs, and the record that says how they stand.
    pub(crate) legs: Vec<(u32, Position)>,
}

impl Survey {
    /// Opens the segments, and looks at their headers.
    pub(crate) fn begin(dir: &Path) -> Result<Self, StartError> {
        let log = dir.join("log");
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StartError::Io {
                what: "read",
                path,
                source,
            }
        };
        let (mut found, mut listed) = (Vec::new(), Vec::new());
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
            } else {
                listed.push(path);
            }
        }
        let (found, files): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let file = File::open(dir.join(ID_FILE)).ok();
        let named = file.and_then(|file| read_id(&file));
        let mut survey = Self {
            spool_id: owner(named, &found).unwrap_or(0),
            vouched: vouched(&listed),
            files: BTreeMap::new(),
            live: HashMap::new(),
            touched: HashSet::new(),
            tokens_again: Batch::new(),
            ended: HashSet::new(),
            hints: HashMap::new(),
            lost_records: false,
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
                self.lost_records = true;
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
    pub(crate) fn read_log(&mut self, position: Position, progress: Progress<'_>) {
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
                    self.lost_records = true;
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
                Item::Record(header, payload) | Item::Repaired(header, payload) => {
                    report.records += 1;
                    report.commits += u64::from(header.kind == Some(Kind::Commit));
                    let new = header.position >= position;
                    if let Err(malformed) = self.record(header, bytes.slice(payload.clone()), new) {
                        self.lost_records = true;
                        self.damage.push(damage(malformed.0.to_owned()));
                    }
                    if matches!(item, Item::Repaired(..)) {
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
                    self.lost_records = true;
                    let place = Position::new(number, u32::try_from(range.start).unwrap_or(0));
                    let follows = match place < position {
                        true => "the index has what they said",
                        false => "`serve` keeps them in quarantine/, and what they said is lost",
                    };
                    let octets = range.len();
                    let text = format!(
                        "{BAD_CHECKSUM}: {octets} octets are no records any more; {follows}"
                    );
                    self.damage.push(damage(text));
                    let hints = salvage(bytes.slice(range.clone()), place);
                    let named = hints.into_iter().map(|hint| (hint.message, (hint, place)));
                    self.hints.extend(named);
                }
            }
        }
        self.tail(path, bytes, number, &scan, short);
        self.segments.push(report);
    }

    /// What stands behind the last record.
    fn tail(&mut self, path: &Path, bytes: &SegmentBytes, number: u32, scan: &Scan, short: bool) {
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
            self.lost_records = true;
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
            Some(Kind::Token) => drop(decode_token(payload)?),
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
            let tokens = commit.tokens.iter();
            let placed =
                tokens.filter_map(|token| Some((Place::parse(&token.name)?, token.clone())));
            self.tokens_again.extend(placed);
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
        if change.state.is_none() {
            self.ended.insert(change.leg);
        }
        if change.state.is_none()
            && let Some((hint, _)) = self.hints.get_mut(&message)
        {
            hint.recipients.retain(|(other, _)| *other != number);
            if hint.recipients.is_empty() {
                self.hints.remove(&message);
            }
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
}
