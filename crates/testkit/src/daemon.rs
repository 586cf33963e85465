//! The binary under test: its folder with config, forwards and secrets, its process, its mail log as events.
//!
//! [`Setup`] is the folder and survives the process; [`Relay`] is the process. Stopping or killing a relay gives its setup back, so that
//! a test can start it again on the same spool. A relay that is dropped is killed, and its folder deleted.

mod log;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::{fs, io};

use rustix::process::{Pid, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub use log::{Event, Log};
pub use rustix::process::Signal;

use crate::PATIENCE;
use crate::net::Net;
use crate::program::{self, Finished};
use crate::tls::Identity;

/// A relay that does not run (yet, or any more): a folder with all that it needs.
pub struct Setup {
    program: PathBuf,
    folder: TempDir,
    settings: BTreeMap<String, String>,
    listeners: Vec<String>,
    environment: Vec<(String, PathBuf)>,
    socket: Option<TcpListener>,
}

/// A running relay.
pub struct Relay {
    setup: Setup,
    child: Child,
    log: Arc<Log>,
    addresses: Vec<SocketAddr>,
}

impl Setup {
    /// A relay called `mx.NAME` with SRS domain NAME, in its own folder, that asks the net's DNS and delivers to its port.
    /// `program` is `env!("CARGO_BIN_EXE_onward")`, which only the root package's tests know.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn new(program: &str, net: &Net, name: &str, forwards: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("onward-test-")
            .tempdir()
            .expect("a temporary folder");
        let mut setup = Self {
            program: program.into(),
            folder,
            settings: BTreeMap::new(),
            listeners: Vec::new(),
            environment: Vec::new(),
            socket: None,
        };
        setup.write("forwards", forwards);
        setup.write_private("srs.secrets", "a secret that only the tests know\n");
        for (key, value) in [
            ("hostname", format!("\"mx.{name}\"")),
            ("spool", "\"spool\"".into()),
            ("resolver.servers", format!("[\"{}\"]", net.dns.address())),
            ("srs.domain", format!("\"{name}\"")),
            ("srs.secrets", "\"srs.secrets\"".into()),
            ("forwards.file", "\"forwards\"".into()),
            // Most senders in tests publish nothing.
            ("bounce.to", "\"unproved\"".into()),
            ("queue.retry", "[\"1s\"]".into()),
            ("queue.min_free", "\"1 MiB\"".into()),
            ("delivery.port", net.port().to_string()),
            // Everything here is on 127.0.0.0/8, and found by DNS.
            ("delivery.allow_loopback", "true".into()),
            ("delivery.connect_timeout", "\"5s\"".into()),
            ("delivery.probe_first", "\"1s\"".into()),
            ("limits.connections_per_address", "1000".into()),
            ("limits.drain", "\"5s\"".into()),
            ("log.format", "\"json\"".into()),
        ] {
            setup.settings.insert(key.to_owned(), value);
        }
        setup
    }

    /// Sets one key, dotted, to a value as TOML writes it: `set("queue.retry", r#"["1s"]"#)`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a listener, as the lines of its table: `bind = "127.0.0.1:0"`. Without any there is one on a free port.
    #[must_use]
    pub fn listener(mut self, table: &str) -> Self {
        self.listeners.push(table.to_owned());
        self
    }

    /// Sets an environment variable to a path, for `serve`.
    #[must_use]
    pub fn environment(mut self, name: &str, path: PathBuf) -> Self {
        self.environment.push((name.to_owned(), path));
        self
    }

    /// Hands `serve` a listening socket down, as systemd does.
    #[must_use]
    pub fn socket(mut self, socket: TcpListener) -> Self {
        self.socket = Some(socket);
        self
    }

    /// Makes a certificate and configures it.
    #[must_use]
    pub fn with_tls(self) -> Self {
        let identity = Identity::new("mx.relay.test");
        self.write("cert.pem", &identity.certificate_pem);
        self.write_private("key.pem", &identity.key_pem);
        self.set("tls.certificate", "\"cert.pem\"")
            .set("tls.key", "\"key.pem\"")
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the folder.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Writes a file in the folder that only its owner can read.
    pub fn write_private(&self, name: &str, text: &str) {
        self.write(name, text);
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.path(name), private).expect("chmod");
    }

    /// Runs `onward ARGUMENTS` with this folder's config, to its end.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, b"").await
    }

    /// The same, with something on standard input.
    pub async fn run_with(&self, arguments: &[&str], input: &[u8]) -> Finished {
        let config = self.write_config();
        let mut all = vec!["--config", config.as_str()];
        all.extend_from_slice(arguments);
        program::run(&self.program, &all, input).await
    }

    /// Runs a command that must fail: exit code 1, and every one of `wanted` in what it says.
    ///
    /// # Panics
    /// When it does anything else. `serve` that goes on running is stopped after two minutes.
    pub async fn run_into_error(&self, arguments: &[&str], wanted: &[&str]) {
        let finished = self.run(arguments).await;
        assert_eq!(finished.code, Some(1), "{arguments:?}: {finished}");
        for text in wanted {
            let said = finished.stdout.contains(text) || finished.stderr.contains(text);
            assert!(said, "{arguments:?} does not say {text:?}: {finished}");
        }
    }

    /// Starts `onward serve` and waits until it is ready.
    ///
    /// # Panics
    /// When it ends or is not ready in time; shows its log.
    pub async fn start(self) -> Relay {
        let mut relay = self.spawn();
        let ready = relay.wait_for("ready").await;
        relay.addresses = ready
            .text("listener")
            .split(',')
            .map(|address| {
                address
                    .parse()
                    .unwrap_or_else(|_| panic!("`ready` lists no address: {ready}"))
            })
            .collect();
        relay
    }

    /// Starts `onward serve` and does not wait: it has no address yet, and can only be killed.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn spawn(self) -> Relay {
        let config = self.write_config();
        // `LISTEN_PID` is known only in the process itself, and the socket must be its descriptor 3.
        let (mut command, stdin) = match &self.socket {
            None => (Command::new(&self.program), Stdio::null()),
            Some(socket) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", HANDED_DOWN]).arg(&self.program);
                let socket = socket.try_clone().expect("a copy of the socket");
                (shell, OwnedFd::from(socket).into())
            }
        };
        let mut child = command
            .args(["--config", config.as_str(), "serve"])
            .env("RUST_BACKTRACE", "1")
            .env("LC_ALL", "C.UTF-8")
            .envs(self.environment.iter().cloned())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        Relay {
            log: Log::follow(stdout, stderr),
            setup: self,
            child,
            addresses: Vec::new(),
        }
    }

    /// Leaves the folder where it is, for a look at it; its path.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// All keys dotted, above the first table, so that each can be set alone.
    fn write_config(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.settings {
            text.push_str(&format!("{key} = {value}\n"));
        }
        let usual = ["bind = \"127.0.0.1:0\"".to_owned()];
        let listeners = if self.listeners.is_empty() {
            &usual[..]
        } else {
            &self.listeners
        };
        for table in listeners {
            text.push_str(&format!("\n[[listener]]\n{table}\n"));
        }
        // A daemon may read it just now.
        self.write("onward.new", &text);
        let path = self.path("onward.toml");
        fs::rename(self.path("onward.new"), &path).expect("renamed");
        path.to_str().expect("a temporary path is UTF-8").to_owned()
    }
}

impl Relay {
    /// The first listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All listeners, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its folder and settings.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.log.events()
    }

    /// All that it has written and will yet write; `Display` shows it as it stands then.
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// The first event that fits, now or when it comes. A pattern is an event's name and `key=part` for each field that must
    /// contain something: `"failed to=alice@example.test status=5.1.1"`.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`]; shows the log.
    pub async fn wait_for(&self, pattern: &str) -> Event {
        self.wait_for_count(1, pattern).await.swap_remove(0)
    }

    /// The first `count` events that fit.
    ///
    /// # Panics
    /// When they do not come within [`PATIENCE`].
    pub async fn wait_for_count(&self, count: usize, pattern: &str) -> Vec<Event> {
        self.log.wait(count, pattern).await
    }

    /// How many events fit, so far.
    pub fn count(&self, pattern: &str) -> usize {
        self.log.count(pattern)
    }

    /// The most memory it has held so far, in KiB (`VmHWM`).
    ///
    /// # Panics
    /// When it is not running any more.
    pub fn memory_peak_kib(&self) -> u64 {
        let id = self.child.id().expect("the relay runs");
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("procfs");
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
            .and_then(|number| number.trim().parse().ok())
            .expect("a VmHWM line")
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is not running any more.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let pid = id.and_then(Pid::from_raw).expect("the relay runs");
        kill_process(pid, signal).expect("a child of ours can be signalled");
    }

    /// SIGHUP.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM, and its end with exit code 0.
    ///
    /// # Panics
    /// When it does not end in time or not well.
    pub async fn stop(self) -> Setup {
        self.signal(Signal::TERM);
        self.stopped().await
    }

    /// Its end with exit code 0, after a signal.
    ///
    /// # Panics
    /// When it does not end in time or not well.
    pub async fn stopped(mut self) -> Setup {
        let status = self.ended().await;
        let status = status.unwrap_or_else(|_| panic!("the relay did not stop:\n{}", self.log));
        assert_eq!(status.code(), Some(0), "{}", self.log);
        self.setup
    }

    /// SIGKILL: nothing is tidied up.
    ///
    /// # Panics
    /// When it has ended before.
    pub async fn kill(mut self) -> Setup {
        self.signal(Signal::KILL);
        self.ended().await.expect("a killed process ends");
        self.setup
    }

    /// Its end at a fault point (feature `faults` of `queue`), as sudden as a SIGKILL.
    ///
    /// # Panics
    /// When it does not end in time, or in another way.
    pub async fn died(mut self) -> Setup {
        let status = self.ended().await;
        let status = status.unwrap_or_else(|_| panic!("the relay did not die:\n{}", self.log));
        assert_eq!(status.code(), None, "ended by itself:\n{}", self.log);
        self.setup
    }

    /// Runs `onward ARGUMENTS` against it, and wants success; its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub async fn run(&self, arguments: &[&str]) -> String {
        self.setup.run(arguments).await.success().stdout
    }

    /// As [`Relay::run`] with `--json`, parsed.
    ///
    /// # Panics
    /// When it fails or prints anything but JSON.
    pub async fn run_json(&self, arguments: &[&str]) -> serde_json::Value {
        let mut all = vec!["--json"];
        all.extend_from_slice(arguments);
        let text = self.run(&all).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    async fn ended(&mut self) -> io::Result<std::process::ExitStatus> {
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .map_err(io::Error::other)?
    }
}

/// What systemd does between fork and exec.
const HANDED_DOWN: &str = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" 3<&0 0</dev/null";
