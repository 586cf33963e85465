//! The keeper's thread, and the way to it.

use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::index::keeper::{Job, Keeper};

/// The keeper's thread and the way to it.
#[derive(Debug)]
pub(crate) struct KeeperThread {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl KeeperThread {
    pub(crate) fn start(keeper: Keeper, every: Duration) -> std::io::Result<Self> {
        let (jobs, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("spool-index".into())
            .spawn(move || keeper.run(&receiver, every))?;
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
            // A panic there was reported by the panic hook; the next start rebuilds what it left.
            let _ = thread.join();
        }
    }
}
