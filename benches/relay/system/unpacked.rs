//! Peers that Debian does not install beside each other: taken from `PATH`, or from a folder with unpacked packages.
//!
//! Each Debian package of a mail server excludes the others. Their binaries do not mind: unpacked into one folder that
//! `ONWARD_BENCH_PEERS` names, they run from there, with the libraries beside them.

use std::path::{Path, PathBuf};
use std::{env, fs};

use super::group::PATH;
use super::program;

/// A program, and where its libraries are.
pub(super) struct Binary {
    /// Its absolute path.
    pub(super) path: String,
    /// `LD_LIBRARY_PATH`; empty for an installed program.
    libraries: String,
}

impl Binary {
    /// All that it says with these arguments.
    pub(super) fn says(&self, arguments: &[&str]) -> Option<String> {
        let command = self.command(arguments);
        let arguments: Vec<_> = command[1..].iter().map(String::as_str).collect();
        program::says(&command[0], &arguments)
    }

    /// Another program beside it.
    pub(super) fn sibling(&self, name: &str) -> Self {
        Self {
            path: Path::new(&self.path)
                .with_file_name(name)
                .display()
                .to_string(),
            libraries: self.libraries.clone(),
        }
    }

    /// A command line that runs it with these arguments, its libraries found.
    pub(super) fn command(&self, arguments: &[&str]) -> Vec<String> {
        let libraries = format!("LD_LIBRARY_PATH={}", self.libraries);
        ["env", &libraries, &self.path]
            .iter()
            .chain(arguments)
            .map(|&word| word.to_owned())
            .collect()
    }
}

/// The first of these programs that is there, unpacked or installed.
pub(super) fn find(names: &[&str]) -> Option<Binary> {
    if let Some(folder) = env::var_os("ONWARD_BENCH_PEERS").map(PathBuf::from) {
        let paths = names.iter().map(|name| folder.join("usr/sbin").join(name));
        if let Some(path) = paths.into_iter().find(|path| path.is_file()) {
            return Some(Binary {
                path: path.display().to_string(),
                libraries: libraries(&folder.join("usr/lib")),
            });
        }
    }
    let folders = PATH.split(':').map(Path::new);
    let mut paths = folders.flat_map(|folder| names.iter().map(|name| folder.join(name)));
    let path = paths.find(|path| path.is_file())?;
    Some(Binary {
        path: path.display().to_string(),
        libraries: String::new(),
    })
}

/// The folder and those in it that are named after a machine: `x86_64-linux-gnu`.
fn libraries(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.push(folder.to_owned());
    let folders: Vec<_> = folders
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    folders.join(":")
}

/// How to get Exim and OpenSMTPD beside Postfix.
pub(super) const ADVICE: &str = "\
mkdir PEERS && cd PEERS
apt-get download exim4-daemon-light libidn12 opensmtpd
for package in *.deb; do dpkg -x $package .; done
for user in Debian-exim opensmtpd opensmtpq; do
    useradd --system --user-group --no-create-home --shell /usr/sbin/nologin $user
done
export ONWARD_BENCH_PEERS=PEERS    # the absolute path";
