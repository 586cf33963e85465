//! The sink's thread: listens on all addresses, accepts, and opens and closes doors when told to.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::ledger::Ledger;
use super::site::Site;
use super::{Shared, SinkSettings, session};
use crate::cpu::ThreadCpu;

/// To listen at a site, or not to.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) site: usize,
    pub(super) listen: bool,
    /// Gets the answer.
    pub(super) done: mpsc::Sender<io::Result<()>>,
}

/// What the handle needs.
pub(super) struct Started {
    pub(super) shared: Arc<Shared>,
    pub(super) orders: UnboundedSender<Order>,
    pub(super) thread: JoinHandle<()>,
    pub(super) cpu: ThreadCpu,
}

/// Starts the thread; returns when all addresses are bound.
pub(super) fn start(settings: SinkSettings) -> io::Result<Started> {
    let (ready, started) = mpsc::channel();
    let (orders, coming) = unbounded_channel();
    let thread = thread::Builder::new().name("sink".to_owned());
    let thread = thread.spawn(move || run(settings, &ready, coming))?;
    match started.recv() {
        Ok(Ok((shared, cpu))) => Ok(Started {
            shared,
            orders,
            thread,
            cpu,
        }),
        Ok(Err(error)) => Err(error),
        Err(_ended) => Err(io::Error::other("the sink's thread ended at its start")),
    }
}

type Ready = mpsc::Sender<io::Result<(Arc<Shared>, ThreadCpu)>>;

fn run(settings: SinkSettings, ready: &Ready, orders: UnboundedReceiver<Order>) {
    let serving = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let bound = runtime.block_on(async { bind_all(&settings) })?;
        io::Result::Ok((runtime, bound))
    };
    // Who does not wait for the answer any more has dropped the orders too.
    match serving() {
        Err(error) => drop(ready.send(Err(error))),
        Ok((runtime, (shared, listeners))) => {
            let _ = ready.send(Ok((Arc::clone(&shared), ThreadCpu::of_this_thread())));
            runtime.block_on(obey(shared, listeners, orders, settings.seed));
        }
    }
}

fn bind_all(settings: &SinkSettings) -> io::Result<(Arc<Shared>, Vec<TcpListener>)> {
    let listeners = settings.binds.iter().map(|address| bind(*address));
    let listeners: Vec<_> = listeners.collect::<io::Result<_>>()?;
    let sites = listeners.iter().map(|listener| {
        let site = Site::new(listener.local_addr()?, settings.script.clone());
        Ok(Arc::new(site))
    });
    let shared = Shared {
        sites: sites.collect::<io::Result<_>>()?,
        ledger: Mutex::new(Ledger::default()),
        wanted: Mutex::new(None),
        reached: Condvar::new(),
        collects_paths: AtomicBool::new(false),
        acceptor: OnceLock::new(),
    };
    Ok((Arc::new(shared), listeners))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    let bound = socket.bind(address).and_then(|()| socket.listen(BACKLOG));
    bound.map_err(|error| io::Error::other(format!("cannot listen on {address}: {error}")))
}

/// Listens and takes orders until no sender of orders is left.
async fn obey(
    shared: Arc<Shared>,
    listeners: Vec<TcpListener>,
    mut orders: UnboundedReceiver<Order>,
    seed: u64,
) {
    let listen = |site: usize, listener: TcpListener| {
        let site = Arc::clone(&shared.sites[site]);
        Some(tokio::spawn(accept(
            listener,
            site,
            Arc::clone(&shared),
            seed,
        )))
    };
    let mut open: Vec<_> = listeners
        .into_iter()
        .enumerate()
        .map(|(site, listener)| listen(site, listener))
        .collect();
    while let Some(order) = orders.recv().await {
        let door = &mut open[order.site];
        let mut done = Ok(());
        match (order.listen, door.take()) {
            (true, Some(listening)) => *door = Some(listening),
            (true, None) => match bind(shared.sites[order.site].address) {
                Ok(listener) => *door = listen(order.site, listener),
                Err(error) => done = Err(error),
            },
            (false, None) => {}
            (false, Some(listening)) => {
                listening.abort();
                // The socket is closed when the task has ended.
                let _ = listening.await;
            }
        }
        // Who asked may have stopped waiting.
        let _ = order.done.send(done);
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>, shared: Arc<Shared>, seed: u64) {
    for number in 0.. {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, most likely: some may be free later.
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        match site.admit() {
            Some(open) => {
                // Every connection draws its own.
                let seed = seed ^ super::site::hash(&(site.address, number));
                let shared = Arc::clone(&shared);
                tokio::spawn(session::serve(stream, peer, open, shared, seed));
            }
            // Not to linger sends a reset.
            None => drop(stream.set_zero_linger()),
        }
    }
}

const BACKLOG: u32 = 4096;
const AFTER_ERROR: Duration = Duration::from_millis(10);
