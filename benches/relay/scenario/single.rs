//! Scenario 1, one connection, one message at a time: accept latency beside a bare fdatasync.
//!
//! The bare one is the least that a durable 250 can cost: a `pwrite` of as many octets into a file whose blocks are on disk already, and
//! one fdatasync. Both are measured in turn, in small rounds, on the same file system.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use super::{relay, relays, times, usual_load};
use crate::latency::Latency;
use crate::report::figure::{Figure, Unit};
use crate::report::goal::{Bound, Goal};
use crate::report::results::{Point, Repeat};
use crate::runner::Bench;
use crate::stand::{Folder, Plan, Stand};
use crate::system::System;

const NAME: &str = "relay, one at a time";

/// Measures the relays.
pub(crate) fn run(bench: &mut Bench) {
    let point = Point::load(1, SIZE as u64);
    let label = point.label.clone();
    let systems = relays(bench);
    let repeats = bench.settings.repeats;
    bench.interleave(
        NAME,
        &[(point, ())],
        &systems,
        repeats,
        |bench, system, (), _| measure(bench, system),
    );
    let median = |figure| bench.median(NAME, System::Onward, &label, figure);
    let ratio = median(Figure::SyncRatio);
    if let (Some(ratio), Some(accept), Some(sync)) =
        (ratio, median(Figure::AcceptP50), median(Figure::SyncP50))
    {
        let show = |value| Unit::Milliseconds.show(value);
        let detail = format!("medians {} against {}", show(accept), show(sync));
        let text = "one connection, one message at a time: accept latency against a bare fdatasync";
        bench.goal(Goal::new(text, Bound::AtMost, 1.3, ratio, times, &detail));
    }
}

fn measure(bench: &Bench, system: System) -> io::Result<Repeat> {
    let folder = Folder::new(&bench.settings.folder)?;
    let mut bare = Bare::new(&folder)?;
    let stand = Stand::start(bench, system, &Plan::default())?;
    let (mut accept, mut sync) = (Latency::new(), Latency::new());
    let rounds = if bench.settings.is_quick { 2 } else { ROUNDS };
    for round in 0..rounds {
        let mut load = usual_load(bench, &stand, 1)?;
        load.messages = MESSAGES;
        let measured = relay::run_load(bench, &stand, &load)?;
        let mut syncs = Latency::new();
        bare.measure(MESSAGES, &mut syncs)?;
        // The first round warms both up.
        if round > 0 {
            accept.merge(&measured.sent.latency);
            sync.merge(&syncs);
        }
    }
    let (accept, sync) = (accept.summary(), sync.summary());
    let millis = |micros: u64| micros as f64 / 1000.0;
    let mut repeat = Repeat::default();
    repeat
        .set(Figure::AcceptP50, millis(accept.p50))
        .set(Figure::AcceptP99, millis(accept.p99))
        .set(Figure::SyncP50, millis(sync.p50))
        .set(Figure::SyncP99, millis(sync.p99))
        .set(Figure::SyncRatio, accept.p50 as f64 / sync.p50 as f64);
    Ok(repeat)
}

/// A file to write to, over and over.
struct Bare {
    file: File,
    message: Vec<u8>,
    at: u64,
}

impl Bare {
    /// Makes the file, with all its blocks written: the first write of a block costs the file system a record of its own.
    fn new(folder: &Folder) -> io::Result<Self> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(folder.path().join("bare"))?;
        let message = vec![b'x'; SIZE];
        for at in 0..FILE_MESSAGES {
            file.write_all_at(&message, at * SIZE as u64)?;
        }
        file.sync_all()?;
        Ok(Self {
            file,
            message,
            at: 0,
        })
    }

    fn measure(&mut self, count: u64, times: &mut Latency) -> io::Result<()> {
        for _ in 0..count {
            let begun = Instant::now();
            let offset = self.at % FILE_MESSAGES * SIZE as u64;
            self.file.write_all_at(&self.message, offset)?;
            self.file.sync_data()?;
            times.record(begun.elapsed());
            self.at += 1;
        }
        Ok(())
    }
}

/// Octets of a message and of a bare write.
const SIZE: usize = 10 << 10;
/// Messages, and bare writes, of a round.
const MESSAGES: u64 = 100;
const ROUNDS: u64 = 6;
/// Messages that fit the file: 32 MiB or so.
const FILE_MESSAGES: u64 = 3000;
