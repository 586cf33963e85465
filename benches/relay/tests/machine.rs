//! Checks of `report/machine.rs`.

use std::path::Path;

use crate::report::machine::*;

#[test]
fn texts_of_the_kernel_are_read() {
    assert_eq!(processor("a: b\nmodel name\t: X 9\n"), "X 9");
    assert_eq!(memory("MemTotal:     1024 kB\n"), 1 << 20);
    assert_eq!(ticks("cpu  10 0 5 80 5 0 0 0 0 0\ncpu0 1\n"), (15.0, 100.0));
    assert_eq!(ticks(""), (0.0, 0.0));
}

#[test]
fn the_longest_mount_holds_a_folder() {
    let info =
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / /tmp rw shared:1 - tmpfs none rw\n";
    let at = |folder| mount(info, Path::new(folder));
    assert_eq!(at("/tmp/x"), ("tmpfs".to_owned(), "none".to_owned()));
    assert_eq!(at("/tmpx"), ("ext4".to_owned(), "/dev/sda1".to_owned()));
}

#[test]
fn a_busy_machine_is_told() {
    let machine = |busy| Machine {
        busy,
        ..Machine::default()
    };
    assert!(machine(0.05).warning().is_none());
    assert!(
        machine(0.5)
            .warning()
            .is_some_and(|text| text.contains("50 %"))
    );
}
