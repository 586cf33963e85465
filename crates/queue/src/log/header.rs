//! What a segment file says of itself, and the spool's own name.
//!
//! A segment begins with 64 octets: magic `ONWARDLG`, `u16` format version, two zero octets, `u32` segment number, 16 octets
//! spool id, `u32` octets that the file was made with (0: not said), zeros, and at 60 a crc32 of all before. The spool id is
//! also in the file `id`, so that a segment of another spool is told from ours even when it stands alone.
//!
//! It does *not* look behind the header.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use crate::store::{Store, StoreFile, read_full, write_all};

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) spool_id: u128,
    /// What the file was made with; 0 when it does not say. A shorter file was cut.
    pub(crate) octets: u32,
}

/// What stands where a header should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    Segment(SegmentHeader),
    /// Of a later format.
    Newer(u16),
    Damaged,
}

/// A file that calls itself a segment.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// The number in its name.
    pub(crate) number: Option<u32>,
    pub(crate) header: HeaderRead,
    /// The header as it stands.
    pub(crate) bytes: Vec<u8>,
    pub(crate) octets: u64,
}

/// Why a segment file is not to be read as ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The header is damaged; the records may still prove what it is.
    Header,
    Foreign,
    /// Its name is not that of its number: a copy, or renamed.
    Misnamed,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_OCTETS] {
        let mut out = [0; HEADER_OCTETS];
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..32].copy_from_slice(&self.spool_id.to_le_bytes());
        out[32..36].copy_from_slice(&self.octets.to_le_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

impl HeaderRead {
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let Ok(header) = <&[u8; HEADER_OCTETS]>::try_from(bytes) else {
            return Self::Damaged;
        };
        let u32_at = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if &header[..8] != MAGIC || crc32fast::hash(&header[..60]) != u32_at(60) {
            return Self::Damaged;
        }
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version > VERSION {
            return Self::Newer(version);
        }
        let id = (0..4).map(|n| u128::from(u32_at(16 + 4 * n)) << (32 * n));
        Self::Segment(SegmentHeader {
            number: u32_at(12),
            spool_id: id.sum(),
            octets: u32_at(32),
        })
    }
}

impl Found {
    pub(crate) fn read(path: PathBuf, file: &dyn StoreFile) -> io::Result<Self> {
        let mut bytes = vec![0; HEADER_OCTETS];
        let read = read_full(file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Self {
            number: number_of(&path),
            header: HeaderRead::decode(&bytes),
            octets: file.octets()?,
            bytes,
            path,
        })
    }

    pub(crate) fn misfit(&self, spool_id: u128) -> Option<Misfit> {
        match self.header {
            HeaderRead::Segment(header) if header.spool_id != spool_id => Some(Misfit::Foreign),
            HeaderRead::Segment(header) if self.number != Some(header.number) => {
                Some(Misfit::Misnamed)
            }
            HeaderRead::Segment(_) => None,
            HeaderRead::Newer(_) | HeaderRead::Damaged => Some(Misfit::Header),
        }
    }

    /// Whether it is shorter than it was made.
    pub(crate) fn is_short(&self) -> bool {
        matches!(self.header, HeaderRead::Segment(header) if self.octets < u64::from(header.octets))
    }
}

impl Misfit {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Header => "segment header is damaged",
            Self::Foreign => "segment of another spool",
            Self::Misnamed => "segment under another segment's name",
        }
    }
}

/// Whose segments these are: what the file `id` says, else what most of them say.
pub(crate) fn owner(named: Option<u128>, found: &[Found]) -> Option<u128> {
    let ids = || {
        found.iter().filter_map(|found| match found.header {
            HeaderRead::Segment(header) => Some(header.spool_id),
            _ => None,
        })
    };
    let votes = |id: u128| ids().filter(|other| *other == id).count();
    // On a tie any will do, but always the same.
    named.or_else(|| ids().max_by_key(|id| (votes(*id), *id)))
}

/// The spool's id as the file `id` has it; none when it is no id.
pub(crate) fn read_id(file: &dyn StoreFile) -> Option<u128> {
    let mut text = [0; ID_DIGITS];
    let read = read_full(file, &mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..read]).ok()?;
    let whole = text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| whole)
}

/// Writes the file `id`, durably. A crash may leave a part of it: then the segments decide, and it is written again.
pub(crate) fn write_id(store: &dyn Store, dir: &Path, id: u128) -> io::Result<()> {
    let path = dir.join(ID_FILE);
    match store.remove(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = store.create(&path)?;
    let text = format!("{id:032x}\n");
    write_all(&*file, &mut [IoSlice::new(text.as_bytes())], 0)?;
    file.sync()?;
    store.sync_dir(dir)
}

pub(crate) fn file_name(number: u32) -> String {
    format!("{number:010}.seg")
}

pub(crate) fn number_of(path: &Path) -> Option<u32> {
    let number = path.file_stem()?.to_str()?.parse().ok()?;
    (path.file_name()? == file_name(number).as_str()).then_some(number)
}

pub(crate) fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

/// Octets before the first record.
pub(crate) const HEADER_OCTETS: usize = 64;
/// The format this program writes, and the newest it reads.
pub(crate) const VERSION: u16 = 1;
const MAGIC: &[u8; 8] = b"ONWARDLG";
/// The file beside `log/` that names the spool.
pub(crate) const ID_FILE: &str = "id";
const ID_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Disk;

    #[test]
    fn a_header_survives_and_any_flipped_bit_is_seen() {
        let header = SegmentHeader {
            number: 7,
            spool_id: 1 << 77 | 5,
            octets: 64 << 20,
        };
        let bytes = header.encode();
        assert_eq!(HeaderRead::decode(&bytes), HeaderRead::Segment(header));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(HeaderRead::decode(&bad), HeaderRead::Damaged, "bit {bit}");
        }
        assert_eq!(HeaderRead::decode(&bytes[..63]), HeaderRead::Damaged);
    }

    #[test]
    fn an_id_is_read_back_and_half_of_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ID_FILE);
        let read = || read_id(&std::fs::File::open(&path).unwrap());
        for id in [0, 1 << 120 | 9] {
            write_id(&Disk, dir.path(), id).unwrap();
            assert_eq!(read(), Some(id));
        }
        for text in ["", "12ab", "+123456789012345678901234567890ab"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(), None, "{text}");
        }
    }
}
