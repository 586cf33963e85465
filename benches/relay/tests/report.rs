//! Checks of `report/mod.rs`.

use std::fs;

use crate::report::results::Results;
use crate::report::*;

#[test]
fn what_is_written_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let results = Results {
        format: Results::FORMAT,
        ..Results::default()
    };
    write(folder.path(), &results).unwrap();
    let path = folder.path().join("results.json");
    assert_eq!(read(&path).unwrap().format, Results::FORMAT);
    assert!(folder.path().join("results.md").exists());
    assert!(!folder.path().join("latency.svg").exists());
    fs::write(
        &path,
        "{\"format\":0,\"runs\":[],\"measurements\":[],\"goals\":[]}",
    )
    .unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("format 0"));
}
