//! The keeper's thread, and the way to it.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::index::keeper::{Job, Keeper};
use crate::index::renew;
use crate::last_resort;

/// The keeper's thread and the way to it.
#[derive(Debug)]
pub(crate) struct KeeperThread {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl KeeperThread {
    pub(crate) fn start(keeper: Keeper, every: Duration) -> std::io::Result<Self> {
        let (jobs, receiver) = std::sync::mpsc::channel();
        let store = Arc::clone(&keeper.segments.store);
        let spool = keeper.tree.path().parent();
        let folders = spool.map(renew::folders);
        // Most likely a damaged page of sled's has panicked, and would again after each start.
        let distrust = move || {
            for folder in folders.into_iter().flatten() {
                if let Err(e) = store.remove_dir(&folder) {
                    tracing::error!(path = %folder.display(), error = %e, "cannot remove the index");
                }
            }
        };
        let work = move || last_resort::guard(|| keeper.run(&receiver, every), distrust);
        let thread = std::thread::Builder::new()
            .name("spool-index".into())
            .spawn(work)?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(crate) fn jobs(&self) -> Option<Sender<Job>> {
        self.jobs.clone()
    }

    /// Ends the thread after what was asked is done. Every clone of the sender must be gone.
    pub(crate) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It does not end by a panic: the process would have.
            let _ = thread.join();
        }
    }
}
