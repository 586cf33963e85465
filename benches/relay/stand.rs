//! A test stand: one system under test in a clean folder, and the sink that receives what it sends on.
//!
//! Everything ends and goes when the stand is dropped: the system, the sink, the folder. It does not know what is measured.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::cost::Cost;
use crate::load::{self, Load, Sent};
use crate::report::figure::Figure;
use crate::report::progress::Progress;
use crate::report::results::Repeat;
use crate::runner::Bench;
use crate::sink::{Door, Phase, Received, Script, Sink, SinkSettings};
use crate::stop;
use crate::system::{Key, Running, Setup, System};

/// What a stand is to have.
pub(crate) struct Plan {
    /// Hosted addresses and targets, as in [`Setup::forwards`].
    pub(crate) forwards: Vec<(String, String)>,
    /// Domains, or `*`, and the site that takes their mail, by number from 0.
    pub(crate) routes: Vec<(String, usize)>,
    /// Addresses of the sink.
    pub(crate) sites: usize,
    pub(crate) connections_in: usize,
    pub(crate) connections_out: usize,
    /// Octets.
    pub(crate) message_size: u64,
    pub(crate) retry_quickly: bool,
    pub(crate) tls: Option<Key>,
    pub(crate) checks: Option<SocketAddr>,
    pub(crate) extra: &'static str,
}

/// A system and its sink, running.
pub(crate) struct Stand {
    // Dropped in this order: the system first, its folder last.
    running: Option<Running>,
    pub(crate) sink: Sink,
    setup: Setup,
    system: System,
    _folder: Folder,
}

/// A load, and all that came of it.
pub(crate) struct Measured {
    pub(crate) sent: Sent,
    pub(crate) received: Received,
    /// What it cost the system; memory is that at the end.
    pub(crate) cost: Cost,
    /// CPU time of load and sink.
    pub(crate) tools_cpu: Duration,
    /// Whether there was a system: without one there is no bill, and nobody to rewrite senders.
    has_relay: bool,
}

/// A temporary folder that Ctrl-C removes, too.
pub(crate) struct Folder(TempDir);

impl Default for Plan {
    /// All mail to `in.example` goes on to `out.example`, all of which, and all senders, are one site.
    fn default() -> Self {
        Self {
            forwards: vec![("@in.example".to_owned(), "box@out.example".to_owned())],
            routes: vec![("*".to_owned(), 0)],
            sites: 1,
            connections_in: 500,
            connections_out: CONNECTIONS_OUT,
            message_size: 50 << 20,
            retry_quickly: false,
            tls: None,
            checks: None,
            extra: "",
        }
    }
}

impl Stand {
    /// Makes a folder in the bench's, starts the sink, then the system.
    ///
    /// # Errors
    /// When one of them does not start.
    pub(crate) fn start(bench: &Bench, system: System, plan: &Plan) -> io::Result<Self> {
        let folder = Folder::new(&bench.settings.folder)?;
        let sink = Sink::start(SinkSettings {
            binds: (0..plan.sites).map(site_address).collect(),
            script: Script::default(),
            seed: bench.settings.seed,
        })?;
        let setup = plan.setup(&folder, sink.addresses());
        let running = system.start(&setup)?;
        bench.heard(system, running.how());
        Ok(Self {
            running: Some(running),
            sink,
            setup,
            system,
            _folder: folder,
        })
    }

    /// The system under test.
    ///
    /// # Errors
    /// When it was stopped.
    pub(crate) fn running(&self) -> io::Result<&Running> {
        let stopped = || io::Error::other("the system does not run");
        self.running.as_ref().ok_or_else(stopped)
    }

    /// Stops the system as an operator would.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        self.running.take().map_or(Ok(()), Running::stop)
    }

    /// Kills the system, as a crash would.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.running.take().map_or(Ok(()), Running::kill)
    }

    /// Starts the system again on what it left.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.running = Some(self.system.start(&self.setup)?);
        Ok(())
    }

    /// Octets on disk in the system's folder.
    pub(crate) fn disk(&self) -> u64 {
        disk_usage(&self.setup.folder)
    }

    /// From now on the site refuses connections, and cuts those that it has at their next MAIL.
    ///
    /// # Errors
    /// When the sink has ended.
    pub(crate) fn take_away(&self, site: usize) -> io::Result<()> {
        let mut script = Script::default();
        script.at_mut(Phase::Mail).drop = 1.0;
        self.sink.set_script_of(site, script);
        self.sink.set_door(site, Door::Closed)
    }

    /// The site takes mail again.
    ///
    /// # Errors
    /// When its address cannot be bound again.
    pub(crate) fn bring_back(&self, site: usize) -> io::Result<()> {
        self.sink.set_script_of(site, Script::default());
        self.sink.set_door(site, Door::Open)
    }

    /// Sends a load and waits until all of it has arrived or `patience`, asked after the last answer, is over.
    ///
    /// # Errors
    /// When the load cannot run, or the system takes nothing at all.
    pub(crate) fn measure(
        &self,
        load: &Load,
        patience: impl FnOnce() -> Duration,
        progress: &Progress,
    ) -> io::Result<Measured> {
        let running = self.running()?;
        let before = running.cost()?;
        let sink_before = self.sink.cpu();
        let sent = send(load, progress)?;
        self.sink.wait_for(&sent, patience());
        let after = running.cost()?;
        let received = self.sink.report(&sent);
        let tools_cpu = sent.cpu + self.sink.cpu().saturating_sub(sink_before);
        self.sink.forget(load.run);
        Ok(Measured {
            sent,
            received,
            cost: after.since(&before),
            tools_cpu,
            has_relay: self.system != System::Direct,
        })
    }
}

/// Sends a load and shows how far it is.
///
/// # Errors
/// When it cannot run, or nothing was accepted.
pub(crate) fn send(load: &Load, progress: &Progress) -> io::Result<Sent> {
    let watched = load::Progress::default();
    let done = || watched.accepted.load(Ordering::Relaxed) + watched.failed.load(Ordering::Relaxed);
    let sent = thread::scope(|scope| {
        let sending = scope.spawn(|| load::send(load, &watched));
        while !sending.is_finished() {
            progress.set(done(), load.messages);
            thread::sleep(LOOK);
        }
        sending
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the load panicked")))
    })?;
    if sent.accepted == 0 {
        let why = sent.first_error.as_deref().unwrap_or("no reason known");
        return Err(io::Error::other(format!("nothing was accepted: {why}")));
    }
    Ok(sent)
}

impl Measured {
    /// Distinct copies per second, from the load's start to the last of them.
    pub(crate) fn rate(&self) -> f64 {
        let last = self.received.last.unwrap_or_default();
        self.received.distinct as f64 / last.as_secs_f64()
    }

    /// The figures that every load gives.
    pub(crate) fn figures(&self) -> Repeat {
        let (sent, received, cost) = (&self.sent, &self.received, &self.cost);
        let copies = received.distinct as f64;
        let octets = sent.octets as f64 / sent.accepted as f64;
        let last = received.last.unwrap_or_default();
        let mut repeat = Repeat::default();
        repeat
            .set(Figure::Rate, self.rate())
            .set(Figure::AcceptRate, sent.rate())
            .set(
                Figure::Tail,
                last.saturating_sub(sent.elapsed).as_secs_f64(),
            )
            .set(Figure::ToolsCpu, micros(self.tools_cpu) / copies)
            .set(Figure::Lost, received.lost as f64)
            .set(Figure::Duplicates, received.duplicates as f64)
            .set(Figure::Damaged, received.damaged as f64);
        if self.has_relay {
            repeat
                .set(Figure::Cpu, micros(cost.cpu) / copies)
                .set(Figure::Written, cost.written_by_processes as f64 / copies)
                .set(Figure::Memory, mebibytes(cost.memory_peak))
                .set(Figure::Srs, received.srs_share);
        }
        if let Some(disk) = cost.disk {
            let each = disk.written as f64 / copies;
            repeat
                .set(Figure::DiskWritten, each)
                .set(Figure::WrittenRatio, each / octets);
        }
        self.set_latencies(&mut repeat);
        repeat
    }

    fn set_latencies(&self, repeat: &mut Repeat) {
        let millis = |micros: u64| micros as f64 / 1000.0;
        let accept = self.sent.latency.summary();
        let arrival = self.received.latency.summary();
        for (figure, micros) in [
            (Figure::AcceptP50, accept.p50),
            (Figure::AcceptP99, accept.p99),
            (Figure::AcceptP999, accept.p999),
            (Figure::EndToEndP50, arrival.p50),
            (Figure::EndToEndP99, arrival.p99),
            (Figure::EndToEndP999, arrival.p999),
        ] {
            repeat.set(figure, millis(micros));
        }
    }
}

impl Plan {
    /// As the systems want it, with the addresses that the sink got.
    pub(crate) fn setup(&self, folder: &Folder, sites: &[SocketAddr]) -> Setup {
        let routes = self.routes.iter();
        Setup {
            folder: folder.path().to_owned(),
            forwards: self.forwards.clone(),
            routes: routes
                .map(|(domain, site)| (domain.clone(), sites[*site]))
                .collect(),
            connections_in: self.connections_in,
            connections_out: self.connections_out,
            message_size: self.message_size,
            retry_quickly: self.retry_quickly,
            tls: self.tls,
            checks: self.checks,
            extra: self.extra,
        }
    }
}

impl Folder {
    /// Makes one that other users may enter: some systems change users.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new(in_: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("onward-bench-")
            .tempdir_in(in_)?;
        stop::register_folder(folder.path());
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The folder itself goes after this, with its `TempDir`.
        stop::unregister_folder(self.0.path());
    }
}

/// Site n: 127.0.1.1 and on, 250 to a network, on any free port.
pub(crate) fn site_address(site: usize) -> SocketAddr {
    let (network, host) = (site / 250 + 1, site % 250 + 1);
    let octet = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    (Ipv4Addr::new(127, 0, octet(network), octet(host)), 0).into()
}

/// Octets in use by a folder and all in it; what goes meanwhile does not count.
pub(crate) fn disk_usage(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => disk_usage(&entry.path()),
            Ok(data) => data.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn mebibytes(octets: u64) -> f64 {
    octets as f64 / f64::from(1 << 20)
}

/// To one site. More do not help any of the systems on this kind of machine.
const CONNECTIONS_OUT: usize = 50;
/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(20);
