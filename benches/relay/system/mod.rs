//! The systems under test: found, configured alike, started on a clean folder, ended without a trace.
//!
//! Each forwards hosted addresses to targets, rewrites every reverse path to SRS, undoes that on the way back, and answers `250` only when the
//! message is on disk (OpenSMTPD cannot: [`Found::durability`] tells). Each listens on its own port of 127.0.0.1 and delivers to the given sinks without DNS. What else is set, and why, is
//! told in the system's own file; a setting is there because its documentation advises it for high volume or because it was measured to help.
//!
//! None of these files knows of load or scenarios. Root is assumed for Postfix, Exim and OpenSMTPD, which change users.

#![expect(
    clippy::disallowed_methods,
    reason = "the bench waits for the systems under test outside any runtime"
)]

mod exim;
mod onward;
mod opensmtpd;
mod postfix;
mod program;
mod queue;
mod template;
mod unpacked;

pub(crate) mod group;

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use serde::Serialize;

use crate::cost::{Cost, Meter};
use group::Group;
use queue::{Messages, Queue};

/// The name that every system gives itself.
pub(crate) const HOST: &str = "relay.example";

/// The domain of the reverse paths that every system makes: `SRS0=…@srs.example`.
pub(crate) const SRS_DOMAIN: &str = "srs.example";

/// Zones of clients that are refused.
pub(crate) const BLOCKLISTS: [&str; 2] = ["one.blocklist.example", "two.blocklist.example"];

/// A relay, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    /// No relay: the load goes straight to the sink, which shows what tools and loopback can do.
    Direct,
    /// The release build of this tree.
    Onward,
    /// Postfix, with postsrsd for SRS.
    Postfix,
    /// Exim, with its native SRS.
    Exim,
    /// OpenSMTPD, with its native SRS.
    #[value(name = "opensmtpd")]
    OpenSmtpd,
}

/// What a system is asked to do; the same for all.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// A folder of the system's own, on the same file system for all: empty, or with what an earlier run of the same system left. The
    /// caller removes it after [`Running::stop`].
    pub(crate) folder: PathBuf,
    /// Hosted addresses and their targets: `alice@in.example`, or `@in.example` for all others of the domain. Targets are not hosted.
    pub(crate) forwards: Vec<(String, String)>,
    /// Domains, and `*` for all others, with the sink that takes their mail. Senders of bounces need a route, too.
    pub(crate) routes: Vec<(String, SocketAddr)>,
    /// Connections that clients may open at a time.
    pub(crate) connections_in: usize,
    /// Connections that may be opened to one destination at a time.
    pub(crate) connections_out: usize,
    /// The largest message that is accepted, in bytes.
    pub(crate) message_size: u64,
    /// Deferred mail is tried again after a second or two, not after minutes.
    pub(crate) retry_quickly: bool,
    /// STARTTLS with a key of this kind; OpenSMTPD and Exim are not set up for it.
    pub(crate) tls: Option<Key>,
    /// Senders are checked: SPF and DMARC refuse, what was found (DKIM, too) is told in Authentication-Results, and clients are looked up
    /// in [`BLOCKLISTS`]; with the DNS server here. OpenSMTPD and Exim are not set up for it.
    pub(crate) checks: Option<SocketAddr>,
    /// Tables of Onward's configuration; the others have none such.
    pub(crate) extra: &'static str,
}

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// 2048 bits: what most MXs have.
    Rsa,
    /// P-256.
    Ecdsa,
}

/// A system that is on this machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Found {
    /// Name and version, as it tells them: `Postfix 3.7.11 + postsrsd 1.10`.
    pub(crate) version: String,
    /// How it makes an accepted message durable, in one sentence.
    pub(crate) durability: &'static str,
}

/// A system that cannot be tested here.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Missing {
    /// What is not there.
    pub(crate) reason: String,
    /// What to do to get it: commands, one a line.
    pub(crate) advice: &'static str,
}

/// A running system. Dropping it ends it.
pub(crate) struct Running {
    address: SocketAddr,
    /// Before the group, so that its watcher ends first. `None` where there is no relay.
    meter: Option<Meter>,
    group: Arc<Group>,
    queue: Queue,
    output: PathBuf,
}

/// Where a system is to run: what its own file fills its configuration from.
struct Place<'a> {
    setup: &'a Setup,
    /// Where it is to listen.
    address: SocketAddr,
    group: &'a Group,
    /// What its programs say; the end of it is in the error when they fail.
    output: PathBuf,
}

impl System {
    /// All of them, in the order of reports.
    pub(crate) const ALL: [Self; 5] = [
        Self::Direct,
        Self::Onward,
        Self::Postfix,
        Self::Exim,
        Self::OpenSmtpd,
    ];

    /// Looks for the system on this machine.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub(crate) fn find(self) -> Result<Found, Missing> {
        match self {
            Self::Direct => Ok(Found {
                version: "no relay".to_owned(),
                durability: "none: nothing is kept",
            }),
            Self::Onward => onward::find(),
            Self::Postfix => postfix::find(),
            Self::Exim => exim::find(),
            Self::OpenSmtpd => opensmtpd::find(),
        }
    }

    /// Configures and starts it, and waits until it greets with `220`.
    ///
    /// # Errors
    /// When it cannot be found or started, or does not greet within half a minute; the text holds the end of what it said.
    pub(crate) fn start(self, setup: &Setup) -> io::Result<Running> {
        let folder = &fs::canonicalize(&setup.folder)?;
        // The systems' own users go through it.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let setup = &Setup {
            folder: folder.clone(),
            ..setup.clone()
        };
        let group = Arc::new(Group::new(&format!("{self:?}").to_lowercase()));
        let place = Place {
            setup,
            address: free_address()?,
            group: &group,
            output: folder.join("output.log"),
        };
        if let Some(key) = setup.tls {
            place.write_certificate(key)?;
        }
        let queue = match self {
            Self::Direct => return Running::without_relay(setup, Arc::clone(&group)),
            Self::Onward => onward::start(&place)?,
            Self::Postfix => postfix::start(&place)?,
            Self::Exim => exim::start(&place)?,
            Self::OpenSmtpd => opensmtpd::start(&place)?,
        };
        place.wait_for_greeting()?;
        Ok(Running {
            address: place.address,
            meter: Some(Meter::new(Arc::clone(&group), folder)?),
            group: Arc::clone(&group),
            queue,
            output: place.output,
        })
    }
}

impl Place<'_> {
    fn folder(&self) -> &Path {
        &self.setup.folder
    }

    /// A path in the folder, as text for a configuration file.
    fn path(&self, name: &str) -> String {
        self.folder().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder().join(name), text)
    }

    /// `cert.pem` and `key.pem`, self-signed.
    fn write_certificate(&self, key: Key) -> io::Result<()> {
        let algorithm = match key {
            Key::Rsa => &rcgen::PKCS_RSA_SHA256,
            Key::Ecdsa => &rcgen::PKCS_ECDSA_P256_SHA256,
        };
        let made = rcgen::KeyPair::generate_for(algorithm).and_then(|key| {
            let certificate =
                rcgen::CertificateParams::new([HOST.to_owned()])?.self_signed(&key)?;
            Ok((certificate.pem(), key.serialize_pem()))
        });
        let (certificate, key) = made.map_err(io::Error::other)?;
        self.write("cert.pem", &certificate)?;
        self.write("key.pem", &key)?;
        fs::set_permissions(
            self.folder().join("key.pem"),
            fs::Permissions::from_mode(0o600),
        )
    }

    fn spawn(&self, command: &[impl AsRef<OsStr>]) -> io::Result<()> {
        self.group.spawn(command, &self.output)
    }

    fn run(&self, command: &[impl AsRef<OsStr>]) -> io::Result<()> {
        self.group.run(command, &self.output)
    }

    /// The domains that have forwards, in order.
    fn hosted(&self) -> Vec<&str> {
        let addresses = self.setup.forwards.iter();
        let domains = addresses.filter_map(|(address, _)| address.rsplit_once('@'));
        let mut domains: Vec<_> = domains.map(|(_, domain)| domain).collect();
        domains.sort_unstable();
        domains.dedup();
        domains
    }

    /// The sink of a domain, or of `*`.
    fn route(&self, domain: &str) -> Option<SocketAddr> {
        let mut routes = self.setup.routes.iter();
        routes.find_map(|(name, host)| (name == domain).then_some(*host))
    }

    fn wait_for_greeting(&self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let Err(error) = greeting(self.address) else {
                return Ok(());
            };
            let ended = self.group.has_ended();
            if ended || Instant::now() > deadline {
                let said = fs::read_to_string(&self.output).unwrap_or_default();
                let why = if ended { "it ended" } else { "no greeting" };
                let said = group::tail(&said);
                return Err(io::Error::other(format!("{why}: {error}\n{said}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "no relay",
            Self::Onward => "Onward",
            Self::Postfix => "Postfix",
            Self::Exim => "Exim",
            Self::OpenSmtpd => "OpenSMTPD",
        })
    }
}

impl Running {
    /// Where it takes mail: for [`System::Direct`] the first route's sink.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its cost since it started. Writes out what the file system holds back first, so that the disk's figure is whole.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub(crate) fn cost(&self) -> io::Result<Cost> {
        match &self.meter {
            Some(meter) => meter.read(),
            None => Ok(Cost::default()),
        }
    }

    /// How CPU time is counted here, for the report.
    pub(crate) fn how(&self) -> &'static str {
        self.group.how()
    }

    /// Messages in its queue, of any age.
    ///
    /// # Errors
    /// When it cannot be asked or its folders cannot be read.
    pub(crate) fn queued(&self) -> io::Result<u64> {
        self.queue.messages.count()
    }

    /// Makes everything in the queue due now.
    ///
    /// # Errors
    /// When the system's own command for it fails.
    pub(crate) fn retry_all(&self) -> io::Result<()> {
        if self.queue.retry_all.is_empty() {
            return Ok(());
        }
        self.group.run(&self.queue.retry_all, &self.output)
    }

    /// Asks it to end (SIGTERM), as a service manager would, and waits until all its processes are gone.
    ///
    /// # Errors
    /// When one of them is still there after twenty seconds.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        self.meter = None;
        self.group.stop()
    }

    /// Ends it without a word (SIGKILL): what its folder holds is what a crash would leave.
    ///
    /// # Errors
    /// When one of its processes is still there after ten seconds.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.meter = None;
        self.group.kill()
    }

    fn without_relay(setup: &Setup, group: Arc<Group>) -> io::Result<Self> {
        let Some(&(_, address)) = setup.routes.first() else {
            return Err(io::Error::other("without a relay there must be a route"));
        };
        Ok(Self {
            address,
            meter: None,
            group,
            queue: Queue {
                messages: Messages::None,
                retry_all: Vec::new(),
            },
            output: PathBuf::new(),
        })
    }
}

/// An address of this machine where nothing listens now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Reads a server's first line.
fn greeting(address: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.starts_with("220") {
        return Ok(());
    }
    Err(io::Error::other(format!("it says {line:?}")))
}

/// How long a system may take to start.
const START: Duration = Duration::from_secs(30);
