//! Checks of what scenarios compute.

use std::time::Duration;

use crate::scenario::dead::{attempts_in, probes_due};
use crate::scenario::foreign::last_count;

#[test]
fn probes() {
    let check = |seconds, expected| assert_eq!(probes_due(Duration::from_secs(seconds)), expected);
    check(0, 1);
    check(29, 1);
    check(30, 2);
    check(89, 2);
    check(90, 3);
    check(210, 4);
    // 30 + 60 + 120 + 240 + 480 + 600 + 600
    check(2130, 8);
}

#[test]
fn refused_connections_are_read_from_the_kernel_s_table() {
    let table = "Ip: A B\nIp: 1 2\nTcp: ActiveOpens AttemptFails CurrEstab\nTcp: 7 42 3\n";
    assert_eq!(attempts_in(table), Some(42));
    assert_eq!(attempts_in("Tcp: A\n"), None);
    assert_eq!(attempts_in("Tcp: A\nTcp: 1\n"), None);
}

#[test]
fn smtp_sink_s_counter_is_read() {
    assert_eq!(
        last_count("sess=1 quit=0 mesg=9\rsess=1 quit=0 mesg=10\r"),
        Some(10)
    );
    // The last one is not whole yet.
    assert_eq!(
        last_count("sess=1 quit=0 mesg=9\rsess=1 quit=0 mesg=1"),
        Some(9)
    );
    assert_eq!(last_count("sess=1"), None);
}
