//! What is left to do when the user presses Ctrl-C: end what was started, remove what was made, and exit.
//!
//! Systems register their processes and folders here while these exist. The handler does not try to unwind the bench, which may be deep in
//! a wait; it kills, removes, and exits with 130.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

/// What must not outlive this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    /// Process ids; of a process group's leader, the group.
    pub(crate) processes: BTreeSet<i32>,
    /// Folders of control groups: all processes in one end.
    pub(crate) groups: BTreeSet<PathBuf>,
    pub(crate) folders: BTreeSet<PathBuf>,
}

static REQUESTED: AtomicBool = AtomicBool::new(false);
static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    processes: BTreeSet::new(),
    groups: BTreeSet::new(),
    folders: BTreeSet::new(),
});

/// Whether the user wants to end it.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// A process to be killed on Ctrl-C, with its process group if it leads one.
pub(crate) fn register(process: u32) {
    if let Ok(id) = i32::try_from(process) {
        registry().processes.insert(id);
    }
}

/// The process has ended; its number may soon be another's.
pub(crate) fn unregister(process: u32) {
    if let Ok(id) = i32::try_from(process) {
        registry().processes.remove(&id);
    }
}

/// A control group (cgroup v2) whose processes are killed on Ctrl-C.
pub(crate) fn register_group(group: &Path) {
    registry().groups.insert(group.to_owned());
}

/// The control group is gone.
pub(crate) fn unregister_group(group: &Path) {
    registry().groups.remove(group);
}

/// A folder to be removed on Ctrl-C.
pub(crate) fn register_folder(folder: &Path) {
    registry().folders.insert(folder.to_owned());
}

/// The folder is gone, or is to stay.
pub(crate) fn unregister_folder(folder: &Path) {
    registry().folders.remove(folder);
}

/// Installs the handler of SIGINT, SIGTERM and SIGHUP.
///
/// # Errors
/// When the thread or the signals cannot be had.
pub(crate) fn install() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = {
        // Registering needs the runtime's reactor.
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    let wait = async move {
        tokio::select! {
            _ = signals.0.recv() => {},
            _ = signals.1.recv() => {},
            _ = signals.2.recv() => {},
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(wait);
            REQUESTED.store(true, Ordering::Relaxed);
            let registered = registry().clone();
            registered.clean_up();
            exit(130);
        })?;
    Ok(())
}

impl Registry {
    /// Kills and removes all of it.
    pub(crate) fn clean_up(&self) {
        // Each of these may be gone by now, and a process may lead no group.
        for group in &self.groups {
            let _ = fs::write(group.join("cgroup.kill"), "1");
        }
        for id in self.processes.iter().filter_map(|id| Pid::from_raw(*id)) {
            let _ = kill_process_group(id, Signal::KILL);
            let _ = kill_process(id, Signal::KILL);
        }
        for folder in &self.folders {
            until_gone(folder, |folder| fs::remove_dir_all(folder));
        }
        for group in &self.groups {
            until_gone(group, |group| fs::remove_dir(group));
        }
    }
}

/// What is being killed may still write: tries for some time.
fn until_gone(path: &Path, remove: impl Fn(&Path) -> io::Result<()>) {
    let end = Instant::now() + Duration::from_secs(5);
    while path.exists() && Instant::now() < end {
        let _ = remove(path);
        thread::sleep(Duration::from_millis(20));
    }
}

/// A panic elsewhere must not keep the handler from its work.
fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}
