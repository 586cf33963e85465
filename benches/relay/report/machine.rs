//! The machine of a run: what it is, and whether it was idle.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a reader needs to judge the figures. A text is empty where the machine does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// Octets.
    pub(crate) memory: u64,
    pub(crate) kernel: String,
    /// Of the folder in which the spools are.
    pub(crate) file_system: String,
    /// What that is on.
    pub(crate) disk: String,
    /// As `/proc/loadavg` begins: 1, 5 and 15 minutes.
    pub(crate) load_average: String,
    /// Share of all cores that was in use just before the run.
    pub(crate) busy: f64,
}

/// A machine with more than this in use before the run is not idle.
const BUSY_MAX: f64 = 0.10;

impl Machine {
    /// Looks at this machine; takes a second, in which nothing else is done.
    pub(crate) fn look(folder: &Path) -> Self {
        let (file_system, device) = mount(&read("/proc/self/mountinfo"), folder);
        Self {
            processor: processor(&read("/proc/cpuinfo")),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory: memory(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            disk: disk(&device),
            file_system,
            load_average: read("/proc/loadavg")
                .split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
            busy: busy(Duration::from_secs(1)),
        }
    }

    /// What to warn of, if others used the machine before the run began.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.busy > BUSY_MAX).then(|| {
            format!(
                "the machine was not idle: {:.0} % of its cores were in use before the run (load average {}): \
                 absolute figures are too low, and the ratios less sure",
                self.busy * 100.0,
                self.load_average
            )
        })
    }

    /// In one line.
    pub(crate) fn describe(&self) -> String {
        let gib = self.memory as f64 / f64::from(1 << 30);
        format!(
            "{} × {}, {gib:.0} GiB, Linux {}, spools on {} ({}), load average {}",
            self.cores, self.processor, self.kernel, self.file_system, self.disk, self.load_average
        )
    }
}

/// Empty when the file cannot be read: nothing here is worth failing for.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

pub(crate) fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(':'))
        .map_or("processor", |(_, name)| name);
    name.trim().to_owned()
}

pub(crate) fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// File system and device of the mount that holds `folder`, from `mountinfo` (proc(5)).
pub(crate) fn mount(mountinfo: &str, folder: &Path) -> (String, String) {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split_whitespace().nth(4)?;
        let mut right = right.split_whitespace();
        let (kind, device) = (right.next()?, right.next()?);
        folder
            .starts_with(point)
            .then(|| (point.len(), kind.to_owned(), device.to_owned()))
    });
    // The longest holds it; of equals, the last is on top.
    let best = mounts.max_by_key(|(length, ..)| *length);
    best.map(|(_, kind, device)| (kind, device))
        .unwrap_or_default()
}

/// `/dev/vda, virtual or solid`: what the kernel knows of the device.
fn disk(device: &str) -> String {
    let name = device.rsplit('/').next().unwrap_or(device);
    // A partition's queue is its disk's.
    let whole = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let queue = |name: &str| read(&format!("/sys/block/{name}/queue/rotational"));
    let model = read(&format!("/sys/block/{whole}/device/model"));
    let kind = match (queue(name) + &queue(whole)).trim().chars().next() {
        Some('1') => "says that it rotates",
        Some(_) => "does not rotate",
        None => "unknown kind",
    };
    [device, model.trim(), kind]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Share of all cores in use over a while, by anyone.
fn busy(while_: Duration) -> f64 {
    let before = ticks(&read("/proc/stat"));
    thread::sleep(while_);
    let after = ticks(&read("/proc/stat"));
    let (used, all) = (after.0 - before.0, after.1 - before.1);
    if all > 0.0 { used / all } else { 0.0 }
}

/// Ticks in use and of all kinds, from the first line of `/proc/stat`.
pub(crate) fn ticks(stat: &str) -> (f64, f64) {
    let fields = stat.lines().next().unwrap_or_default().split_whitespace();
    let values: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    let all: f64 = values.iter().take(8).sum();
    // idle and iowait
    let idle: f64 = values.iter().skip(3).take(2).sum();
    (all - idle, all)
}
