//! Onward itself: the binary that Cargo built for this bench, in the release profile.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;

use super::program::says;
use super::queue::{Messages, Queue};
use super::template::fill;
use super::{BLOCKLISTS, Found, HOST, Missing, Place, SRS_DOMAIN};

/// Its version.
pub(super) fn find() -> Result<Found, Missing> {
    match says(PROGRAM, &["--version"]) {
        Some(version) => Ok(Found {
            version: version.replace("onward", "Onward"),
            durability: "the record is in the log and fdatasync has returned before the 250; one serves all who wait",
        }),
        None => Err(Missing {
            reason: format!("{PROGRAM} does not run"),
            advice: "cargo build --release",
        }),
    }
}

/// Starts it.
pub(super) fn start(place: &Place<'_>) -> io::Result<Queue> {
    let setup = place.setup;
    let routes: String = setup
        .routes
        .iter()
        .map(|(domain, host)| {
            format!("[[delivery.route]]\ndomain = \"{domain}\"\nhost = \"{host}\"\n\n")
        })
        .collect();
    let forwards: String = setup
        .forwards
        .iter()
        .map(|(address, target)| format!("{address} {target}\n"))
        .collect();
    let checks = setup.checks.map(|_| checks()).unwrap_or_default();
    let resolver = setup.checks.unwrap_or(NO_RESOLVER);
    let (retry, probe) = if setup.retry_quickly {
        ("1s", "1s")
    } else {
        ("1m", "30s")
    };
    let values = [
        ("HOST", HOST),
        ("SRS_DOMAIN", SRS_DOMAIN),
        ("BIND", &place.address.to_string()),
        (
            "CONNECTIONS_IN",
            &(setup.connections_in + SPARE).to_string(),
        ),
        ("CONNECTIONS_OUT", &setup.connections_out.to_string()),
        ("MESSAGE_SIZE", &setup.message_size.to_string()),
        ("RETRY", retry),
        ("PROBE", probe),
        ("TLS", setup.tls.map_or("", |_| TLS)),
        ("RESOLVER", &resolver.to_string()),
        ("CHECKS", &checks),
        ("EXTRA", setup.extra),
        ("ROUTES", &routes),
    ];
    place.write("onward.toml", &fill(CONFIGURATION, &values))?;
    place.write("forwards", &forwards)?;
    place.write("srs.secrets", "a secret that only the bench knows\n")?;
    let secrets = place.folder().join("srs.secrets");
    fs::set_permissions(secrets, fs::Permissions::from_mode(0o600))?;
    let configuration = place.path("onward.toml");
    place.spawn(&[PROGRAM, "--config", &configuration, "serve"])?;
    let socket = place.folder().join("spool/control.sock");
    Ok(Queue {
        messages: Messages::Socket(socket),
        retry_all: [
            PROGRAM,
            "--config",
            &configuration,
            "queue",
            "retry",
            "--all",
        ]
        .map(str::to_owned)
        .to_vec(),
    })
}

/// All that refuses; what is found stands in Authentication-Results in any case.
fn checks() -> String {
    let lists = BLOCKLISTS.map(|zone| {
        let reply = "554 5.7.1 you are listed";
        format!(
            "[[dnsbl]]\nname = \"{zone}\"\nzone = \"{zone}\"\nkind = \"domain\"\nreply = \"{reply}\"\n\n"
        )
    });
    format!(
        "[[profile]]\nname = \"default\"\nspf = \"reject\"\ndmarc = \"reject\"\ndnsbl = {BLOCKLISTS:?}\n\n{}",
        lists.concat()
    )
}

const NO_RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
const TLS: &str = "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";

/// Connections besides those of the load: for looking at the greeting.
const SPARE: usize = 16;

const PROGRAM: &str = env!("CARGO_BIN_EXE_onward");

const CONFIGURATION: &str = include_str!("onward/onward.toml");
