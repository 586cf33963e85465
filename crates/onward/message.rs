//! A message from a file, with line ends as mail has them: a CR is put before each LF that has none.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// No message came out of the file.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {0}: {1}\n\nhint: name a file with one message, or `-` for standard input")]
pub(crate) struct Unreadable(pub(crate) PathBuf, pub(crate) io::Error);

/// A message that is being read.
pub(crate) struct Message {
    from: Box<dyn Read + Send>,
    after_cr: bool,
}

impl Message {
    /// Opens the file; `-` is standard input.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::of(match path == Path::new("-") {
            true => Box::new(io::stdin()),
            // It can be opened, and would fail only when it is read.
            false if path.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            false => Box::new(File::open(path)?),
        }))
    }

    fn of(from: Box<dyn Read + Send>) -> Self {
        Self {
            from,
            after_cr: false,
        }
    }
}

impl Read for Message {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Each octet may become two.
        let mut octets = vec![0; into.len() / 2];
        let read = self.from.read(&mut octets)?;
        let mut written = 0;
        for octet in &octets[..read] {
            if *octet == b'\n' && !self.after_cr {
                into[written] = b'\r';
                written += 1;
            }
            into[written] = *octet;
            written += 1;
            self.after_cr = *octet == b'\r';
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends() {
        let mut message = Message::of(Box::new(&b"a: b\nc: d\r\n\n\r\r\nx"[..]));
        let (mut whole, mut piece) = (Vec::new(), [0; 4]);
        loop {
            match message.read(&mut piece).unwrap() {
                0 => break,
                octets => whole.extend_from_slice(&piece[..octets]),
            }
        }
        assert_eq!(whole, b"a: b\r\nc: d\r\n\r\n\r\r\nx");
    }
}
