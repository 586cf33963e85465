//! The files of the repository, by their paths from its root.

use std::fs;
use std::path::Path;

pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Not ours, or not source.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// All files and directories, sorted.
pub(crate) fn all() -> Vec<String> {
    let mut found = Vec::new();
    walk("", &mut found);
    found.sort();
    found
}

/// All files.
pub(crate) fn files() -> Vec<String> {
    let is_file = |path: &String| Path::new(ROOT).join(path).is_file();
    all().into_iter().filter(is_file).collect()
}

/// Every manifest of the workspace and its text.
pub(crate) fn manifests() -> Vec<(String, String)> {
    let manifests = files().into_iter().filter(|path| {
        path == "Cargo.toml" || (path.starts_with("crates/") && path.ends_with("/Cargo.toml"))
    });
    let manifests: Vec<_> = manifests.map(|path| (path.clone(), read(&path))).collect();
    assert!(manifests.len() > 10, "the crates were not found");
    manifests
}

#[track_caller]
pub(crate) fn read(path: &str) -> String {
    read_if_there(path).unwrap_or_else(|| panic!("{path}: cannot be read as UTF-8 text"))
}

pub(crate) fn read_if_there(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(ROOT).join(path)).ok()
}

fn walk(dir: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(Path::new(ROOT).join(dir)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        let path = if dir.is_empty() {
            name
        } else {
            format!("{dir}/{name}")
        };
        // Links are not followed: they may lead out of the tree, or in a circle.
        if entry.file_type().unwrap().is_dir() {
            walk(&path, found);
        }
        found.push(path);
    }
}
