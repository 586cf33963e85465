//! A PostgreSQL of a test: in a folder of its own, at a free port, gone when dropped.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::PATIENCE;
use crate::program::{self, Finished, Running};

/// The server. Everybody on this machine may use it, as `onward`, who may do everything.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    running: Option<Running>,
}

/// Its processes while they stand still.
pub struct Frozen(Vec<Pid>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::KILL);
        }
    }
}

impl Postgres {
    /// A new one, with these settings (`fsync=off`).
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(settings: &[&str]) -> Self {
        let mut server = Self::new(settings);
        let data = server.data();
        let init = [
            "-D",
            &data,
            "-A",
            "trust",
            "-U",
            "onward",
            "-E",
            "UTF8",
            "--no-sync",
        ];
        server.run("initdb", &init).await.success();
        server.go_on().await;
        server
    }

    fn new(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // That its server's own user can enter.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("a folder");
        Self {
            folder,
            port: program::free().port(),
            settings: settings.iter().map(|it| (*it).to_owned()).collect(),
            running: None,
        }
    }

    /// A standby of it, by this name. From now on each commit of the first waits for it.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn standby(&self, name: &str) -> Self {
        let mut standby = Self::new(&[&format!("cluster_name={name}")]);
        let (data, port) = (standby.data(), self.port.to_string());
        let copy = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "onward",
            "-D",
            &data,
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
        ];
        self.run("pg_basebackup", &copy).await.success();
        standby.go_on().await;
        let wait = format!("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ({name})';");
        self.say("postgres", &wait).await.success();
        self.say("postgres", "SELECT pg_reload_conf();")
            .await
            .success();
        standby
    }

    /// Makes a standby the first.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn promote(&self) {
        self.say("postgres", "SELECT pg_promote();").await.success();
    }

    /// One that tests share which run at the same time; the last to let go of it ends it.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start(&[]).await);
        *shared = Arc::downgrade(&server);
        server
    }

    /// Where it listens, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://onward@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database; its URL.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn database(&self, name: &str) -> String {
        self.say("postgres", &format!("CREATE DATABASE {name};"))
            .await
            .success();
        self.url(name)
    }

    /// Runs statements by psql.
    pub async fn say(&self, database: &str, statements: &str) -> Finished {
        let port = self.port.to_string();
        let words = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "onward",
            "-q",
            "-t",
            "-A",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
        ];
        program::run("/usr/bin/psql", &words, statements.as_bytes()).await
    }

    /// Ends it at once, as a loss of power of its host does for who talks to it.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Has all of its processes stand still, as on a host that hangs; they are killed in the end.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn freeze(&self) -> Frozen {
        let own = fs::read_to_string(format!("{}/postmaster.pid", self.data())).expect("it runs");
        let others = self.say("postgres", "SELECT pid FROM pg_stat_activity;");
        let others = others.await.success().stdout;
        let pids = own.lines().take(1).chain(others.lines());
        let pids = pids.filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        // The one that was asked is gone already.
        let frozen = pids.filter(|pid| kill_process(*pid, Signal::STOP).is_ok());
        Frozen(frozen.collect())
    }

    /// Has all its processes stand still, or go on: connections stay open, and nobody answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn stand_still(&self, is_frozen: bool) {
        let file = fs::read_to_string(format!("{}/postmaster.pid", self.data()));
        let file = file.expect("a running server's file");
        let first = file.lines().next().expect("its process");
        // The first before its children, so that it makes no more of them.
        let children = format!("/proc/{first}/task/{first}/children");
        let signal = match is_frozen {
            true => Signal::STOP,
            false => Signal::CONT,
        };
        signal_to(first, signal);
        let children = fs::read_to_string(children).expect("procfs");
        for child in children.split_whitespace() {
            signal_to(child, signal);
        }
    }

    /// Starts it again after [`Postgres::kill`], and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn go_on(&mut self) {
        let (data, port) = (self.data(), self.port.to_string());
        // What a process that was killed has left.
        let _ = fs::remove_file(format!("{data}/postmaster.pid"));
        let mut words = vec!["-D", &data, "-h", "127.0.0.1", "-p", &port, "-k", &data];
        for setting in &self.settings {
            words.extend(["-c", setting]);
        }
        let program = bin("postgres");
        let (first, words) = as_its_user(&program, &words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let began = Instant::now();
        while self.say("postgres", "SELECT 1;").await.code != Some(0) {
            assert!(began.elapsed() < PATIENCE, "PostgreSQL does not start");
            // Processes of the one before that outlive it for a moment keep it from starting.
            if self.running.as_mut().is_none_or(Running::has_ended) {
                self.running = Some(program::start(first, &words));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn run(&self, name: &str, words: &[&str]) -> Finished {
        let program = bin(name);
        let (first, words) = as_its_user(&program, words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        program::run(first, &words, b"").await
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }
}

/// Sends a signal to a process of a server; it may be gone.
///
/// # Panics
/// When that is no number of a process.
pub fn signal_to(process: &str, signal: Signal) {
    let process = process.trim().parse().ok().and_then(Pid::from_raw);
    let _ = kill_process(process.expect("a process"), signal);
}

/// Debian keeps each version in a folder.
fn bin(name: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<PathBuf> = versions.flatten().map(|it| it.path()).collect();
    versions.sort();
    let newest = versions
        .pop()
        .expect("PostgreSQL: ./test.sh installs what the tests need");
    newest.join("bin").join(name).display().to_string()
}

/// It refuses to be root.
fn as_its_user(program: &str, words: &[&str]) -> (&'static str, Vec<String>) {
    let (first, before): (_, &[&str]) = match program::are_root() {
        true => ("/usr/sbin/runuser", &["-u", "postgres", "--"]),
        false => ("/usr/bin/env", &[]),
    };
    let all = before
        .iter()
        .copied()
        .chain([program])
        .chain(words.iter().copied());
    (first, all.map(ToOwned::to_owned).collect())
}
