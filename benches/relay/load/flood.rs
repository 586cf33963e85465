//! A flood of connections: so many new ones a second, from very many addresses in turn.
//!
//! Of three, one is silent and holds its connection as long as the server lets it, one closes at once, and one talks before it is greeted
//! and then holds its connection, too.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client;
use super::ticker::Ticker;
use crate::descriptors;

/// A flood that runs on a thread of its own, until dropped.
#[derive(Debug)]
pub(crate) struct Flood {
    connected: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Flood {
    /// Begins it, from 127.1.0.1 and on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(to: SocketAddr, per_second: f64, sources: u16) -> io::Result<Self> {
        descriptors::raise_limit();
        let (connected, stop) = (Arc::default(), Arc::default());
        let (counter, stopped) = (Arc::clone(&connected), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("flood".to_owned());
        let thread = thread.spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(run(to, per_second, sources, &counter, &stopped))
        })?;
        Ok(Self {
            connected,
            stop,
            thread: Some(thread),
        })
    }

    /// Connections that were made so far.
    pub(crate) fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What went wrong shows in the count.
            let _ = thread.join();
        }
    }
}

async fn run(
    to: SocketAddr,
    per_second: f64,
    sources: u16,
    connected: &Arc<AtomicU64>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let ticker = Ticker::start(TICK)?;
    let start = Instant::now();
    let mut begun = 0;
    while !stop.load(Ordering::Relaxed) {
        ticker.tick().await?;
        let due = (start.elapsed().as_secs_f64() * per_second) as usize;
        for number in begun..due {
            tokio::spawn(one(to, sources, number, Arc::clone(connected)));
        }
        begun = due;
    }
    Ok(())
}

async fn one(
    to: SocketAddr,
    sources: u16,
    number: usize,
    connected: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut stream = client::connect(to, sources, number).await?;
    connected.fetch_add(1, Ordering::Relaxed);
    if number % 3 == 1 {
        return Ok(());
    }
    if number % 3 == 2 {
        stream.write_all(b"EHLO flood.example\r\n").await?;
    }
    let mut heard = [0; 1024];
    while stream.read(&mut heard).await? > 0 {}
    Ok(())
}

const TICK: Duration = Duration::from_millis(1);
