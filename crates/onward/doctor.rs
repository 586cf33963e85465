//! What the doctor is told of this machine: addresses, certificates, and what is found here without asking anybody.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use control::Finding;
use control::Health::{Bad, Good, Risky, Unknown};
use relay::Routing;
use relay::doctor::{Asking, Doctor, Egress, Facts, WayOut};
use smtp_in::tls::{Certificate, Holder};
use spool::Clock;

use crate::config::{self, Config};
use crate::descriptors;
use crate::print::plural;
use crate::reload::load_tls;
use crate::risks;
use crate::routing;
use crate::shared;
use crate::sources;

/// The doctor of a relay with this configuration; `routing` gives that of now, `served` has the certificates if there is a daemon.
pub(crate) fn doctor(
    config: &Config,
    keys: config::Doctor,
    resolver: dns::Backend,
    served: Option<Holder>,
    routing: impl Fn() -> Arc<Routing> + Send + Sync + 'static,
) -> Doctor {
    let (every, file) = (keys.every.0, config.spool.join("doctor"));
    let (config, shown) = (Arc::new(config.clone()), served.clone());
    let asked = Arc::clone(&config);
    Doctor {
        resolver,
        facts: Box::new(move |connect| {
            facts(&config, &keys, (routing(), served.as_ref()), connect)
        }),
        asking: asking(move || Arc::clone(&asked)),
        served: shown,
        issuing: None,
        clock: Clock::real(),
        every,
        kept: fs::read(&file).unwrap_or_default(),
        keep: Box::new(move |text| linefile::replace(&file, &[text.as_bytes()]).map(drop)),
    }
}

/// What takes its time to be found out: where forwards come from, and what a shared spool is kept in.
pub(crate) fn asking(config: impl Fn() -> Arc<Config> + Send + Sync + 'static) -> Asking {
    Box::new(move |routing| {
        let config = config();
        Box::pin(async move {
            let mut found = sources::examine(&config, &routing).await;
            if config.queue.is_shared() {
                found.extend(shared::examine(&config).await);
            }
            found
        })
    })
}

fn facts(
    config: &Config,
    keys: &config::Doctor,
    (routing, served): (Arc<Routing>, Option<&Holder>),
    connect: bool,
) -> Facts {
    let mut local = Vec::new();
    let egresses = egresses(config, keys, &routing, &mut local);
    let certificates = certificates(config, served, &mut local);
    let risk = |risk: risks::Risk| Finding::new(Risky, "risk", risk.about, risk.text);
    local.extend(risks::of(config, &routing).into_iter().map(risk));
    local.extend(secrets(&config.srs.secrets));
    local.extend([disk(config), clock(&config.spool, Path::new(TIMESYNCD))]);
    if descriptors::shortage(config).is_none() {
        let text = "enough files can be open for all connections";
        local.push(Finding::new(Good, "limits", "", text));
    }
    let way_out = keys.connect.parse().ok().filter(|_| connect);
    Facts {
        routing,
        egresses,
        listeners: config.listeners.iter().map(|l| l.bind.ip()).collect(),
        certificates,
        way_out: way_out.map(|domain| WayOut {
            domain,
            port: config.delivery.port,
            sources: ways_out(config).into_iter().map(|(bind, _)| bind).collect(),
        }),
        local,
    }
}

/// What mail is bound to that names no egress (perhaps unspecified), and the address that it comes to.
fn ways_out(config: &Config) -> Vec<(IpAddr, IpAddr)> {
    let named = &config.delivery.egress;
    if let Some(pool) = config.egresses.iter().find(|pool| pool.name == *named) {
        let sources = pool.meant().sources.into_iter();
        return sources
            .map(|source| (source.address, source.address))
            .collect();
    }
    let bind = &config.delivery.bind;
    let mut sources: Vec<_> = bind.iter().map(|address| (*address, *address)).collect();
    // The system's choice. No packet is sent.
    for (any, to) in [
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), "192.0.2.1:25"),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), "[2001:db8::1]:25"),
    ] {
        if bind.iter().any(|bound| bound.is_ipv4() == any.is_ipv4()) {
            continue;
        }
        let chosen = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(to)?;
            socket.local_addr()
        });
        sources.extend(chosen.ok().map(|chosen| (any, chosen.ip())));
    }
    sources
}

fn egresses(
    config: &Config,
    keys: &config::Doctor,
    routing: &Routing,
    local: &mut Vec<Finding>,
) -> Vec<Egress> {
    let unnamed = |address: &IpAddr| Egress {
        address: *address,
        hello: routing.hostname().clone(),
        pool: None,
        sends_mail: true,
    };
    if !keys.addresses.is_empty() {
        return keys.addresses.iter().map(unnamed).collect();
    }
    let mut egresses = Vec::new();
    if config.delivery.egress.is_empty() {
        egresses.extend(ways_out(config).iter().map(|(_, seen)| unnamed(seen)));
    }
    for pool in &config.egresses {
        let sends_mail = config.sends_mail(pool);
        let delivery::Egress { name, sources } = pool.meant();
        egresses.extend(sources.into_iter().map(|source| Egress {
            address: source.address,
            hello: source.hello,
            pool: Some(name.clone()),
            sends_mail,
        }));
    }
    let private = egresses.extract_if(.., |egress| !delivery::is_public(egress.address));
    local.extend(private.map(|egress| {
        let text = "mail leaves from this address, which nobody elsewhere sees: what they see, and what they think of it, is not known\n\nhint: name the addresses that the world sees in `doctor.addresses`";
        Finding::new(Unknown, "egress", egress.address, text)
    }));
    egresses
}

/// Those that are shown to clients: a file that was renewed is not yet, and one that is broken will not be.
fn certificates(
    config: &Config,
    served: Option<&Holder>,
    local: &mut Vec<Finding>,
) -> Vec<Certificate> {
    let files = match load_tls(config) {
        Ok(files) => files,
        Err(error) => {
            let text = format!("{error}; a restart or reload fails");
            local.push(Finding::new(Bad, "certificate", "files", text));
            Vec::new()
        }
    };
    let Some(served) = served.map(Holder::certificates) else {
        return files;
    };
    let is_served = |file: &Certificate| {
        served
            .iter()
            .any(|one| one.cert.first() == file.cert.first())
    };
    if !files.iter().all(is_served) {
        let text = "the file has another certificate than clients are shown\n\nhint: `onward reload` takes it over; have whatever renews it do that";
        local.push(Finding::new(Risky, "certificate", "files", text));
    }
    served
}

/// How many, and how old. (What is weak or open to others is among the risks.)
fn secrets(path: &Path) -> Option<Finding> {
    let count = routing::secrets(path).ok()?.len();
    let changed = fs::metadata(path).and_then(|file| file.modified()).ok()?;
    let days = changed.elapsed().unwrap_or_default().as_secs() / DAY_SECS;
    let (count, days) = (plural(count as u64, "secret"), plural(days, "day"));
    let text = format!("{count}, last changed {days} ago");
    Some(Finding::new(Good, "srs", path.display(), text))
}

/// Room for the queue, on a disk and not in memory.
fn disk(config: &Config) -> Finding {
    let spool = &config.spool;
    let stat = rustix::fs::statvfs(spool).and_then(|stat| Ok((stat, rustix::fs::statfs(spool)?)));
    let found = |health, text: String| Finding::new(health, "disk", spool.display(), text);
    let (room, kind) = match stat {
        Ok((stat, fs)) => (stat.f_bavail.saturating_mul(stat.f_frsize), fs.f_type),
        Err(error) => return found(Unknown, format!("cannot be looked at: {error}")),
    };
    let (free, min) = (bytesize::ByteSize(room), config.queue.min_free.0);
    match room {
        _ if kind == TMPFS => found(
            Bad,
            "is in memory: a restart of the machine loses all that is queued".to_owned(),
        ),
        0.. if room < min => found(
            Bad,
            format!("has {free} free, less than `queue.min_free`: mail is refused with 452"),
        ),
        0.. if room < min.saturating_mul(2) => found(
            Risky,
            format!("has {free} free; below `queue.min_free` mail is refused with 452"),
        ),
        _ => found(Good, format!("has {free} free")),
    }
}

/// Nobody is asked for the time: what was written later than now proves that the clock was set back, and systemd-timesyncd says
/// when it last had the time from somewhere. The kernel knows of others, too, but our unit does not let us ask it (`ProtectClock`).
fn clock(spool: &Path, timesyncd: &Path) -> Finding {
    let found = |health, text: String| Finding::new(health, "clock", "", text);
    let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let now = SystemTime::now();
    let files = fs::read_dir(spool.join("log"))
        .into_iter()
        .flatten()
        .flatten();
    let ahead = |path: &Path| modified(path).ok()?.duration_since(now).ok();
    let ahead = files
        .take(FILES_MAX)
        .filter_map(|file| ahead(&file.path()))
        .max();
    if let Some(ahead) = ahead.filter(|ahead| *ahead > AHEAD_MAX) {
        let ahead = humantime::format_duration(Duration::from_secs(ahead.as_secs()));
        let text = format!(
            "was set back: the spool was written {ahead} from now; signatures and SRS addresses are dated wrong\n\nhint: `timedatectl` says whether anything keeps the clock right"
        );
        return found(Bad, text);
    }
    match modified(timesyncd).map(|at| now.duration_since(at).unwrap_or_default()) {
        Ok(ago) if ago < SYNCED_WITHIN => found(Good, "is kept right by systemd-timesyncd".to_owned()),
        Ok(ago) => found(Risky, format!("was last set right {} ago\n\nhint: `timedatectl timesync-status`", plural(ago.as_secs() / DAY_SECS, "day"))),
        Err(_) => found(Unknown, "nothing shows whether it is kept right\n\nhint: `chronyc tracking`, `ntpq -p` or `timedatectl` says so".to_owned()),
    }
}

const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";
/// It asks every 34 minutes at most.
const SYNCED_WITHIN: Duration = Duration::from_hours(24);
const AHEAD_MAX: Duration = Duration::from_mins(1);
const FILES_MAX: usize = 10_000;
const DAY_SECS: u64 = 86_400;
/// `TMPFS_MAGIC` (statfs(2)).
const TMPFS: i64 = 0x0102_1994;
