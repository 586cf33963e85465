//! Three nodes on a PostgreSQL that Patroni keeps, as `etc/several-nodes/patroni.sh` starts them from the files for operators: the
//! primary is killed with its Patroni, as if its host had died, and a standby takes its place. Whatever was answered 250 arrives.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it starts a script, and tells how long things took"
)]

use std::collections::BTreeMap;
use std::fs;
use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::program::{self, Running};
use testkit::sink::Sink;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::several::Load;

/// What the script runs. It ends it all when it is ended.
struct Trial {
    folder: TempDir,
    script: Child,
    /// Members that were started again.
    again: Vec<Running>,
    /// Processes that stand still.
    still: Vec<Pid>,
}

impl Trial {
    async fn start(sink: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/several-nodes/patroni.sh");
        let script = Command::new(script)
            .arg(folder.path())
            .env("ONWARD", env!("CARGO_BIN_EXE_onward"))
            .env("SINK", sink.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("the script");
        let mut trial = Self {
            folder,
            script,
            again: Vec::new(),
            still: Vec::new(),
        };
        let ready = trial.file("run/ready");
        until("everything runs", async || {
            let ended = trial.script.try_wait().expect("a child");
            assert!(ended.is_none(), "the script has ended");
            ready.exists().then_some(())
        })
        .await;
        trial
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self, name: &str) -> SocketAddr {
        let text = fs::read_to_string(self.file(&format!("run/{name}.address")));
        text.expect("an address")
            .trim()
            .parse()
            .expect("an address")
    }

    /// The member that Patroni says is the primary.
    async fn primary(&self) -> Option<&'static str> {
        for member in MEMBERS {
            if is(self.address(member), "primary").await {
                return Some(member);
            }
        }
        None
    }

    /// Its Patroni, its PostgreSQL, and what that has started.
    fn processes(&self, member: &str) -> Vec<Pid> {
        let files = [
            format!("run/{member}.pid"),
            format!("db/{member}/postmaster.pid"),
        ];
        let own = files.map(|file| {
            let text = fs::read_to_string(self.file(&file)).expect("a process");
            pid(text.lines().next().unwrap_or_default()).expect("its number")
        });
        let mut all = Vec::from(own);
        for process in fs::read_dir("/proc").expect("/proc").flatten() {
            // 1234 (postgres) S PARENT …: others may end meanwhile.
            let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
            if after.split(' ').nth(1).and_then(pid) == Some(own[1]) {
                all.extend(process.file_name().to_str().and_then(pid));
            }
        }
        all
    }

    /// As [`Trial::start_again`] for what stands still.
    async fn go_on(&mut self) {
        signal(Signal::CONT, &mem::take(&mut self.still));
        self.whole().await;
    }

    async fn start_again(&mut self, member: &str) {
        let script = self.file(&format!("run/{member}.sh"));
        self.again.push(program::start(script, &[]));
        self.whole().await;
    }

    /// Until the primary has both of its standbys.
    async fn whole(&self) {
        let script = self.file("run/whole.sh");
        until("the primary has both standbys", async || {
            let said = program::run(&script, &[], b"").await;
            (said.stdout.trim() == "t").then_some(())
        })
        .await;
    }
}

fn pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

fn signal(signal: Signal, pids: &[Pid]) {
    for pid in pids {
        // One or another may have ended by itself.
        let _ = kill_process(*pid, signal);
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        signal(Signal::CONT, &self.still);
        signal(Signal::TERM, &[Pid::from_child(&self.script)]);
        let _ = self.script.wait();
        // Its logs tell more.
        self.folder.disable_cleanup(std::thread::panicking());
    }
}

/// What a member's Patroni says of itself.
async fn is(address: SocketAddr, what: &str) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /{what} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.split(' ').nth(1) == Some("200"))
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(2), asked).await,
        Ok(Ok(true))
    )
}

async fn until<T>(what: &str, mut reached: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(reached) = reached().await {
            return reached;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// `ONWARD_PATRONI="kill kill still"` has it be done so often: the last of these has it stand still until mail is taken again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "foreign: Patroni, etcd and PostgreSQL"]
async fn the_primary_is_killed() {
    let Ok(ways) = std::env::var("ONWARD_PATRONI") else {
        println!("`./test.sh` runs this alone, with ONWARD_PATRONI=kill");
        return;
    };
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), "").await;
    let mut trial = Trial::start(sink.address()).await;
    let nodes = ["mx1", "mx2", "mx3"].map(|node| trial.address(node));
    for (round, way) in ways.split_whitespace().enumerate() {
        let old = until("a primary", async || trial.primary().await).await;
        let load = Load::begin(&format!("r{round}"), nodes);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let processes = trial.processes(old);
        let killed = Instant::now();
        match way {
            "still" => {
                signal(Signal::STOP, &processes);
                trial.still = processes;
            }
            _ => signal(Signal::KILL, &processes),
        }
        let new = until("another primary", async || {
            trial.primary().await.filter(|new| *new != old)
        })
        .await;
        let promoted = killed.elapsed();
        let before = sink.received().len();
        until("mail goes again", async || {
            (sink.received().len() > before + 50).then_some(())
        })
        .await;
        let heard: Vec<_> = load.heard().await.into_iter().flatten().collect();
        // What was under way at the kill is answered after it.
        let later = heard
            .iter()
            .map(|(_, at)| at.saturating_duration_since(killed));
        let later = later.filter(|after| *after > Duration::from_secs(1));
        let taken = later.min().expect("mail is taken again");
        let copies = arrived(&sink, round, &heard).await;
        let twice: Vec<_> = copies.iter().filter(|(_, copies)| **copies > 1).collect();
        println!(
            "{way} {old}: {new} promoted after {promoted:.1?}, mail taken again after {taken:.1?}; \
             {} acknowledged, {} delivered, twice: {twice:?}",
            heard.len(),
            copies.len(),
        );
        assert!(heard.len() > 50, "{}", heard.len());
        assert!(twice.len() <= heard.len() / 20, "{twice:?}");
        match way {
            "still" => trial.go_on().await,
            _ => trial.start_again(old).await,
        }
    }
}

/// Waits until all that was acknowledged has arrived; copies of each.
async fn arrived(
    sink: &Sink,
    round: usize,
    heard: &[(String, Instant)],
) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    let began = Instant::now();
    loop {
        copies.clear();
        for message in sink.received() {
            let name = message.to()[0].replace("@sink.example", "");
            if name.starts_with(&format!("r{round}n")) {
                *copies.entry(name).or_default() += 1;
            }
        }
        let missing = heard.iter().filter(|(name, _)| !copies.contains_key(name));
        let missing: Vec<_> = missing.map(|(name, _)| name).collect();
        if missing.is_empty() {
            println!(
                "all have arrived {:.1?} after the last 250",
                began.elapsed()
            );
            return copies;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{} are missing: {missing:?}",
            missing.len()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

const MEMBERS: [&str; 3] = ["db1", "db2", "db3"];
const PATIENCE: Duration = Duration::from_mins(2);
