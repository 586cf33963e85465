//! Settings of the embedded engine, and what can stop it from opening.

use std::path::PathBuf;
use std::time::Duration;

use spool::{Clock, Lifetime};

/// How [`LogSpool`](crate::LogSpool) keeps its spool.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The spool's folder; made when missing.
    pub dir: PathBuf,
    /// What leases, due times and deadlines go by.
    pub clock: Clock,
    /// Octets of one segment file of the log; from [`Settings::SEGMENT_BYTES_MIN`] to [`Settings::SEGMENT_BYTES_MAX`].
    pub segment_bytes: u32,
    /// Octets of recent small bodies kept in memory, so that a healthy relay does not read the disk.
    pub body_cache_bytes: usize,
    /// Octets of sled's page cache.
    pub index_cache_bytes: u64,
    /// Octets that sled's files may take beyond what its rows need. They never shrink: a fresh index is written then.
    pub index_waste_bytes: u64,
    /// How often what is still queued is written to the index, at least.
    pub checkpoint_every: Duration,
    /// When senders are told of a delay, and when mail is given up. What is queued keeps the deadlines that it came in with.
    pub lifetime: Lifetime,
    /// Octets that must stay free on the filesystem; below, [`Error::Full`](spool::Error::Full).
    pub min_free_bytes: u64,
    /// Inodes that must stay free; filesystems that do not count them (0 in all) are not asked.
    pub min_free_inodes: u64,
    /// Octets that the log may take; beyond, [`Error::Full`](spool::Error::Full).
    pub max_bytes: u64,
}

impl Settings {
    /// The smallest segment: a few records.
    pub const SEGMENT_BYTES_MIN: u32 = 64 << 10;
    /// The largest segment: recovery reads one into memory.
    pub const SEGMENT_BYTES_MAX: u32 = 512 << 20;

    /// The defaults, for a spool in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            clock: Clock::real(),
            segment_bytes: 64 << 20,
            body_cache_bytes: 64 << 20,
            index_cache_bytes: 32 << 20,
            index_waste_bytes: 48 << 20,
            checkpoint_every: Duration::from_secs(2),
            lifetime: Lifetime::default(),
            min_free_bytes: 256 << 20,
            min_free_inodes: 1000,
            max_bytes: u64::MAX,
        }
    }
}

/// Why a spool cannot be opened. Each text says where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has it.
    #[error(
        "spool `{dir}` is in use by process {pid}\n\nhint: stop that process first (`systemctl stop onward`), or ask it: `onward queue …` talks to a running daemon"
    )]
    Locked {
        /// The spool.
        dir: PathBuf,
        /// Who holds the lock, as the lock file says.
        pid: String,
    },
    /// A later Onward wrote it.
    #[error(
        "`{file}` has spool format {found}; this program knows up to {known}\n\nhint: run the version of Onward that wrote it, or a newer one; nothing was changed"
    )]
    NewerVersion {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// A file or folder could not be made, read or written.
    #[error("cannot {what} `{path}`: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A setting is out of its range.
    #[error("spool setting {0}")]
    Setting(&'static str),
    /// sled cannot be opened even empty.
    #[error("cannot open the index `{path}`: {text}")]
    Index {
        /// Where.
        path: PathBuf,
        /// What sled said.
        text: String,
    },
}
