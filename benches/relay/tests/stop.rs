//! Checks of `stop.rs`.

use std::fs;
use std::process::Command;

use crate::stop::Registry;

#[test]
fn what_is_registered_is_ended_and_removed() {
    let folder = std::env::temp_dir().join(format!("onward-stop-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    // Not the registry of this process: the other tests' systems are in that one.
    let registry = Registry {
        processes: [i32::try_from(child.id()).unwrap()].into(),
        folders: [folder.clone()].into(),
        ..Registry::default()
    };
    registry.clean_up();
    assert!(!child.wait().unwrap().success());
    assert!(!folder.exists());
}
