//! The demo's little world: a configuration, a forwards file, secrets, and DNS for its example domains.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use envelope::{Domain, DomainError};

use crate::Failure;
use crate::config::{Config, Listener, Size, Span, TlsMode};
use crate::init::random_secret;

/// What the demo runs in. Dropping it removes the temporary folder.
pub(super) struct World {
    pub(super) config: Config,
    pub(super) resolver: dns::Backend,
    _folder: tempfile::TempDir,
}

impl World {
    /// Writes the files. The spool lies among them unless it is given.
    pub(super) fn make(
        relay: SocketAddr,
        destination: SocketAddr,
        spool: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let unwritten = |error: io::Error| format!("cannot write the demo's files: {error}");
        let folder = tempfile::Builder::new().prefix("onward-demo-").tempdir();
        let folder = folder.map_err(unwritten)?;
        let config = write_files(folder.path(), relay, destination, spool).map_err(unwritten)?;
        let records = records().map_err(|error| format!("cannot make up a domain: {error}"))?;
        Ok(Self {
            config,
            resolver: dns::Backend::Fixed(records),
            _folder: folder,
        })
    }
}

fn write_files(
    folder: &Path,
    relay: SocketAddr,
    destination: SocketAddr,
    spool: Option<PathBuf>,
) -> io::Result<Config> {
    let mut config = Config {
        hostname: RELAY.into(),
        spool: spool.unwrap_or_else(|| folder.join("spool")),
        listeners: vec![Listener {
            bind: relay,
            tls: TlsMode::Off,
            ..Listener::default()
        }],
        ..Config::default()
    };
    config.srs.domain = Some(SRS_DOMAIN.into());
    config.srs.secrets = folder.join("srs.secrets");
    config.forwards.file = folder.join("forwards");
    config.forwards.postmaster = Some("postmaster@mail.example.com".into());
    config.delivery.port = destination.port();
    // All of the demonstration lives there.
    config.delivery.allow_loopback = true;
    // Short, to show a second attempt while somebody watches.
    config.queue.retry = [10, 30, 60]
        .map(|secs| Span(Duration::from_secs(secs)))
        .into();
    config.queue.min_free = Size(1 << 20);
    config.control.socket = folder.join("control.sock");
    fs::write(&config.srs.secrets, random_secret())?;
    fs::write(&config.forwards.file, FORWARDS)?;
    Ok(config)
}

/// All mail of the demo's domains goes to this machine: as their MX, and as the host of the SRS domain.
fn records() -> Result<dns::Fixed, DomainError> {
    // So that the sender is proved, and gets his bounce.
    let mut records = dns::Fixed::new().with_txt("sender.example", "v=spf1 ip4:127.0.0.1 -all");
    for domain in [
        "sender.example",
        "mail.example.com",
        "example.org",
        SRS_DOMAIN,
    ] {
        let mx: Domain = format!("mx.{domain}").parse()?;
        records = records.with_mx(domain.parse()?, 10, mx.clone());
        records = records.with_address(mx, IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(records)
}

const RELAY: &str = "mx1.example.net";
const SRS_DOMAIN: &str = "fwd.example.net";
const FORWARDS: &str = "\
alice@example.org   alice@mail.example.com
team@example.org    alice@mail.example.com, carol@mail.example.com
full@example.org    full@mail.example.com
busy@example.org    busy@mail.example.com
junk@example.org    :discard:
old@example.org     :reject: 550 5.1.6 moved, write to alice@example.org
";
