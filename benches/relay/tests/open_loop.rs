//! The open loop: messages are due at a fixed rate, and what a server makes them wait is in the figures.

use std::time::Duration;

use super::tools::{load, run, sink, until};
use crate::load::{Load, Pace, Sent};
use crate::sink::{Script, Sink};

/// 600 messages at 400/s over four connections to a sink that stalls for half a second.
fn stalled(pace: Pace) -> Sent {
    let sink = sink(Script::default());
    let load = Load {
        pace,
        ..load(sink.addresses()[0], 600)
    };
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| run(&load));
        until(|| sink.copies(1) >= 100);
        stall(&sink);
        sending.join().unwrap()
    })
}

/// The message that each connection has under way takes half a second; those after it are answered at once.
fn stall(sink: &Sink) {
    sink.set_script(&Script::slow(Duration::from_millis(500)));
    let before = sink.counts().reverse_paths;
    until(|| sink.counts().reverse_paths >= before + 4);
    sink.set_script(&Script::default());
}

#[test]
fn a_stall_is_in_the_latency_of_all_that_was_due_in_it() {
    let sent = stalled(Pace::Open { per_second: 400.0 });
    assert_eq!(sent.accepted, 600);
    // Due in half a second: 200 messages, which waited from 500 ms down to nothing.
    let (latency, lag) = (sent.latency.summary(), sent.lag.summary());
    assert!(latency.p90 >= 250_000, "{latency}");
    assert!(latency.max >= 450_000, "{latency}");
    assert!(lag.p90 >= 240_000, "nobody was free to send them: {lag}");
}

#[test]
fn a_closed_loop_would_not_show_it() {
    let sent = stalled(Pace::Closed);
    // Only the messages under way were hit: that is why it must not be used for latency.
    assert!(sent.latency.summary().p90 < 250_000);
}

#[test]
fn the_rate_is_kept() {
    let sink = sink(Script::default());
    let load = Load {
        pace: Pace::Open {
            per_second: 10_000.0,
        },
        ..load(sink.addresses()[0], 5000)
    };
    let sent = run(&load);
    assert_eq!(sent.accepted, 5000);
    // The last is due 4999/10000 s after the first.
    assert!(sent.elapsed >= Duration::from_micros(499_900), "{sent:?}");
    assert!(sink.wait_for(&sent, Duration::from_secs(10)));
    let last = sink.report(&sent).last.unwrap();
    assert!(last + Duration::from_millis(5) >= Duration::from_micros(499_900));
}
