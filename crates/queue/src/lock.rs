//! The lock of a spool: one process holds it, and says which.
//!
//! `flock` on the file `lock`, so that the kernel lets go when the process dies, however it dies. The file holds the
//! holder's process id, for the error text alone.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::settings::StartError;

/// Held as long as this lives.
#[derive(Debug)]
pub(crate) struct SpoolLock(#[expect(dead_code, reason = "open for its lock")] File);

impl SpoolLock {
    /// Takes the lock of the spool in `dir`, or says who has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, StartError> {
        let path = dir.join("lock");
        let io = |what| {
            let path = path.clone();
            move |source| StartError::Io { what, path, source }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("open"))?;
        if let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if e != rustix::io::Errno::WOULDBLOCK {
                return Err(io("lock")(e.into()));
            }
            let mut pid = String::new();
            // Unreadable is no worse than empty here: the text is a help only.
            let _ = file.take(20).read_to_string(&mut pid);
            let pid = pid.trim();
            return Err(StartError::Locked {
                dir: dir.to_owned(),
                pid: if pid.is_empty() { "unknown" } else { pid }.to_owned(),
            });
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io("write"))?;
        Ok(Self(file))
    }
}

impl SpoolLock {
    /// Takes the lock to look at the spool, which may lie on a filesystem that is read-only by now. Without a lock file
    /// (and none can be made) there is nobody to keep out.
    pub(crate) fn take_to_read(dir: &Path) -> Result<Option<Self>, StartError> {
        let error = match Self::take(dir) {
            Ok(lock) => return Ok(Some(lock)),
            Err(StartError::Io { source, .. }) => source,
            Err(error) => return Err(error),
        };
        let path = dir.join("lock");
        match File::open(&path) {
            Ok(file) => {
                let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
                match locked {
                    Ok(()) => Ok(Some(Self(file))),
                    Err(_) => Err(StartError::Locked {
                        dir: dir.to_owned(),
                        pid: "unknown".to_owned(),
                    }),
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && dir.is_dir() => Ok(None),
            Err(_) => Err(StartError::Io {
                what: "open",
                path,
                source: error,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = SpoolLock::take(dir.path()).unwrap();
        let text = SpoolLock::take(dir.path()).unwrap_err().to_string();
        assert!(
            text.contains(&format!("process {}", std::process::id())),
            "{text}"
        );
        assert!(text.contains("hint:"), "{text}");
        drop(first);
        SpoolLock::take(dir.path()).unwrap();
    }
}
