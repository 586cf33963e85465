//! Checks of `stand.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::stand::*;

#[test]
fn sites_have_addresses_of_their_own() {
    assert_eq!(site_address(0), "127.0.1.1:0".parse().unwrap());
    assert_eq!(site_address(249), "127.0.1.250:0".parse().unwrap());
    assert_eq!(site_address(250), "127.0.2.1:0".parse().unwrap());
}

#[test]
fn a_folder_may_be_entered_and_goes() {
    let folder = Folder::new(&std::env::temp_dir()).unwrap();
    let path = folder.path().to_owned();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    fs::write(path.join("a"), vec![1; 10_000]).unwrap();
    assert!(disk_usage(&path) >= 10_000);
    drop(folder);
    assert!(!path.exists());
}
