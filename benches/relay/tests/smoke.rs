//! A short run of the whole: the command line, two systems, files on disk.

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;

use crate::command;
use crate::report;
use crate::report::figure::Figure;

/// Runs the program; it must end well.
fn run(arguments: &[&str]) -> ExitCode {
    let name = OsString::from("relay");
    command::run(std::iter::once(name).chain(arguments.iter().map(OsString::from)))
}

fn is_good(code: ExitCode) -> bool {
    format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS)
}

#[test]
fn onward_and_no_relay_are_measured_and_reported() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let spools = std::env::temp_dir();
    let code = run(&[
        "relay",
        "drain",
        "mx",
        "domains",
        "tarpits",
        "--quick",
        "--systems=direct,onward",
        "--connections=1,4",
        "--sizes=2k",
        "--length=100ms",
        "--scale=0.001",
        // Enough for a busy machine: in the usual minute the last scenarios may not get their turn.
        "--time-limit=10m",
        "--folder",
        spools.to_str().unwrap(),
        "--out",
        folder,
    ]);
    assert!(is_good(code), "{code:?}");
    let path = out.path().join("results.json");
    let results = report::read(&path).unwrap();
    for label in ["1 connection, 2 KiB", "4 connections, 2 KiB"] {
        let figure = |system, figure| {
            let spread = results.spread("relay", system, label, figure);
            spread
                .unwrap_or_else(|| panic!("{system} at {label} has no {figure:?}"))
                .median
        };
        for system in ["no relay", "Onward"] {
            assert!(figure(system, Figure::Rate) > 0.0);
            assert_eq!(figure(system, Figure::Lost), 0.0);
        }
        assert_eq!(figure("Onward", Figure::Srs), 1.0, "not all was rewritten");
        assert!(figure("Onward", Figure::Cpu) > 0.0);
    }
    let label = "300 of 10 KiB queued";
    let queued = results.spread("drain", "Onward", label, Figure::Queued);
    assert_eq!(
        queued.map(|spread| spread.median),
        Some(300.0),
        "all of it waited"
    );
    assert!(
        fs::read_to_string(out.path().join("throughput.svg"))
            .unwrap()
            .starts_with("<svg")
    );

    // Tables and plots can be made again from what was saved.
    let again = out.path().join("again");
    let code = run(&[
        "report",
        path.to_str().unwrap(),
        "--out",
        again.to_str().unwrap(),
    ]);
    assert!(is_good(code), "{code:?}");
    let tables = |folder: &std::path::Path| fs::read_to_string(folder.join("results.md")).unwrap();
    assert_eq!(tables(&again), tables(out.path()));
}

#[test]
fn what_cannot_be_is_refused() {
    for arguments in [
        &["nothing"][..],
        &["--systems=sendmail"],
        &["--sizes=0"],
        &["--connections=0"],
        &["--scale=0"],
        &["--scale=-1"],
        &["--repeats=0"],
        &["--time-limit=soon"],
        &["report"],
        &["load"],
    ] {
        assert!(!is_good(run(arguments)), "{arguments:?}");
    }
    assert!(is_good(run(&["--help"])));
}
