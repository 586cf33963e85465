//! All processes of one system under test, and no others.
//!
//! With cgroup v2 and the right to make a group, each system lives in one of its own: the kernel then counts the CPU time of every process
//! that was ever in it, knows which are there, and ends them all at one word. Without, it is the tree of descendants of what we started;
//! a process that outlives its parent is lost sight of then, with its CPU time, and [`Group::how`] says so.
//!
//! It does not limit anything: no quota, no weight, no pinning.

#![expect(
    clippy::disallowed_methods,
    reason = "the bench starts the systems under test, and waits for them outside any runtime"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::stop;

/// The processes of a system. Dropping it ends them.
pub(crate) struct Group {
    /// The cgroup's folder; `None`: the tree of descendants.
    cgroup: Option<PathBuf>,
    children: Mutex<Vec<Child>>,
}

impl Group {
    /// An empty group. `name` is part of the cgroup's.
    pub(crate) fn new(name: &str) -> Self {
        let cgroup = make_cgroup(name);
        if let Some(folder) = &cgroup {
            stop::register_group(folder);
        }
        Self {
            cgroup,
            children: Mutex::default(),
        }
    }

    /// How CPU time is counted, for a report.
    pub(crate) fn how(&self) -> &'static str {
        match self.cgroup {
            Some(_) => "cgroup v2: every process of the system, the short-lived too",
            None => {
                "sum over /proc, with the waited-for children of each: processes that nobody waited for are missing"
            }
        }
    }

    /// Starts a program in the group, with room for 65,536 open files where that is allowed. `command` is a path or a name to look for in
    /// [`PATH`], and arguments; what it says is appended to `output`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(&self, command: &[impl AsRef<OsStr>], output: &Path) -> io::Result<()> {
        let output = File::options().create(true).append(true).open(output)?;
        // The shell enters the group before it becomes the program, so that nothing of the program runs outside.
        let join = match &self.cgroup {
            Some(folder) => folder.join("cgroup.procs"),
            None => PathBuf::from("/dev/null"),
        };
        let child = Command::new("/bin/sh")
            .args(["-c", ENTER])
            .arg(join)
            .args(command)
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for the bench, which ends its systems in order.
            .process_group(0)
            .spawn()?;
        stop::register(child.id());
        self.children().push(child);
        Ok(())
    }

    /// Runs a program in the group to its end. Of `onward queue`, 3 says that there was nothing to do.
    ///
    /// # Errors
    /// When it cannot be started, or says that it failed; the text holds the end of the output.
    pub(crate) fn run(&self, command: &[impl AsRef<OsStr>], output: &Path) -> io::Result<()> {
        self.spawn(command, output)?;
        let Some(mut child) = self.children().pop() else {
            unreachable!("spawn put it there");
        };
        let status = child.wait();
        stop::unregister(child.id());
        if matches!(status?.code(), Some(0 | 3)) {
            return Ok(());
        }
        let said = tail(&fs::read_to_string(output).unwrap_or_default());
        let name = command.first().map(|name| name.as_ref().display());
        let name = name.map(|name| name.to_string()).unwrap_or_default();
        Err(io::Error::other(format!("{name} failed\n{said}")))
    }

    /// Has a program that was started ended by itself?
    pub(crate) fn has_ended(&self) -> bool {
        let mut children = self.children();
        children
            .iter_mut()
            .any(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// The processes that are in it now.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let Some(folder) = &self.cgroup else {
            return descendants(self.children().iter().map(Child::id).collect());
        };
        let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// User and system time of all processes that were ever in it, as far as [`Group::how`] says.
    ///
    /// # Errors
    /// When the kernel's counter cannot be read.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let Some(folder) = &self.cgroup else {
            return Ok(self.processes().into_iter().filter_map(cpu_of).sum());
        };
        let text = fs::read_to_string(folder.join("cpu.stat"))?;
        let micros = field(&text, "usage_usec").ok_or(io::ErrorKind::InvalidData)?;
        Ok(Duration::from_micros(micros))
    }

    /// Asks all processes to end (SIGTERM) and waits until they are gone; after ten seconds it ends them.
    ///
    /// # Errors
    /// As [`Group::kill`].
    pub(crate) fn stop(&self) -> io::Result<()> {
        self.signal(Signal::TERM);
        if self.is_gone_within(PATIENCE)? {
            return Ok(());
        }
        self.kill()
    }

    /// Ends all processes at once (SIGKILL) and waits until they are gone.
    ///
    /// # Errors
    /// When one is still there after ten seconds.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match &self.cgroup {
            Some(folder) => fs::write(folder.join("cgroup.kill"), "1")?,
            None => self.signal(Signal::KILL),
        }
        if self.is_gone_within(PATIENCE)? {
            return Ok(());
        }
        let left = self.processes();
        Err(io::Error::other(format!("still running: {left:?}")))
    }

    fn is_gone_within(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            for child in self.children().iter_mut() {
                child.try_wait()?;
            }
            if self.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(10));
        }
        for child in self.children().drain(..) {
            stop::unregister(child.id());
        }
        Ok(true)
    }

    fn is_empty(&self) -> bool {
        let Some(folder) = &self.cgroup else {
            return self.processes().is_empty();
        };
        // A process whose last thread is still on its way out is not listed any more, but keeps the group from being removed.
        let events = fs::read_to_string(folder.join("cgroup.events")).unwrap_or_default();
        field(&events, "populated") != Some(1)
    }

    fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            if let Some(pid) = pid.try_into().ok().and_then(Pid::from_raw) {
                // It may have ended since the list was made.
                let _ = kill_process(pid, signal);
            }
        }
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<Child>> {
        // A list of processes is whole whatever a panic interrupted.
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nothing more can be done about what does not end; the next run tries again.
        let _ = self.kill();
        if let Some(folder) = &self.cgroup {
            let _ = fs::remove_dir(folder);
            stop::unregister_group(folder);
        }
    }
}

/// The last lines of what a program said.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Bytes of memory of a process, shared pages by its share of them (PSS); `None` when it has ended.
pub(crate) fn memory_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    field(&text, "Pss:").map(|kib| kib * 1024)
}

/// Bytes that a process and the children that it waited for dirtied, less what they truncated away; `None` when it has ended.
pub(crate) fn written_by(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let cancelled = field(&text, "cancelled_write_bytes:")?;
    field(&text, "write_bytes:").map(|bytes| bytes.saturating_sub(cancelled))
}

/// The number behind `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// CPU time of a process and of the children that it waited for; `None` when it has ended.
fn cpu_of(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: u64 = stat_fields(&text)?
        .skip(11)
        .take(4)
        .map_while(|field| field.parse::<u64>().ok())
        .sum();
    Some(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).ok()?)
}

/// The fields of /proc/PID/stat from the third, the state: the second, the name, may hold blanks and brackets.
fn stat_fields(text: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace())
}

/// The processes of `roots` that still run, and all that descend from them.
fn descendants(roots: Vec<u32>) -> Vec<u32> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    let mut alive = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let text = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some(mut fields) = stat_fields(&text) else {
            continue;
        };
        if fields.next() == Some("Z") {
            continue;
        }
        alive.push(pid);
        if let Some(parent) = fields.next().and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found: Vec<u32> = roots
        .into_iter()
        .filter(|pid| alive.contains(pid))
        .collect();
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// A new cgroup below our own, or `None` where there is no cgroup v2 or no right to make one.
fn make_cgroup(name: &str) -> Option<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let home = own_cgroup()?;
    sweep(&home);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = home.join(format!("{PREFIX}{}-{number}-{name}", process::id()));
    fs::create_dir(&folder).ok()?;
    let whole = ["cgroup.kill", "cpu.stat"].map(|file| folder.join(file).exists());
    if whole == [true, true] {
        return Some(folder);
    }
    let _ = fs::remove_dir(&folder);
    None
}

/// The folder of the cgroup that we are in.
fn own_cgroup() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let folder = words.next()?;
        (words.next()? == "cgroup2").then_some(folder)
    })?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(mount).join(own))
}

/// Ends what benches left that were killed: the process in the group's name is no more.
fn sweep(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let owner = owner.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            drop(Group {
                cgroup: Some(entry.path()),
                children: Mutex::default(),
            });
        }
    }
}

/// Where programs are looked for, whatever the shell says that started the bench: servers are in `sbin`.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The name of each group begins so; the process id of its bench follows.
const PREFIX: &str = "onward-bench-";

/// How long processes may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

const ENTER: &str = r#"ulimit -n 65536 2>/dev/null; echo $$ > "$0" && exec "$@""#;
