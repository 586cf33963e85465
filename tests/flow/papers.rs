//! `onward papers`: what packages install beside the program.

use std::fs;

use testkit::program;

#[tokio::test]
async fn every_command_and_key_has_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let write = ["papers", path];
    program::run(env!("CARGO_BIN_EXE_onward"), &write, b"")
        .await
        .success();
    let read = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name));
        text.unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let command = read("onward.1");
    assert!(command.contains("onward\\-serve(1)"), "{command}");
    assert!(!command.contains("papers"), "{command}");
    assert!(read("onward-queue-list.1").contains(".SH OPTIONS"));
    let keys = read("onward.toml.5").replace("\\-", "-");
    for line in include_str!("../../etc/onward.toml").lines() {
        let setting = line
            .strip_prefix('#')
            .filter(|rest| !rest.starts_with([' ', '#']));
        // As roff writes a backslash.
        let shown = setting.unwrap_or_default().replace('\\', "\\\\");
        assert!(keys.contains(&shown), "{line}");
    }
    assert!(read("onward-forwards.5").contains(":discard:"));
    for name in ["onward.bash", "_onward", "onward.fish"] {
        assert!(read(name).contains("drain"), "{name}");
    }
    assert!(!folder.path().join("onward-papers.1").exists());
}
