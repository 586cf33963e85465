//! The CPU time of one thread of this process, which any other thread may ask for.
//!
//! From `/proc/self/task/TID/schedstat`, in nanoseconds; the time since the thread's last tick, at most some milliseconds, is missing.
//! For what the tools cost; the systems under test are processes, see `cost.rs`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A thread to ask about.
#[derive(Debug, Clone)]
pub(crate) struct ThreadCpu {
    /// `None` where the system has no such file.
    statistics: Option<PathBuf>,
}

impl ThreadCpu {
    /// The calling thread.
    pub(crate) fn of_this_thread() -> Self {
        let link = fs::read_link("/proc/thread-self").ok();
        Self {
            statistics: link.map(|task| PathBuf::from("/proc").join(task).join("schedstat")),
        }
    }

    /// What it has used so far; zero when that is unknown or the thread has ended.
    pub(crate) fn spent(&self) -> Duration {
        let text = self
            .statistics
            .as_ref()
            .and_then(|path| fs::read_to_string(path).ok());
        let nanos = text.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
        Duration::from_nanos(nanos.unwrap_or_default())
    }
}
