//! The figures that the bench measures: a name for JSON, a title for tables, a unit, and which way is better.
//!
//! `benches/README.md` says what each one means; a test compares the two lists.

use serde::{Deserialize, Serialize};

/// One measured quantity. Values are stored in the unit of [`Figure::unit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Messages delivered per second, from the first connection to the last delivery.
    Rate,
    /// Messages accepted per second while the load ran.
    AcceptRate,
    /// Time from the end of the load to the last delivery.
    Tail,
    /// Time from the end of data to its reply, median.
    AcceptP50,
    /// As above, 99 of 100.
    AcceptP99,
    /// As above, 999 of 1000.
    AcceptP999,
    /// Time from the intended send time to the delivery, median.
    EndToEndP50,
    /// As above, 99 of 100.
    EndToEndP99,
    /// As above, 999 of 1000.
    EndToEndP999,
    /// CPU time of all processes of the system, per delivered message.
    Cpu,
    /// CPU time of load and sink together, per delivered message.
    ToolsCpu,
    /// Octets that the system's processes had written to disk, per delivered message.
    Written,
    /// Octets that the disk of the spools wrote, whoever wrote them, journal included, per delivered message.
    DiskWritten,
    /// The same as a multiple of the message.
    WrittenRatio,
    /// Resident memory of all processes of the system, at its highest.
    Memory,
    /// Offered load in open loop.
    Offered,
    /// A bare write and fdatasync of the same size on the same disk, median.
    SyncP50,
    /// As above, 99 of 100.
    SyncP99,
    /// Accept latency of one connection as a multiple of the bare fdatasync, medians.
    SyncRatio,
    /// Connections that were tried to the site that is down.
    Attempts,
    /// Messages per second until the queue was empty.
    DrainRate,
    /// From the moment when the destination was back to the first delivery.
    FirstDelivery,
    /// The drain as a share of the relay rate of the same run.
    DrainShare,
    /// Notices (DSNs) that reached the original senders, per second.
    Notices,
    /// Resident memory per idle connection.
    MemoryPerConnection,
    /// CPU used while nothing happens, of one core.
    IdleCpu,
    /// Messages in the queue.
    Queued,
    /// From the start after SIGTERM to the first delivery.
    RestartClean,
    /// From the start after SIGKILL to the first delivery.
    RestartKilled,
    /// Space in use on disk.
    Disk,
    /// Messages that were accepted and did not arrive.
    Lost,
    /// Messages that arrived more than once.
    Duplicates,
    /// Messages whose body changed on the way.
    Damaged,
    /// Share of messages that came with an SRS sender.
    Srs,
    /// Share of messages that came with SPF, DKIM and DMARC passed in their header.
    Proved,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Seconds,
    Milliseconds,
    Microseconds,
    Octets,
    MiB,
    KiB,
    Times,
    Share,
    Count,
}

/// What is shown in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Speed,
    Latency,
    Cost,
}

impl Figure {
    /// All, in the order of the columns of a table.
    pub(crate) const ALL: [Self; 35] = [
        Self::Offered,
        Self::Queued,
        Self::Rate,
        Self::AcceptRate,
        Self::DrainRate,
        Self::DrainShare,
        Self::FirstDelivery,
        Self::Notices,
        Self::Attempts,
        Self::Tail,
        Self::SyncP50,
        Self::SyncP99,
        Self::AcceptP50,
        Self::AcceptP99,
        Self::AcceptP999,
        Self::SyncRatio,
        Self::EndToEndP50,
        Self::EndToEndP99,
        Self::EndToEndP999,
        Self::Cpu,
        Self::ToolsCpu,
        Self::IdleCpu,
        Self::Written,
        Self::DiskWritten,
        Self::WrittenRatio,
        Self::Memory,
        Self::MemoryPerConnection,
        Self::RestartClean,
        Self::RestartKilled,
        Self::Disk,
        Self::Lost,
        Self::Duplicates,
        Self::Damaged,
        Self::Srs,
        Self::Proved,
    ];

    /// The head of its column.
    pub(crate) fn title(self) -> &'static str {
        self.row().0
    }

    /// The table that it belongs to, where there are too many for one.
    pub(crate) fn group(self) -> Group {
        match self {
            Self::AcceptP50
            | Self::AcceptP99
            | Self::AcceptP999
            | Self::EndToEndP50
            | Self::EndToEndP99
            | Self::EndToEndP999 => Group::Latency,
            Self::Cpu
            | Self::ToolsCpu
            | Self::Written
            | Self::DiskWritten
            | Self::WrittenRatio
            | Self::Memory => Group::Cost,
            _ => Group::Speed,
        }
    }

    /// The unit in which values are stored.
    pub(crate) fn unit(self) -> Unit {
        self.row().1
    }

    fn row(self) -> (&'static str, Unit) {
        match self {
            Self::Rate => ("relay rate", Unit::PerSecond),
            Self::AcceptRate => ("accept rate", Unit::PerSecond),
            Self::Tail => ("to last delivery", Unit::Seconds),
            Self::AcceptP50 => ("accept p50", Unit::Milliseconds),
            Self::AcceptP99 => ("accept p99", Unit::Milliseconds),
            Self::AcceptP999 => ("accept p99.9", Unit::Milliseconds),
            Self::EndToEndP50 => ("end to end p50", Unit::Milliseconds),
            Self::EndToEndP99 => ("end to end p99", Unit::Milliseconds),
            Self::EndToEndP999 => ("end to end p99.9", Unit::Milliseconds),
            Self::Cpu => ("CPU/message", Unit::Microseconds),
            Self::ToolsCpu => ("tools' CPU/message", Unit::Microseconds),
            Self::Written => ("written/message", Unit::Octets),
            Self::DiskWritten => ("disk writes/message", Unit::Octets),
            Self::WrittenRatio => ("disk writes ÷ message", Unit::Times),
            Self::Memory => ("memory", Unit::MiB),
            Self::Offered => ("offered", Unit::PerSecond),
            Self::SyncP50 => ("fdatasync p50", Unit::Milliseconds),
            Self::SyncP99 => ("fdatasync p99", Unit::Milliseconds),
            Self::SyncRatio => ("accept ÷ fdatasync", Unit::Times),
            Self::Attempts => ("attempts", Unit::Count),
            Self::DrainRate => ("drain rate", Unit::PerSecond),
            Self::FirstDelivery => ("to first delivery", Unit::Seconds),
            Self::DrainShare => ("drain ÷ relay rate", Unit::Share),
            Self::Notices => ("notices", Unit::PerSecond),
            Self::MemoryPerConnection => ("memory/connection", Unit::KiB),
            Self::IdleCpu => ("idle CPU", Unit::Share),
            Self::Queued => ("queued", Unit::Count),
            Self::RestartClean => ("clean restart", Unit::Seconds),
            Self::RestartKilled => ("restart after kill", Unit::Seconds),
            Self::Disk => ("disk", Unit::MiB),
            Self::Lost => ("lost", Unit::Count),
            Self::Duplicates => ("duplicates", Unit::Count),
            Self::Damaged => ("damaged", Unit::Count),
            Self::Srs => ("SRS", Unit::Share),
            Self::Proved => ("proved", Unit::Share),
        }
    }
}

impl Unit {
    /// The value with three significant digits and its unit: `12,300/s`, `1.30 ×`.
    pub(crate) fn show(self, value: f64) -> String {
        let (factor, unit) = match self {
            Self::PerSecond => (1.0, "/s"),
            Self::Seconds => (1.0, " s"),
            Self::Milliseconds => (1.0, " ms"),
            Self::Microseconds => (1.0, " µs"),
            Self::Octets => (1.0, " B"),
            Self::MiB => (1.0, " MiB"),
            Self::KiB => (1.0, " KiB"),
            Self::Times => (1.0, " ×"),
            Self::Share => (100.0, " %"),
            Self::Count => (1.0, ""),
        };
        let value = value * factor;
        let number = match self {
            Self::Count => grouped(value),
            _ => significant(value),
        };
        format!("{number}{unit}")
    }
}

/// Three significant digits, thousands apart; what is whole and large is not rounded.
pub(crate) fn significant(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if size < 0.001 {
        "< 0.001".to_owned()
    } else if size < 1.0 {
        format!("{value:.3}")
    } else if size < 10.0 {
        format!("{value:.2}")
    } else if size < 100.0 {
        format!("{value:.1}")
    } else {
        grouped(value)
    }
}

/// A whole number with a comma between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < -0.5 {
        text.push('-');
    }
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
