//! The socket file: made so that nobody else can ever connect, and taken over from a daemon that died.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::time::timeout;

/// A bound socket. Dropping it removes the file, unless another daemon has put its own there by then.
#[derive(Debug)]
pub struct Socket {
    pub(crate) listener: UnixListener,
    /// Our own user id, as the file system sees it.
    pub(crate) owner: u32,
    path: PathBuf,
    inode: u64,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("another onward is running: it answers on {}", .0.display())]
    Running(PathBuf),
    /// The path is taken by something else.
    #[error("{} is in the way: it is not a socket\n\nhint: set `control.socket` or `http.bind` to a path of its own", .0.display())]
    NotASocket(PathBuf),
    /// The system said no.
    #[error("cannot make the socket {}: {error}\n\nhint: its folder must be there, and open to the user that runs onward", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Socket {
    /// Makes the socket with mode 0600. A socket that a dead daemon left behind is replaced.
    ///
    /// Two daemons that start at once are told apart by the spool's lock, which is to be held before this is called.
    /// Needs a tokio runtime with I/O and time.
    pub async fn bind(path: &Path) -> Result<Self, BindError> {
        Self::bind_for(path, MODE).await
    }

    /// The same with another mode, for a door that looks itself who comes in.
    pub async fn bind_for(path: &Path, mode: u32) -> Result<Self, BindError> {
        remove_stale(path).await?;
        listen(path, mode).map_err(|error| BindError::io(path, error))
    }

    /// The next connection, whoever makes it.
    pub async fn accept_any(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a socket");
        }
    }
}

impl BindError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}

/// Until `listen`, the kernel refuses every connection; so the mode is right before the first one can come,
/// whatever the umask.
fn listen(path: &Path, mode: u32) -> io::Result<Socket> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    let file = fs::symlink_metadata(path)?;
    Ok(Socket {
        listener: socket.listen(BACKLOG)?,
        owner: file.uid(),
        path: path.to_owned(),
        inode: file.ino(),
    })
}

async fn remove_stale(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::io(path, error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match timeout(PROBE, UnixStream::connect(path)).await {
        // Only this says that nobody is behind it: a full backlog or a denied permission means somebody is.
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| BindError::io(path, error))
        }
        // It went while we looked.
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(BindError::Running(path.to_owned())),
    }
}

const MODE: u32 = 0o600;
const BACKLOG: u32 = 16;
/// A daemon takes connections at once, even when it is busy.
const PROBE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_we_can_connect_and_the_file_goes_with_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let socket = Socket::bind(&path).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(socket.owner, fs::metadata(dir.path()).unwrap().uid());
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_running_daemon_keeps_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let _running = Socket::bind(&path).await.unwrap();
        let error = Socket::bind(&path).await.unwrap_err();
        assert!(matches!(error, BindError::Running(_)), "{error}");
        assert!(UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn a_dead_daemon_s_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = Socket::bind(&path).await.unwrap();
        assert!(UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn a_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        fs::write(&path, "precious").unwrap();
        let error = Socket::bind(&path).await.unwrap_err();
        assert!(matches!(error, BindError::NotASocket(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let error = Socket::bind(&dir.path().join("no/such")).await.unwrap_err();
        assert!(matches!(error, BindError::Io { .. }), "{error}");
    }

    #[tokio::test]
    async fn another_s_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let first = Socket::bind(&path).await.unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        let _second = Socket::bind(&path).await.unwrap();
        drop(first);
        assert!(path.exists());
    }
}
