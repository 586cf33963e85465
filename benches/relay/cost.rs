//! The bill of a system under test: CPU time, bytes written, memory.
//!
//! A [`Cost`] is cumulative; the difference of two is the cost of what happened between them. CPU time is that of *all* processes of the
//! system, the short-lived too, where the machine has cgroup v2 and we are root ([`Group`] says how it counts). What is written is counted
//! twice: as the processes dirtied it, and as the disk wrote it, journal and metadata included.
//!
//! It does not know which processes belong to a system (`system/group.rs` does), and it does not separate the disk's writers: whatever
//! else writes to the same disk during a run is in that figure.

use std::fs::{self, File};
use std::io;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;

use crate::system::group::{Group, memory_of, written_by};

/// What a system has used since it started, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Cost {
    /// User and system time of all its processes.
    pub(crate) cpu: Duration,
    /// Bytes that its processes dirtied, less those that they truncated away. A lower bound where [`Group`] cannot see ended processes.
    pub(crate) written_by_processes: u64,
    /// What the disk of the spool wrote; `None` where the file system has no disk of its own (tmpfs, overlay).
    pub(crate) disk: Option<Disk>,
    /// Bytes of memory now: each page counts once, however many processes share it (PSS).
    pub(crate) memory: u64,
    /// The most that [`Cost::memory`] was since the system started, as sampled.
    pub(crate) memory_peak: u64,
    /// Processes now.
    pub(crate) processes: usize,
}

/// What a disk has done since the machine started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Disk {
    /// Bytes written.
    pub(crate) written: u64,
    /// Write requests, merged ones once.
    pub(crate) writes: u64,
    /// Cache flushes: what makes a write durable. One serves everybody who waits for it.
    pub(crate) flushes: u64,
}

/// Reads the bill of one system while it runs, and watches its memory from a thread of its own.
pub(crate) struct Meter {
    group: Arc<Group>,
    /// The folder of the system: its file system is written out before the disk is asked.
    folder: File,
    /// The disk's counters; `None` for a file system without one.
    disk: Option<PathBuf>,
    watch: Arc<Watch>,
    watcher: Option<JoinHandle<()>>,
}

/// What the watching thread shares with its meter.
#[derive(Default)]
struct Watch {
    peak: AtomicU64,
    end: AtomicBool,
}

impl Cost {
    /// What has been used since `earlier`; memory and processes are as they are now.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            written_by_processes: self
                .written_by_processes
                .saturating_sub(earlier.written_by_processes),
            disk: self.disk.zip(earlier.disk).map(|(now, then)| Disk {
                written: now.written.saturating_sub(then.written),
                writes: now.writes.saturating_sub(then.writes),
                flushes: now.flushes.saturating_sub(then.flushes),
            }),
            ..*self
        }
    }
}

impl Meter {
    /// A meter for the processes of `group`, whose files are in `folder`.
    ///
    /// # Errors
    /// When the folder cannot be opened, or no thread started.
    pub(crate) fn new(group: Arc<Group>, folder: &Path) -> io::Result<Self> {
        let watch = Arc::new(Watch::default());
        let watcher = thread::Builder::new().name("memory".into()).spawn({
            let (group, watch) = (Arc::clone(&group), Arc::clone(&watch));
            move || {
                while !watch.end.load(Ordering::Acquire) {
                    watch.peak.fetch_max(memory(&group), Ordering::Relaxed);
                    thread::park_timeout(SAMPLE);
                }
            }
        })?;
        Ok(Self {
            group,
            disk: counters(folder)?,
            folder: File::open(folder)?,
            watch,
            watcher: Some(watcher),
        })
    }

    /// The bill so far. Writes out what the file system holds back first, so that the disk's figure is whole.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub(crate) fn read(&self) -> io::Result<Cost> {
        let cpu = self.group.cpu()?;
        rustix::fs::syncfs(&self.folder)?;
        let processes = self.group.processes();
        let memory = memory(&self.group);
        let peak = self.watch.peak.fetch_max(memory, Ordering::Relaxed);
        Ok(Cost {
            cpu,
            written_by_processes: processes.iter().filter_map(|&pid| written_by(pid)).sum(),
            disk: self.disk.as_deref().map(read_disk).transpose()?,
            memory,
            memory_peak: peak.max(memory),
            processes: processes.len(),
        })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.watch.end.store(true, Ordering::Release);
        if let Some(watcher) = self.watcher.take() {
            watcher.thread().unpark();
            // Had it panicked, the peak would be too low: the bench must not end well.
            assert!(
                watcher.join().is_ok() || thread::panicking(),
                "the memory watcher panicked"
            );
        }
    }
}

fn memory(group: &Group) -> u64 {
    let processes = group.processes();
    processes.into_iter().filter_map(memory_of).sum()
}

/// Where the kernel keeps the counters of the disk (the partition) under a folder.
fn counters(folder: &Path) -> io::Result<Option<PathBuf>> {
    let device = fs::metadata(folder)?.st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let path = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
    Ok(path.exists().then_some(path))
}

/// The counters of a disk: Documentation/block/stat.rst in the kernel's source.
fn read_disk(path: &Path) -> io::Result<Disk> {
    let text = fs::read_to_string(path)?;
    let fields: Vec<u64> = text
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let field = |number: usize| fields.get(number).copied();
    Ok(Disk {
        writes: field(4).ok_or(io::ErrorKind::InvalidData)?,
        written: field(6).ok_or(io::ErrorKind::InvalidData)? * SECTOR,
        // Kernels before 5.5 do not count them.
        flushes: field(15).unwrap_or(0),
    })
}

/// How often memory is looked at. Reading the pages of 200 processes takes some 20 ms of CPU time.
const SAMPLE: Duration = Duration::from_secs(1);

/// Octets of a sector in the kernel's counters, whatever the disk's own are.
const SECTOR: u64 = 512;
