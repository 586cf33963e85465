//! Postfix with postsrsd, the usual way to forward with SRS on Debian: a copy of its own, beside whatever the machine runs.
//!
//! `postfix/main.cf` says what is set and why, `postfix/master.cf` which services run, `postfix/checks.rs` what checks senders.

mod checks;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};

use super::program::says;
use super::queue::{Messages, Queue};
use super::template::fill;
use super::{Found, HOST, Missing, Place, SRS_DOMAIN, free_address};
use checks::Checks;

/// The versions of Postfix and postsrsd, and the right to run them.
pub(super) fn find() -> Result<Found, Missing> {
    let missing = |reason: &str| Missing {
        reason: reason.to_owned(),
        advice: ADVICE,
    };
    let postfix = says("postconf", &["-d", "-h", "mail_version"])
        .ok_or_else(|| missing("Postfix is not installed"))?;
    let postsrsd = says("postsrsd", &["-v"]).ok_or_else(|| missing("postsrsd is not installed"))?;
    if !rustix::process::geteuid().is_root() {
        return Err(missing("Postfix must be started by root"));
    }
    Ok(Found {
        version: format!("Postfix {postfix} + postsrsd {postsrsd}"),
        durability: "cleanup(8) writes each message to a file of its own and returns from fsync before the 250",
    })
}

/// Starts both.
pub(super) fn start(place: &Place<'_>) -> io::Result<Queue> {
    let ports = [free_address()?, free_address()?].map(|address| address.port());
    make_folders(place)?;
    let checks = match place.setup.checks {
        Some(resolver) => checks::start(place, resolver)?,
        None => Checks::default(),
    };
    write_configuration(place, ports, &checks)?;
    write_tables(place)?;
    start_postsrsd(place, ports)?;
    let folder = place.path("etc");
    let command = ["postfix", "-c", &folder, "start-fg"].map(str::to_owned);
    place.spawn(&[checks.within, command.to_vec()].concat())?;
    Ok(Queue {
        messages: Messages::Files {
            folders: QUEUES
                .map(|name| place.folder().join("queue").join(name))
                .to_vec(),
            counts: |_| true,
        },
        retry_all: ["postqueue", "-c", &folder, "-f"]
            .map(str::to_owned)
            .to_vec(),
    })
}

fn make_folders(place: &Place<'_>) -> io::Result<()> {
    for name in ["etc", "queue", "data"] {
        fs::create_dir_all(place.folder().join(name))?;
    }
    let user = says("id", &["-u", "postfix"]).and_then(|id| id.parse().ok());
    chown(place.folder().join("data"), user, None)
}

fn write_configuration(
    place: &Place<'_>,
    [encode, decode]: [u16; 2],
    checks: &Checks,
) -> io::Result<()> {
    let setup = place.setup;
    let meta = says("postconf", &["-d", "-h", "meta_directory"]).unwrap_or_default();
    let relay_host = place
        .route("*")
        .map(|host| format!("[{}]:{}", host.ip(), host.port()));
    let (retry, longest) = if setup.retry_quickly {
        ("1s", "1s")
    } else {
        ("300s", "4000s")
    };
    let chain = setup.tls.map_or_else(String::new, |_| {
        format!("{}, {}", place.path("key.pem"), place.path("cert.pem"))
    });
    let values = [
        ("FOLDER", place.folder().display().to_string()),
        ("META", meta),
        ("HOST", HOST.to_owned()),
        ("TABLE", table_kind()),
        ("PORT", place.address.port().to_string()),
        ("SRS_ENCODE", encode.to_string()),
        ("SRS_DECODE", decode.to_string()),
        ("RELAY_HOST", relay_host.unwrap_or_default()),
        (
            "PROCESSES",
            setup
                .connections_in
                .clamp(PROCESSES_MIN, PROCESSES_MAX)
                .to_string(),
        ),
        ("CONNECTIONS_OUT", setup.connections_out.to_string()),
        ("MESSAGE_SIZE", setup.message_size.to_string()),
        ("TLS", setup.tls.map_or("none", |_| "may").to_owned()),
        ("CHAIN", chain),
        ("RESTRICTIONS", checks.restrictions.clone()),
        ("MILTERS", checks.milters.clone()),
        ("POLICY_SERVICE", checks.service.clone()),
        ("RETRY", retry.to_owned()),
        ("RETRY_LONGEST", longest.to_owned()),
    ];
    let values = values
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    place.write("etc/main.cf", &fill(MAIN, &values))?;
    place.write("etc/master.cf", &fill(MASTER, &values))
}

/// Writes the tables and has Postfix compile them.
fn write_tables(place: &Place<'_>) -> io::Result<()> {
    let lines = |rows: &mut dyn Iterator<Item = (&str, String)>| -> String {
        rows.map(|(key, value)| format!("{key} {value}\n"))
            .collect()
    };
    let hosted = place.hosted().into_iter().chain([SRS_DOMAIN]);
    place.write(
        "hosted",
        &lines(&mut hosted.map(|domain| (domain, "hosted".to_owned()))),
    )?;
    let forwards = place.setup.forwards.iter();
    place.write(
        "forwards",
        &lines(&mut forwards.map(|(key, target)| (key.as_str(), target.clone()))),
    )?;
    let routes = place
        .setup
        .routes
        .iter()
        .filter(|(domain, _)| domain != "*");
    let routes = routes.map(|(domain, host)| {
        (
            domain.as_str(),
            format!("smtp:[{}]:{}", host.ip(), host.port()),
        )
    });
    place.write("routes", &lines(&mut { routes }))?;
    let kind = table_kind();
    for name in ["hosted", "forwards", "routes"] {
        let table = format!("{kind}:{}", place.path(name));
        place.run(&["postmap", "-c", &place.path("etc"), &table])?;
    }
    Ok(())
}

fn start_postsrsd(place: &Place<'_>, [encode, decode]: [u16; 2]) -> io::Result<()> {
    place.write("srs.secret", "a secret that only the bench knows\n")?;
    let secret = place.folder().join("srs.secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    place.spawn(&[
        "postsrsd",
        &format!("-s{}", secret.display()),
        &format!("-d{SRS_DOMAIN}"),
        &format!("-f{encode}"),
        &format!("-r{decode}"),
        "-4",
    ])
}

/// The kind of table that this Postfix compiles by default: `hash`, or `lmdb` in newer ones.
fn table_kind() -> String {
    says("postconf", &["-d", "-h", "default_database_type"]).unwrap_or_else(|| "hash".to_owned())
}

/// Where messages wait; `incoming` and `active` are the way through.
const QUEUES: [&str; 5] = ["maildrop", "incoming", "active", "deferred", "hold"];

/// Fewer processes of a kind than this are never asked for.
const PROCESSES_MIN: usize = 100;

/// More processes of a kind than this only fight for the processors: what is above waits for a greeting.
const PROCESSES_MAX: usize = 1000;

const ADVICE: &str = "\
apt-get install postfix postsrsd    # answer `No configuration`; what they start at boot is not used and may be stopped";

const MAIN: &str = include_str!("postfix/main.cf");

const MASTER: &str = include_str!("postfix/master.cf");
