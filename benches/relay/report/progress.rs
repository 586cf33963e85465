//! The progress line on standard error: what runs, how far it is, what is left of the time.
//!
//! Nothing is shown when standard error is no terminal, except a line for each finished measurement.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Where those who work say how far they are. Clones share one line.
#[derive(Clone)]
pub(crate) struct Progress {
    shared: Arc<Shared>,
}

struct Shared {
    done: AtomicU64,
    of: AtomicU64,
    /// What runs now; empty: nothing.
    task: Mutex<String>,
    is_over: AtomicBool,
    is_shown: bool,
}

/// Draws the line until it is dropped.
pub(crate) struct Drawing {
    progress: Progress,
    thread: Option<JoinHandle<()>>,
}

/// Columns of the bar.
const WIDTH: u64 = 24;

impl Progress {
    /// A line on the terminal, if there is one, and what draws it.
    pub(crate) fn on_terminal(deadline: Instant) -> (Self, Drawing) {
        let progress = Self::new(stderr().is_terminal());
        let thread = progress.shared.is_shown.then(|| {
            let progress = progress.clone();
            thread::spawn(move || progress.draw_until_over(deadline))
        });
        let drawing = Drawing {
            progress: progress.clone(),
            thread,
        };
        (progress, drawing)
    }

    fn new(is_shown: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                done: AtomicU64::new(0),
                of: AtomicU64::new(0),
                task: Mutex::new(String::new()),
                is_over: AtomicBool::new(false),
                is_shown,
            }),
        }
    }

    /// Begins something new.
    pub(crate) fn task(&self, what: impl Display) {
        *self.lock() = what.to_string();
        self.set(0, 0);
    }

    /// So much is done. Costs two stores: call it every thousand messages or so.
    pub(crate) fn set(&self, done: u64, of: u64) {
        self.shared.done.store(done, Ordering::Relaxed);
        self.shared.of.store(of, Ordering::Relaxed);
    }

    /// A line that stays, above the progress line.
    pub(crate) fn say(&self, line: impl Display) {
        let _task = self.lock();
        let mut out = stderr().lock();
        // Nobody to tell when standard error is closed.
        let _ = if self.shared.is_shown {
            writeln!(out, "\r{line}\x1b[K")
        } else {
            writeln!(out, "{line}")
        };
    }

    fn draw_until_over(&self, deadline: Instant) {
        while !self.shared.is_over.load(Ordering::Relaxed) {
            {
                let task = self.lock();
                let left = deadline.saturating_duration_since(Instant::now());
                let done = self.shared.done.load(Ordering::Relaxed);
                let of = self.shared.of.load(Ordering::Relaxed);
                let _ = write!(stderr().lock(), "\r{}\x1b[K", line(&task, done, of, left));
            }
            thread::sleep(Duration::from_millis(250));
        }
        let _ = write!(stderr().lock(), "\r\x1b[K");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, String> {
        self.shared
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        self.progress.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only draws.
            let _ = thread.join();
        }
    }
}

/// `███████░░░░ 41 %  relay, Onward, 100 connections, 10 KiB  (12 min left)`
pub(crate) fn line(task: &str, done: u64, of: u64, left: Duration) -> String {
    let done = done.min(of);
    let minutes = left.as_secs().div_ceil(60);
    let end = format!("{task}  (≤ {minutes} min left)");
    if of == 0 {
        return format!("{}  {end}", "·".repeat(WIDTH as usize));
    }
    let full = usize::try_from(done * WIDTH / of).unwrap_or(0);
    let bar = "█".repeat(full) + &"░".repeat(WIDTH as usize - full);
    format!("{bar} {:>3} %  {end}", done * 100 / of)
}
