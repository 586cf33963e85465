//! Other programs, run with their input and a time limit: swaks, Python, Postfix's test tools, and `onward` itself.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use std::{fmt, io};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// Where nobody listens on 127.0.0.1, for those who must be told a port. It is below the ports that a system gives out by itself, and
/// another one each time: nobody takes it in the time that it takes to use it.
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of tests may be under way.
    let first = std::process::id() * 200;
    loop {
        let next = first + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from(([127, 0, 0, 1], (10_000 + next % 20_000) as u16));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output, as UTF-8.
    pub stdout: String,
    /// What it wrote to standard error, as UTF-8.
    pub stderr: String,
}

/// A program that runs beside the test and is killed when dropped, with those that it has started (rspamd's workers).
pub struct Running {
    child: Child,
}

impl Running {
    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|code| code.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Starts a program that serves until the test is over. Its output is thrown away.
///
/// # Panics
/// When it cannot be started.
pub fn start(program: impl AsRef<Path>, arguments: &[&str]) -> Running {
    let program = program.as_ref();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| not_started(program, &error));
    Running { child }
}

/// Runs a program to its end.
///
/// # Panics
/// When it cannot be started (says how to install it), or takes over two minutes (it is killed then).
pub async fn run(program: impl AsRef<Path>, arguments: &[&str], input: &[u8]) -> Finished {
    let program = program.as_ref();
    let mut child = Command::new(program)
        .args(arguments)
        // What is compared has signs outside of ASCII.
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| not_started(program, &error));
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let feed = async move {
        // A program that does not read its input closes the pipe: no error.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(TIME_MAX, both)
        .await
        .unwrap_or_else(|_| panic!("{} {arguments:?} took too long", program.display()))
        .expect("a child can be waited for");
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Whether the tests run as root; some programs then insist on being told another user.
pub fn are_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Finished {
    /// Itself, if the program ended with 0.
    ///
    /// # Panics
    /// Otherwise; shows all it wrote.
    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }
}

fn not_started(program: &Path, error: &io::Error) -> ! {
    let program = program.display();
    panic!("cannot run {program}: {error}\n\nhint: ./test.sh installs what the tests need")
}

const TIME_MAX: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_and_code() {
        let cat = run("cat", &[], b"hello").await.success();
        assert_eq!((cat.stdout.as_str(), cat.stderr.as_str()), ("hello", ""));
        assert_eq!(run("false", &[], b"").await.code, Some(1));
    }
}
