//! Exim with its native SRS: a copy of its own, beside whatever the machine runs.
//!
//! `exim/exim.conf` says what is set and why. Debian has no Exim and Postfix on one machine; an unpacked package does as well
//! ([`unpacked`](super::unpacked)).

use std::fs;
use std::io;
use std::os::unix::fs::chown;

use super::program::says;
use super::queue::{Messages, Queue};
use super::template::fill;
use super::unpacked::{self, Binary};
use super::{Found, HOST, Missing, Place, SRS_DOMAIN};

/// The version of Exim, that it can do SRS, and the right to run it.
pub(super) fn find() -> Result<Found, Missing> {
    let missing = |reason: &str| Missing {
        reason: reason.to_owned(),
        advice: unpacked::ADVICE,
    };
    let exim = binary().ok_or_else(|| missing("Exim is not installed"))?;
    let said = exim.says(&["-C", "/dev/null", "-bV"]).unwrap_or_default();
    let version = said
        .lines()
        .find_map(|line| line.strip_prefix("Exim version "))
        .and_then(|rest| rest.split_whitespace().next())
        // It says why it does not run: most often a user that is not there.
        .ok_or_else(|| missing(said.lines().next().unwrap_or("it says nothing")))?;
    if !said.contains(" SRS ") {
        return Err(missing("this Exim was built without SRS"));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(missing("Exim must be started by root"));
    }
    Ok(Found {
        version: format!("Exim {version}"),
        durability: "each message is two files of its own; fsync of both and of their folder has returned before the 250",
    })
}

/// Starts it.
pub(super) fn start(place: &Place<'_>) -> io::Result<Queue> {
    let exim = binary().ok_or(io::ErrorKind::NotFound)?;
    make_folders(place)?;
    write_tables(place)?;
    let retry = if place.setup.retry_quickly {
        "1s"
    } else {
        "15m"
    };
    let values = [
        ("FOLDER", place.folder().display().to_string()),
        ("HOST", HOST.to_owned()),
        ("SRS_DOMAIN", SRS_DOMAIN.to_owned()),
        ("PORT", place.address.port().to_string()),
        (
            "CONNECTIONS_IN",
            (place.setup.connections_in + SPARE).to_string(),
        ),
        ("MESSAGE_SIZE", place.setup.message_size.to_string()),
        ("RETRY", retry.to_owned()),
    ];
    let values = values
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    place.write("exim.conf", &fill(CONFIGURATION, &values))?;
    let configuration = place.path("exim.conf");
    // The queue runner looks as often as deferred mail may be due.
    let runner = format!(
        "-q{}",
        if place.setup.retry_quickly {
            "2s"
        } else {
            "1m"
        }
    );
    let serve = exim.command(&["-C", &configuration, "-bdf", &runner]);
    let retry_all = exim.command(&["-C", &configuration, "-qff"]);
    place.spawn(&with_hints_in_memory(place, serve))?;
    Ok(Queue {
        messages: Messages::Files {
            folders: vec![place.folder().join("spool/input")],
            counts: |name| name.ends_with("-H"),
        },
        retry_all: with_hints_in_memory(place, retry_all),
    })
}

fn binary() -> Option<Binary> {
    unpacked::find(&["exim4", "exim"])
}

/// The command line in a mount namespace where the hints databases are in memory. They tell which hosts failed and who waits for them, need
/// not survive, and every delivery locks and writes them; its wiki advises a tmpfs for them. Measured: twice the rate.
fn with_hints_in_memory(place: &Place<'_>, command: Vec<String>) -> Vec<String> {
    let folder = place.path("spool/db");
    let enter = ["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", &folder];
    enter
        .map(str::to_owned)
        .into_iter()
        .chain(command)
        .collect()
}

fn make_folders(place: &Place<'_>) -> io::Result<()> {
    // Debian's package of Exim makes this user, and its binary wants it.
    let user = says("id", &["-u", USER]).and_then(|id| id.parse().ok());
    for name in ["spool", "spool/db", "log"] {
        let folder = place.folder().join(name);
        fs::create_dir_all(&folder)?;
        chown(folder, user, None)?;
    }
    Ok(())
}

fn write_tables(place: &Place<'_>) -> io::Result<()> {
    let rows = |rows: &mut dyn Iterator<Item = (String, String)>| -> String {
        rows.map(|(key, value)| format!("{key}: {value}\n"))
            .collect()
    };
    let hosted = place.hosted();
    place.write("hosted", &hosted.join("\n"))?;
    let forwards = place.setup.forwards.iter().map(|(address, target)| {
        // `*@` finds the entry of a domain.
        let all = if address.starts_with('@') { "*" } else { "" };
        (format!("{all}{address}"), target.clone())
    });
    place.write("forwards", &rows(&mut { forwards }))?;
    let routes = place
        .setup
        .routes
        .iter()
        .map(|(domain, host)| (domain.clone(), format!("{}::{}", host.ip(), host.port())));
    place.write("routes", &rows(&mut { routes }))
}

/// The user that Debian's build wants.
const USER: &str = "Debian-exim";

/// Connections besides those of the load: for looking at the greeting.
const SPARE: usize = 16;

const NAMESPACE: &str =
    r#"mount -t tmpfs -o mode=750,uid="$(id -u Debian-exim)" tmpfs "$1" && shift && exec "$@""#;

const CONFIGURATION: &str = include_str!("exim/exim.conf");
