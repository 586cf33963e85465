//! Times encode and decode: `cargo run --release -p srs --example speed`.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use srs::{Day, Settings, Srs};

fn main() -> Result<(), Box<dyn Error>> {
    let srs = Srs::new(Settings::new(["a secret of usual length"]))?;
    let today = Day::from_unix_secs(1_795_266_072);
    let sender = ("some.sender", "mail.first.example");
    let srs0 = srs.forward(sender.0, sender.1, today)?;

    let forward = best(|| drop(black_box(srs.forward(black_box(sender.0), sender.1, today))));
    let reverse = best(|| drop(black_box(srs.reverse(black_box(&srs0), today))));
    let wrap = best(|| {
        drop(black_box(srs.forward(
            black_box(&srs0),
            "us.example",
            today,
        )))
    });
    println!(
        "SRS0 forward {forward:?}, reverse {reverse:?}, both {:?}",
        forward + reverse
    );
    println!("SRS1 forward {wrap:?}");
    Ok(())
}

/// The mean of the best of many rounds.
fn best(mut work: impl FnMut()) -> Duration {
    let mut round = || {
        let start = Instant::now();
        (0..ROUND).for_each(|_| work());
        start.elapsed() / ROUND
    };
    (0..50).map(|_| round()).min().unwrap_or_default()
}

const ROUND: u32 = 10_000;
