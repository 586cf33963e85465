//! OpenSMTPD with its native SRS: a copy of its own, beside whatever the machine runs.
//!
//! Its paths are built in (`/var/spool/smtpd`, `/run/smtpd.sock`), so that it runs in a mount namespace where `/var/spool`, `/var/lib` and
//! `/run` are in the bench's folder, which must not be below one of them. `opensmtpd/smtpd.conf` says what is set and why.
//!
//! It does not sync what it accepts (strace shows no fsync on the way of a message, in 6.8.0p2): its rate is flattered, and reports say so.
//!
//! What else differs: its SRS addresses are in the domain of the recipient; one that cannot be read back is relayed, not refused; and as all
//! of 127.0.0.0/8 is local to it, it relays for the load. None of the three costs it anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::{fs, io};

use super::program::says;
use super::queue::{Messages, Queue};
use super::template::fill;
use super::unpacked::{self, Binary};
use super::{Found, HOST, Missing, Place, SRS_DOMAIN};

/// The version of OpenSMTPD, its users, and the right to run it.
pub(super) fn find() -> Result<Found, Missing> {
    let missing = |reason: &str| Missing {
        reason: reason.to_owned(),
        advice: unpacked::ADVICE,
    };
    let smtpd = binary().ok_or_else(|| missing("OpenSMTPD is not installed"))?;
    let said = smtpd.says(&["-h"]).unwrap_or_default();
    let version = said
        .lines()
        .find_map(|line| line.strip_prefix("version: "))
        .ok_or_else(|| missing(said.lines().next().unwrap_or("it says nothing")))?;
    for user in USERS {
        if says("id", &["-u", user]).is_none_or(|id| id.parse::<u32>().is_err()) {
            return Err(missing(&format!("there is no user {user}")));
        }
    }
    if !rustix::process::geteuid().is_root() {
        return Err(missing("OpenSMTPD must be started by root"));
    }
    Ok(Found {
        version: version.to_owned(),
        durability: "NOT the same: body and envelope are files of their own, renamed into place but not synced before the 250; it has no option for that",
    })
}

/// Starts it.
pub(super) fn start(place: &Place<'_>) -> io::Result<Queue> {
    let smtpd = binary().ok_or(io::ErrorKind::NotFound)?;
    make_folders(place.folder())?;
    write_configuration(place)?;
    let serve = smtpd.command(&["-d", "-f", &place.path("smtpd.conf")]);
    // The program insists on its group; a package would have made it set-group-id.
    let group = ["setpriv", "--regid", USERS[1], "--keep-groups"].map(str::to_owned);
    let retry_all = smtpd.sibling("smtpctl").command(&["schedule", "all"]);
    let retry_all = [group.to_vec(), retry_all].concat();
    place.spawn(&in_namespace(place, serve))?;
    Ok(Queue {
        messages: Messages::Files {
            folders: vec![place.folder().join("var/spool/smtpd/queue")],
            counts: |name| name == "message",
        },
        retry_all: in_namespace(place, retry_all),
    })
}

fn binary() -> Option<Binary> {
    unpacked::find(&["smtpd"])
}

/// The folders that it wants, with the rights that it insists on.
fn make_folders(folder: &Path) -> io::Result<()> {
    for name in ["var/spool/smtpd", "var/lib/opensmtpd/empty", "run"] {
        fs::create_dir_all(folder.join(name))?;
    }
    let spool = folder.join("var/spool/smtpd");
    fs::set_permissions(spool, fs::Permissions::from_mode(0o711))
}

fn write_configuration(place: &Place<'_>) -> io::Result<()> {
    let setup = place.setup;
    let hosted = [place.hosted(), vec![SRS_DOMAIN]].concat();
    place.write("hosted", &(hosted.join("\n") + "\n"))?;
    let mut forwards = String::new();
    for (address, target) in &setup.forwards {
        // Writing to a string does not fail.
        let _ = writeln!(forwards, "{address} {target}");
    }
    place.write("forwards", &forwards)?;
    let values = [
        ("FOLDER", place.folder().display().to_string()),
        ("HOST", HOST.to_owned()),
        ("PORT", place.address.port().to_string()),
        ("CONNECTIONS_OUT", setup.connections_out.to_string()),
        (
            "CONNECTIONS_ALL",
            (setup.connections_out * setup.routes.len()).to_string(),
        ),
        ("MESSAGE_SIZE", setup.message_size.to_string()),
        ("ROUTES", routes(place)?),
    ];
    let values = values
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    place.write("smtpd.conf", &fill(CONFIGURATION, &values))
}

/// An action for each sink, and the rules, of which the first that fits is taken.
fn routes(place: &Place<'_>) -> io::Result<String> {
    let mut sinks = BTreeMap::<SocketAddr, Vec<&str>>::new();
    for (domain, sink) in &place.setup.routes {
        sinks.entry(*sink).or_default().push(domain);
    }
    let (mut actions, mut named, mut all) = (Vec::new(), Vec::new(), None);
    for (number, (sink, mut domains)) in sinks.into_iter().enumerate() {
        let action = format!("action \"relay{number}\"");
        actions.push(format!("{action} relay srs host smtp+notls://{sink}"));
        if domains.contains(&"*") {
            all = Some(action.clone());
            domains.retain(|domain| *domain != "*");
        }
        if !domains.is_empty() {
            let table = format!("domains{number}");
            place.write(&table, &(domains.join("\n") + "\n"))?;
            actions.push(format!("table {table} file:{}", place.path(&table)));
            named.push(format!("match from local for domain <{table}> {action}"));
        }
    }
    let mut rules = vec!["match from any for domain <hosted> action \"forward\"".to_owned()];
    rules.append(&mut named);
    if let Some(action) = all {
        // The rule is chosen by the SRS address itself, before it is read back: all bounces go this way.
        rules.insert(
            0,
            format!("match from any for rcpt-to regex \"^SRS[01]=\" {action}"),
        );
        rules.push(format!("match from local for any {action}"));
    }
    Ok([actions, rules].concat().join("\n"))
}

/// The command line in a mount namespace with these folders of the place: the same for all that are started so.
fn in_namespace(place: &Place<'_>, command: Vec<String>) -> Vec<String> {
    let folder = place.folder().display().to_string();
    let enter = ["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", &folder];
    enter
        .map(str::to_owned)
        .into_iter()
        .chain(command)
        .collect()
}

const NAMESPACE: &str = r#"for at in var/spool var/lib run; do mount --bind "$1/$at" "/$at" || exit; done; shift; exec "$@""#;

/// The users that its build wants.
const USERS: [&str; 2] = ["opensmtpd", "opensmtpq"];

const CONFIGURATION: &str = include_str!("opensmtpd/smtpd.conf");
