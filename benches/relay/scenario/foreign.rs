//! Scenario 1 with Postfix's tools instead of ours: smtp-source sends, smtp-sink receives.
//!
//! For readers who do not trust our tools. smtp-source makes short-lived load: connections are kept (`-d`), the size is of the body. smtp-sink
//! counts messages; the rate is from the start of smtp-source to the last count. Neither tells latencies, losses or senders.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, percent, relay};
use crate::load::Sizes;
use crate::report::figure::{Figure, Unit};
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::{Bench, LoadPoint, Points};
use crate::stand::{Folder, Plan, mebibytes, micros};
use crate::stop;
use crate::system::System;

/// The scenario's name in the results.
pub(super) const NAME: &str = "relay, Postfix's tools";

/// Measures the given points, and compares with the tools alone.
pub(super) fn run(
    bench: &mut Bench,
    points: &Points<LoadPoint>,
    systems: &[System],
    repeats: usize,
) {
    let (Some(source), Some(sink)) = (find("smtp-source"), find("smtp-sink")) else {
        bench.note(
            "no comparison with smtp-source and smtp-sink: they are not installed; hint: apt-get install postfix"
                .to_owned(),
        );
        return;
    };
    bench.interleave(NAME, points, systems, repeats, |bench, system, point, _| {
        measure(bench, system, *point, &source, &sink)
    });
    let label = relay::main_label();
    let median = |system| bench.median(NAME, system, &label, Figure::Rate);
    if let (Some(ours), Some(limit)) = (median(System::Onward), median(System::Direct)) {
        let show = |value| Unit::PerSecond.show(value);
        let detail = format!("{} of {}", show(ours), show(limit));
        let text = "relay rate as a share of smtp-source → smtp-sink without a relay";
        bench.goal(Goal::new(
            text,
            Bound::AtLeast,
            0.4,
            ours / limit,
            percent,
            &detail,
        ));
    }
}

/// The main point alone, for systems whose share of the limit is wanted.
pub(super) fn main_point() -> [(Point, LoadPoint); 1] {
    let point = LoadPoint {
        connections: super::USUAL_CONNECTIONS,
        sizes: super::USUAL_SIZE,
    };
    [(point.point(), point)]
}

fn measure(
    bench: &Bench,
    system: System,
    point: LoadPoint,
    source: &Path,
    sink: &Path,
) -> io::Result<Repeat> {
    let folder = Folder::new(&bench.settings.folder)?;
    let sink = ForeignSink::start(sink)?;
    let plan = Plan {
        connections_in: point.connections + 20,
        ..Plan::default()
    };
    let running = system.start(&plan.setup(&folder, &[sink.address]))?;
    let send = |messages: u64| -> io::Result<Duration> {
        let wanted = sink.count() + messages;
        let begun = Instant::now();
        run_source(source, running.address(), point, messages)?;
        let end = begun + bench.patience(PATIENCE);
        while sink.count() < wanted {
            if Instant::now() > end {
                let missing = wanted - sink.count();
                return Err(io::Error::other(format!(
                    "{missing} messages did not arrive"
                )));
            }
            bench
                .progress
                .set(messages - (wanted - sink.count()).min(messages), messages);
            thread::sleep(Duration::from_millis(5));
        }
        Ok(begun.elapsed())
    };
    let first = 200.max(2 * point.connections as u64);
    let warm = send(first)?;
    let guess = (first as f64 / warm.as_secs_f64()) as u64;
    let warm = send(guess.max(first))?;
    let rate = guess.max(first) as f64 / warm.as_secs_f64();
    let messages = ((rate * bench.settings.length.as_secs_f64()) as u64).max(first);
    let before = running.cost()?;
    let took = send(messages)?;
    let cost = running.cost()?.since(&before);
    let mut repeat = Repeat::default();
    repeat.set(Figure::Rate, messages as f64 / took.as_secs_f64());
    if system != System::Direct {
        repeat
            .set(Figure::Cpu, micros(cost.cpu) / messages as f64)
            .set(Figure::Memory, mebibytes(cost.memory_peak));
    }
    running.stop()?;
    Ok(repeat)
}

fn run_source(program: &Path, to: SocketAddr, point: LoadPoint, messages: u64) -> io::Result<()> {
    let size = match point.sizes {
        Sizes::Fixed(octets) => octets,
        Sizes::Real => return Err(io::Error::other("smtp-source knows fixed sizes only")),
    };
    let mut command = Command::new(program);
    command
        .args(["-d", "-f", "user@d1.origin.example", "-t", "box@in.example"])
        .args(["-s", &point.connections.to_string()])
        .args(["-m", &messages.to_string()])
        .args(["-l", &size.to_string()])
        .arg(to.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut child = Guard::spawn(&mut command)?;
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.0.try_wait()? {
            return match status.success() {
                true => Ok(()),
                false => Err(io::Error::other(format!("smtp-source: {status}"))),
            };
        }
        if Instant::now() > end {
            return Err(io::Error::other("smtp-source does not end"));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// smtp-sink, and its running count.
struct ForeignSink {
    address: SocketAddr,
    messages: Arc<AtomicU64>,
    _child: Guard,
}

impl ForeignSink {
    fn start(program: &Path) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::new(127, 0, 1, 1), 0))?.local_addr()?;
        let mut command = Command::new(program);
        command
            // A counter line for every message; ten years of Postfix print it the same.
            .args(["-c", "-u", "root", &address.to_string(), "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = Guard::spawn(&mut command)?;
        let messages = Arc::new(AtomicU64::new(0));
        if let Some(out) = child.0.stdout.take() {
            let messages = Arc::clone(&messages);
            thread::spawn(move || follow(out, &messages));
        }
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > end {
                return Err(io::Error::other("smtp-sink does not listen"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self {
            address,
            messages,
            _child: child,
        })
    }

    fn count(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

/// Reads `sess=N quit=N mesg=N\r` until the end.
fn follow(mut out: impl io::Read, messages: &AtomicU64) {
    let mut tail = Vec::new();
    let mut buffer = [0; 1 << 16];
    while let Ok(length @ 1..) = out.read(&mut buffer) {
        tail.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&tail);
        if let Some(count) = last_count(&text) {
            messages.store(count, Ordering::Relaxed);
        }
        tail = tail.split_off(tail.len().saturating_sub(100));
    }
}

/// The last whole count of messages in the counter's output.
pub(crate) fn last_count(text: &str) -> Option<u64> {
    let whole = &text[..text.rfind('\r')?];
    let (_, count) = whole.rsplit_once("mesg=")?;
    let digits = count.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// A child that ends when this is dropped.
struct Guard(Child);

impl Guard {
    fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        stop::register(child.id());
        Ok(Self(child))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
        stop::unregister(self.0.id());
    }
}

/// A program in the path, or where Debian puts those of administrators.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
