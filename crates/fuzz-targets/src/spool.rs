//! The spool: payloads, a segment with any damage, and the opening of a whole spool.
//!
//! Segments are built here from `spool/README.md`, not by the code under test. A fuzzer cannot guess a
//! checksum: the input names records, which get sound headers, and then the damage.

use std::ops::Range;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use envelope::{Leg, LegId, Mailbox, Message, MessageId, ReversePath, Timestamp};
use queue::fuzzing::{recode, scan};
use queue::{LogSpool, Settings};
use spool::{Arrival, BodyReader, BodyWriter, Clock, Filter, Spool};

use crate::memory::{Memory, MemoryFile};

/// `data` is a record's kind, and its payload.
pub(crate) fn check_record(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else {
        return;
    };
    if let Some(understood) = recode(*kind, payload) {
        // What we write is read back as the same.
        assert_eq!(recode(*kind, &understood).as_ref(), Some(&understood));
    }
}

#[derive(Debug, Arbitrary)]
struct Plan {
    /// Octets to change, at a place modulo the length.
    damage: [(u16, u8); 3],
    /// How much is missing at the end.
    cut: u16,
}

/// A record as composed: its octets, header included.
struct Made {
    kind: u8,
    opens_batch: bool,
    octets: Range<usize>,
}

/// `data` is the plan, and records: kind, flags, `u16` length, payload.
pub(crate) fn check_segment(data: &[u8]) {
    let Some((plan, records)) = crate::input::plan::<Plan>(data) else {
        return;
    };
    let (mut bytes, made) = segment(1, &mut Unstructured::new(records));
    let touched = plan.apply(&mut bytes);
    let file = MemoryFile::new(bytes.clone());
    let Ok(scanned) = scan(&file, 1) else {
        panic!("memory can be read")
    };
    assert!(scanned.end as usize <= bytes.len().max(HEADER_OCTETS));
    let mut items = [&scanned.records[..], &scanned.damage].concat();
    items.sort_by_key(|item| item.start);
    assert!(items.iter().all(|item| item.end <= bytes.len()));
    assert!(items.is_sorted_by(|a, b| a.end <= b.start), "{items:?}");
    // Nothing follows a valid end. Whole records before it are found.
    let is_whole = |record: &Made| {
        record.octets.end <= bytes.len() && !touched.iter().any(|at| record.octets.contains(at))
    };
    let end = made.iter().position(|r| r.kind == END && is_whole(r));
    let made = &made[..end.unwrap_or(made.len())];
    let torn = made.iter().position(|record| !is_whole(record));
    for (n, record) in made.iter().enumerate().filter(|(_, r)| is_whole(r)) {
        let vouched = made[n..].iter().any(|r| r.opens_batch && is_whole(r));
        if end.is_some() || vouched || torn.is_none_or(|torn| n < torn) {
            let payload = record.octets.start + RECORD_OCTETS..record.octets.end;
            assert!(
                scanned.records.contains(&payload),
                "{payload:?} in {scanned:?}"
            );
        }
    }
}

impl Plan {
    /// Returns where the damage is. The header of the segment stays as it is: another target damages it.
    fn apply(&self, bytes: &mut Vec<u8>) -> Vec<usize> {
        let sound = bytes.clone();
        let mut touched = Vec::new();
        for (at, change) in self.damage {
            let room = bytes.len() - HEADER_OCTETS;
            if change != 0 && room > 0 {
                let at = HEADER_OCTETS + usize::from(at) % room;
                bytes[at] ^= change;
                touched.push(at);
            }
        }
        // Two changes of one octet may undo each other.
        touched.retain(|at| bytes[*at] != sound[*at]);
        let room = bytes.len() - HEADER_OCTETS;
        bytes.truncate(bytes.len() - usize::from(self.cut) % (room + 1));
        touched
    }
}

/// `data` is as for the segment; a record of kind 0 begins the next segment, and the plan is for the last.
///
/// Whatever the segment holds, the spool opens, lists, reads, takes new mail, and opens again with the same legs.
pub(crate) fn check_spool(data: &[u8]) {
    let Some((plan, records)) = crate::input::plan::<Plan>(data) else {
        return;
    };
    let shm = std::path::Path::new("/dev/shm");
    let dir = match shm.is_dir() {
        true => tempfile::tempdir_in(shm),
        false => tempfile::tempdir(),
    };
    let Ok(dir) = dir else {
        panic!("no folder for the index")
    };
    let store = Arc::new(Memory::default());
    let mut records = Unstructured::new(records);
    for number in 1..=SEGMENTS_MAX {
        let (mut bytes, _) = segment(number, &mut records);
        let is_last = records.is_empty() || number == SEGMENTS_MAX;
        if is_last {
            plan.apply(&mut bytes);
        }
        store.put(dir.path().join(format!("log/{number:010}.seg")), bytes);
        if is_last {
            break;
        }
    }
    let settings = Settings {
        segment_bytes: Settings::SEGMENT_BYTES_MIN,
        index_cache_bytes: 1 << 20,
        clock: Clock::manual(NOW),
        ..Settings::new(dir.path())
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
        panic!("no runtime")
    };
    let open = || {
        let opened = LogSpool::open_on(settings.clone(), Arc::clone(&store) as _);
        opened.unwrap_or_else(|error| panic!("does not open: {error}"))
    };
    let spool = open();
    let mut legs = runtime.block_on(look(&spool));
    legs.extend(runtime.block_on(put(&spool)));
    legs.sort_unstable();
    legs.dedup();
    spool.close();
    let spool = open();
    assert_eq!(runtime.block_on(look(&spool)), legs, "at the second start");
}

/// New mail; gives its leg.
async fn put(spool: &LogSpool) -> Option<LegId> {
    let (Ok(mut writer), Ok(target)) = (spool.begin(NEW).await, "new@mail.example".parse()) else {
        panic!("takes no new mail")
    };
    let message = Message::new(NEW, NOW, ReversePath::Null, 4);
    let target: Mailbox = target;
    let leg = Leg::new(ReversePath::Null, target.clone(), target);
    let written = writer.write(b"new\n".to_vec()).await;
    let committed = spool
        .commit(writer, Arrival::new(message, vec![leg], NOW))
        .await;
    assert_eq!((written, committed.map(drop)), (Ok(()), Ok(())), "new mail");
    Some(LegId {
        message: NEW,
        number: 0,
    })
}

/// All legs; each message's body is read as far as it goes.
async fn look(spool: &LogSpool) -> Vec<LegId> {
    let filter = Filter::default();
    let mut cursor = None;
    let mut legs = Vec::new();
    loop {
        let Ok(page) = spool.list(&filter, cursor, 7).await else {
            panic!("the spool does not list")
        };
        for entry in &page.entries {
            legs.push(entry.id);
            read(spool, entry.id.message).await;
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return legs,
        }
        assert!(legs.len() < 100_000, "the list goes round");
    }
}

async fn read(spool: &LogSpool, id: MessageId) {
    if let Ok(mut body) = spool.open_body(id).await {
        while let Ok(Some(piece)) = body.chunk().await {
            assert!(!piece.is_empty());
        }
    }
}

/// A sound segment of the records that the input names, up to one of kind 0.
fn segment(number: u32, input: &mut Unstructured<'_>) -> (Vec<u8>, Vec<Made>) {
    let mut bytes = vec![0; HEADER_OCTETS];
    bytes[..8].copy_from_slice(b"ONWARDLG");
    bytes[8] = 1;
    bytes[12..16].copy_from_slice(&number.to_le_bytes());
    bytes[16] = 42;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    let mut made = Vec::new();
    while !input.is_empty() {
        let Ok([kind, flags, low, high]) = input.arbitrary::<[u8; 4]>() else {
            break;
        };
        if kind == 0 {
            break;
        }
        let octets = usize::from(u16::from_le_bytes([low, high])).min(input.len());
        let Ok(payload) = input.bytes(octets) else {
            break;
        };
        let start = bytes.len();
        push_record(&mut bytes, number, kind, flags, payload);
        made.push(Made {
            kind,
            opens_batch: flags & 1 != 0,
            octets: start..bytes.len(),
        });
    }
    (bytes, made)
}

fn push_record(bytes: &mut Vec<u8>, segment: u32, kind: u8, flags: u8, payload: &[u8]) {
    // A fuzzed segment is far below 4 GiB.
    let position = u64::from(segment) << 32 | bytes.len() as u64;
    let mut header = b"OR".to_vec();
    header.extend_from_slice(&[kind, flags]);
    header.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    header.extend_from_slice(&position.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(payload);
}

const NOW: Timestamp = Timestamp::from_unix_millis(1_795_264_496_789);
/// No other message has it: its octets are far from any that a seed has.
const NEW: MessageId = MessageId::from_bits(0x7777_7777_7777_7777_7777_7777_7777_7777);
const SEGMENTS_MAX: u32 = 3;
const HEADER_OCTETS: usize = 64;
const RECORD_OCTETS: usize = 24;
const END: u8 = 1;
