//! Checks of `latency.rs`.

use std::time::Duration;

use crate::latency::Latency;

#[test]
fn percentiles_of_a_thousand() {
    let (mut low, mut high) = (Latency::new(), Latency::new());
    (1..=500).for_each(|micros| low.record_micros(micros));
    (501..=1000).for_each(|micros| high.record_micros(micros));
    low.merge(&high);
    let summary = low.summary();
    assert_eq!((summary.count, summary.p50, summary.max), (1000, 500, 1000));
    assert_eq!((summary.p90, summary.p99, summary.p999), (900, 990, 999));
}

#[test]
fn a_time_beyond_the_bounds_counts_as_the_bound() {
    let mut latency = Latency::new();
    latency.record(Duration::from_secs(86_400));
    assert!(latency.summary().max >= 3_600_000_000);
    assert_eq!(latency.summary().count, 1);
}
