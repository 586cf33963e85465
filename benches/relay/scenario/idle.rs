//! Scenario 8: idle cost. 10,000 connections that said EHLO and then nothing: memory of each; and CPU while nothing happens.
//!
//! Memory is that of the system's processes; what the kernel keeps for a socket is not in it. The system has relayed some mail before, so
//! that what it allocates once does not count as the connections'.

use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::relay::warm_up;
use super::{USUAL_CONNECTIONS, relays, usual_load};
use crate::report::figure::{Figure, Unit};
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::stand::{Plan, Stand, mebibytes};
use crate::system::{Running, System};

const NAME: &str = "idle";

/// Measures, and looks at memory.
pub(super) fn run(bench: &mut Bench) {
    let wanted = bench.scaled(CONNECTIONS);
    let connections = wanted.min(files_at_most().saturating_sub(FILES_SPARE));
    if connections < wanted {
        bench.note(format!(
            "idle: {connections} connections instead of {wanted}: the limit of open files is too low; hint: ulimit -n {}",
            wanted + FILES_SPARE
        ));
    }
    let label = format!("{connections} idle connections");
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    let cases = [(label.clone(), connections)];
    bench.in_turn(
        NAME,
        &cases,
        &systems,
        repeats,
        |bench, system, connections, _| measure(bench, system, *connections),
    );
    let median = bench.median(NAME, System::Onward, &label, Figure::MemoryPerConnection);
    if let Some(each) = median {
        let show = |value| Unit::KiB.show(value);
        let text = format!("memory with {label}, each");
        bench.goal(Goal::new(text, Bound::AtMost, 20.0, each, show, ""));
    }
}

fn measure(bench: &Bench, system: System, connections: u64) -> io::Result<Vec<(Point, Repeat)>> {
    let plan = Plan {
        connections_in: connections as usize + USUAL_CONNECTIONS,
        ..Plan::default()
    };
    let stand = Stand::start(bench, system, &plan)?;
    let load = usual_load(bench, &stand, USUAL_CONNECTIONS)?;
    warm_up(bench, &stand, &load)?;
    let running = stand.running()?;
    let (alone, before) = doing_nothing(running)?;
    let mut open = Vec::new();
    for number in 0..connections {
        open.push(connect(running.address()).map_err(|error| {
            io::Error::other(format!("connection {number} of {connections}: {error}"))
        })?);
        bench.progress.set(number, connections);
    }
    let (mut with, after) = doing_nothing(running)?;
    let each = after.saturating_sub(before) as f64 / connections as f64;
    with.set(Figure::MemoryPerConnection, each / 1024.0);
    let point = |label: String| Point::named(label, connections as usize, 0);
    Ok(vec![
        (point("nobody there".to_owned()), alone),
        (point(format!("{connections} idle connections")), with),
    ])
}

/// CPU over some seconds, and memory at their end, in octets.
fn doing_nothing(running: &Running) -> io::Result<(Repeat, u64)> {
    // What is still being written and freed behind the last delivery is not idle cost.
    std::thread::sleep(SETTLE);
    let before = running.cost()?;
    std::thread::sleep(WATCH);
    let after = running.cost()?;
    let cpu = after.since(&before).cpu;
    let mut repeat = Repeat::default();
    repeat
        .set(Figure::IdleCpu, cpu.as_secs_f64() / WATCH.as_secs_f64())
        .set(Figure::Memory, mebibytes(after.memory));
    Ok((repeat, after.memory))
}

/// A client that has said EHLO.
fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::with_capacity(1024, &stream);
    expect(&mut reader, "220")?;
    (&stream).write_all(b"EHLO idle.example\r\n")?;
    expect(&mut reader, "250")?;
    Ok(stream)
}

/// Reads one reply, which must begin so.
fn expect(reader: &mut impl io::BufRead, code: &str) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if !line.starts_with(code) {
            return Err(io::Error::other(format!("it says {line:?}")));
        }
        if line.as_bytes().get(3) == Some(&b' ') {
            return Ok(());
        }
    }
}

/// Open files that this process may have, as many as it can allow itself.
fn files_at_most() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum.unwrap_or(u64::MAX)
    } else {
        limit.current.unwrap_or(u64::MAX)
    }
}

const CONNECTIONS: u64 = 10_000;
/// Open files of this process for all else.
const FILES_SPARE: u64 = 1000;
const SETTLE: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_secs(10);
