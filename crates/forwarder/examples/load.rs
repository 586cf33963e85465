//! Loads a made-up table and tells how long it took and how much memory it keeps.
//!
//! ```text
//! cargo run --release -p forwarder --example load -- 500000 ADDRESSES_PER_DOMAIN
//! ```

#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::fmt::Write as _;
use std::time::Instant;

use envelope::Mailbox;
use forwarder::{Resolution, Table};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let lines = args
        .next()
        .ok_or("usage: load LINES ADDRESSES_PER_DOMAIN")??;
    let per_domain = args
        .next()
        .ok_or("usage: load LINES ADDRESSES_PER_DOMAIN")??
        .max(1);
    let text = text(lines, per_domain)?;
    let octets = text.len();
    let before = resident_octets()? - octets;

    let start = Instant::now();
    let table = Table::parse("made-up", text.into_bytes())?;
    let loading = start.elapsed();
    let kept = resident_octets()? - before;
    println!("{lines} lines, {octets} octets of text: {loading:?}");
    println!(
        "{} octets a line resident, {} by its own count",
        kept / lines,
        table.stats().memory_octets / lines
    );

    let recipients: Vec<Mailbox> = (0..lines)
        .step_by(7)
        .map(|n| address(n, per_domain).parse())
        .collect::<Result<_, _>>()?;
    let start = Instant::now();
    let found = recipients
        .iter()
        .filter(|recipient| matches!(table.resolve(recipient), Resolution::Targets(_)))
        .count();
    let each = start.elapsed() / u32::try_from(recipients.len())?;
    println!("{found} of {} found, {each:?} each", recipients.len());
    Ok(())
}

fn text(lines: usize, per_domain: usize) -> Result<String, std::fmt::Error> {
    let mut text = String::with_capacity(lines * 70);
    for n in 0..lines {
        writeln!(
            text,
            "{}  somebody.{n}@mail{}.target.example",
            address(n, per_domain),
            n % 100
        )?;
    }
    text.shrink_to_fit();
    Ok(text)
}

fn address(n: usize, per_domain: usize) -> String {
    format!("user.name{n}@customer{}.example.org", n / per_domain)
}

/// Anonymous memory of this process, from `/proc/self/statm` (Linux).
fn resident_octets() -> Result<usize, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let field = |n| statm.split(' ').nth(n).ok_or("no such field");
    let pages = field(1)?.parse::<usize>()? - field(2)?.parse::<usize>()?;
    Ok(pages * 4096)
}
