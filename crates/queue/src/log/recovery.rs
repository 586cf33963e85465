//! Reading a segment back, whatever a crash or a bad disk left of it.
//!
//! A bad record is *damage* when a record behind it opens a batch: the committer writes a batch only after the one
//! before was synced, so the bad record had been acknowledged once. It is told to the caller, who quarantines it, and
//! reading goes on behind it. Otherwise it is the *torn tail* of a batch that nobody was told of, and the log is cut
//! there.
//!
//! It does *not* interpret payloads, but for what `repair` proves of a damaged record.

use std::io;
use std::ops::Range;

use crate::log::codec::Commit;
use crate::log::header::HEADER_OCTETS;
use crate::log::record::{Header, Kind, Position};
use crate::log::repair::{Repaired, repair};
use crate::log::segment::Segments;
use crate::store::{StoreFile, read_full};

/// One segment in memory.
#[derive(Debug)]
pub(crate) struct SegmentBytes {
    number: u32,
    bytes: Vec<u8>,
}

/// What a segment holds, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A whole record: its header, and where its payload is in the segment.
    Record(Header, Range<usize>),
    /// Octets that were a record once.
    Damage(Range<usize>),
    /// A record of which one octet of the header was bad: its header as it was, where its payload is.
    Repaired(Header, Range<usize>),
    /// A commit record whose body is damaged and whose envelope is not: where it is.
    Envelope(Header, Box<Commit>, Range<usize>),
}

impl Item {
    /// Where it begins in the segment.
    pub(crate) fn start(&self) -> usize {
        self.range().start
    }

    /// All of its octets, its header too.
    pub(crate) fn range(&self) -> Range<usize> {
        match self {
            Self::Record(_, payload) | Self::Repaired(_, payload) => {
                payload.start - Header::OCTETS..payload.end
            }
            Self::Damage(range) | Self::Envelope(_, _, range) => range.clone(),
        }
    }
}

/// A segment's items, and where they end.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) items: Vec<Item>,
    /// Where the next record would go.
    pub(crate) end: u32,
    /// Whether an end record stands there.
    pub(crate) ended: bool,
}

impl SegmentBytes {
    /// Reads a segment whole.
    pub(crate) fn read(segments: &Segments, number: u32) -> io::Result<Self> {
        let file = segments.file(number).ok_or(io::ErrorKind::NotFound)?;
        Self::of_file(&*file, number)
    }

    /// Reads the file of segment `number` whole.
    pub(crate) fn of_file(file: &dyn StoreFile, number: u32) -> io::Result<Self> {
        let octets = usize::try_from(file.octets()?).unwrap_or(usize::MAX);
        // A foreign giant is no reason to take all memory: offsets are 32 bits.
        let octets = octets.min(u32::MAX as usize);
        let mut bytes = vec![0; octets];
        let read = read_full(file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Self { number, bytes })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// All items from `offset` on.
    pub(crate) fn items(&self, offset: u32) -> Scan {
        let mut items = Vec::new();
        let mut at = (offset as usize).max(HEADER_OCTETS);
        // Damage that no opened batch has vouched for yet, by its place in `items`.
        let mut suspect = None;
        let mut end = at;
        while at < self.bytes.len() {
            let Some((header, payload)) = self.record(at) else {
                let next = self.resync(at + 1);
                let item = self.damage(at..next);
                at = next;
                // A header that was repaired vouches for nothing: a power cut tears headers too.
                suspect.get_or_insert(items.len());
                items.push(item);
                continue;
            };
            if header.opens_batch {
                suspect = None;
            }
            at = payload.end;
            if header.kind == Some(Kind::End) {
                return Scan {
                    items,
                    end: header.position.offset(),
                    ended: true,
                };
            }
            end = at;
            items.push(Item::Record(header, payload));
        }
        if let Some(first) = suspect {
            end = items.get(first).map_or(end, Item::start);
            items.truncate(first);
        }
        Scan {
            items,
            end: u32::try_from(end).unwrap_or(u32::MAX),
            ended: false,
        }
    }

    /// What can be proved of octets that are no whole record.
    fn damage(&self, range: Range<usize>) -> Item {
        let place = u32::try_from(range.start).unwrap_or(u32::MAX);
        let position = Position::new(self.number, place);
        match repair(self.slice(range.clone()), position) {
            Some(Repaired::Header(header, payload)) => {
                let payload = range.start + payload.start..range.start + payload.end;
                Item::Repaired(header, payload)
            }
            Some(Repaired::Envelope(header, commit)) => Item::Envelope(header, commit, range),
            None => Item::Damage(range),
        }
    }

    /// The whole, undamaged record at `at`.
    fn record(&self, at: usize) -> Option<(Header, Range<usize>)> {
        let header = self.header(at)?;
        let start = at + Header::OCTETS;
        let payload = start..start.checked_add(header.octets as usize)?;
        let bytes = self.bytes.get(payload.clone())?;
        (crc32fast::hash(bytes) == header.payload_crc).then_some((header, payload))
    }

    fn header(&self, at: usize) -> Option<Header> {
        let position = Position::new(self.number, u32::try_from(at).ok()?);
        Header::decode(self.bytes.get(at..)?, position).ok()
    }

    /// The place of the next whole record from `from` on, or the end.
    fn resync(&self, from: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        memchr::memmem::find_iter(rest, &Header::MAGIC)
            .map(|n| from + n)
            .find(|at| self.record(*at).is_some())
            .unwrap_or(self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::log::record::Payload;

    /// Batches of records of the given sizes in one segment.
    fn segment(batches: &[&[usize]]) -> (SegmentBytes, Vec<usize>) {
        let mut bytes = vec![0; HEADER_OCTETS];
        let mut places = Vec::new();
        for batch in batches {
            for (n, octets) in batch.iter().enumerate() {
                let payload = Payload::new(Kind::Change, vec![Bytes::from(vec![7; *octets])]);
                let at = Position::new(3, bytes.len() as u32);
                places.push(bytes.len());
                bytes.extend_from_slice(&Header::encode(&payload, at, n == 0));
                bytes.extend_from_slice(&payload.parts[0]);
            }
        }
        places.push(bytes.len());
        bytes.resize(bytes.len() + 100, 0);
        (SegmentBytes { number: 3, bytes }, places)
    }

    #[track_caller]
    fn check(segment: &SegmentBytes, records: usize, damage: usize, end: usize) {
        let Scan { items, end: at, .. } = segment.items(0);
        let found = items.iter().filter(|i| matches!(i, Item::Record(..)));
        assert_eq!(found.count(), records, "records");
        let found = items
            .iter()
            .filter(|i| matches!(i, Item::Damage(..) | Item::Repaired(..)));
        assert_eq!(found.count(), damage, "damage");
        assert_eq!(at as usize, end, "end");
    }

    #[test]
    fn a_torn_tail_is_cut_at_every_length() {
        let (whole, places) = segment(&[&[10, 20], &[30]]);
        check(&whole, 3, 0, places[3]);
        for cut in places[2]..places[3] {
            let bytes = whole.bytes[..cut].to_vec();
            check(&SegmentBytes { number: 3, bytes }, 2, 0, places[2]);
        }
    }

    #[test]
    fn a_flipped_bit_in_a_synced_record_is_damage_and_costs_only_it() {
        let (whole, places) = segment(&[&[10], &[20, 25], &[30]]);
        for bit in places[1] * 8..places[2] * 8 {
            let mut bytes = whole.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            check(&SegmentBytes { number: 3, bytes }, 3, 1, places[4]);
        }
    }

    #[test]
    fn a_bad_record_of_the_last_batch_is_its_tear() {
        let (mut torn, places) = segment(&[&[10], &[20, 25]]);
        torn.bytes[places[1] + 30] ^= 1;
        check(&torn, 1, 0, places[1]);
    }

    #[test]
    fn what_an_older_life_left_is_no_record() {
        let (mut whole, _) = segment(&[&[10], &[20]]);
        whole.number = 4;
        check(&whole, 0, 0, HEADER_OCTETS);
    }
}
