//! Records and bodies read again, by the places that the survey keeps.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use envelope::{LegId, MessageId};

use crate::index::entry::placed;
use crate::log::codec::{Change, Commit, Extent, LegRow, LegState, MessageRow};
use crate::log::header::file_name;
use crate::log::record::{Header, Kind, Position};
use crate::log::recovery::{Item, SegmentBytes};
use crate::read::read_extent;
use crate::store::read_full;
use crate::verify::Damage;
use crate::verify::survey::{Live, Survey};

impl Survey {
    /// Reads a piece of a body, and checks it.
    pub(crate) fn piece(&self, extent: &Extent) -> Result<Bytes, Damage> {
        let offset = Some(u64::from(extent.offset));
        let Some(segment) = self.files.get(&extent.segment) else {
            let name = PathBuf::from(file_name(extent.segment));
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
    pub(crate) fn row(&self, live: &Live) -> Option<MessageRow> {
        Some(placed(self.commit_at(live.commit)?, live.commit))
    }

    /// The legs of a live entry as they stand now.
    pub(crate) fn legs(&self, live: &Live) -> Vec<LegRow> {
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
            // Repaired when the log was read: repair it again.
            Err(_) => {
                let bytes = SegmentBytes::of_file(&*segment.file, at.segment()).ok()?;
                let scan = bytes.items(at.offset());
                match scan.items.into_iter().next()? {
                    Item::Repaired(header, _) => header,
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
