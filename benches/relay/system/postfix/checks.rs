//! What Debian has to check senders with, beside Postfix: policyd-spf for SPF, opendkim for DKIM, opendmarc for DMARC; Postfix itself asks
//! the blocklists.
//!
//! All but opendkim find their DNS server in /etc/resolv.conf alone. So they run where that file is another one: in a mount namespace of
//! their own, which takes root, and changes nothing for the machine.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::system::program::says;
use crate::system::template::fill;
use crate::system::{BLOCKLISTS, HOST, Place, free_address};

/// What Postfix is told of them; nothing where senders are not checked.
#[derive(Default)]
pub(super) struct Checks {
    /// `smtpd_recipient_restrictions`.
    pub(super) restrictions: String,
    /// `smtpd_milters`.
    pub(super) milters: String,
    /// The policy service's line in `master.cf`.
    pub(super) service: String,
    /// Words before a command that let it run in the namespace.
    pub(super) within: Vec<String>,
}

/// Starts the milters, and waits for them; the policy service is Postfix's to start.
pub(super) fn start(place: &Place<'_>, resolver: SocketAddr) -> io::Result<Checks> {
    let missing = ["opendkim", "opendmarc"]
        .into_iter()
        .find(|milter| says(milter, &["-V"]).is_none());
    if let Some(name) = missing {
        return Err(io::Error::other(format!("{name} is missing: {ADVICE}")));
    }
    if resolver.port() != 53 {
        let text =
            "the DNS server of the checks is not on port 53: resolv.conf has no word for that";
        return Err(io::Error::other(text));
    }
    place.write("resolv.conf", &format!("nameserver {}\n", resolver.ip()))?;
    let within = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        MOUNT,
        &place.path("resolv.conf"),
    ];
    let within = within.map(str::to_owned).to_vec();
    let (dkim, dmarc) = (free_address()?, free_address()?);
    let values = [
        ("HOST", HOST.to_owned()),
        ("RESOLVER", resolver.ip().to_string()),
        ("IGNORED", place.path("ignored")),
        ("DKIM_PORT", dkim.port().to_string()),
        ("DMARC_PORT", dmarc.port().to_string()),
    ];
    let values = values
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    for (name, text) in FILES {
        place.write(name, &fill(text, &values))?;
    }
    for (milter, option, file) in [
        ("opendkim", "-x", "opendkim.conf"),
        ("opendmarc", "-c", "opendmarc.conf"),
    ] {
        let command = [milter, "-f", option, &place.path(file)].map(str::to_owned);
        place.spawn(&[within.clone(), command.to_vec()].concat())?;
    }
    wait_for(dkim)?;
    wait_for(dmarc)?;
    let lists = BLOCKLISTS
        .map(|zone| format!("reject_rhsbl_sender {zone}, reject_rhsbl_helo {zone}"))
        .join(", ");
    Ok(Checks {
        restrictions: format!("{lists}, check_policy_service unix:private/policyd-spf"),
        milters: format!("inet:{dkim}, inet:{dmarc}"),
        service: format!("{SERVICE}{}", place.path("policyd-spf.conf")),
        within,
    })
}

fn wait_for(milter: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + START;
    while TcpStream::connect(milter).is_err() {
        if Instant::now() > deadline {
            return Err(io::Error::other("a milter does not listen"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

const MOUNT: &str = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
/// As policyd-spf's manual has it; the file's path follows.
const SERVICE: &str =
    "policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf ";
const FILES: [(&str, &str); 4] = [
    ("opendkim.conf", include_str!("opendkim.conf")),
    ("opendmarc.conf", include_str!("opendmarc.conf")),
    ("policyd-spf.conf", include_str!("policyd-spf.conf")),
    ("ignored", "192.0.2.1\n"),
];
const ADVICE: &str = "apt-get install opendkim opendmarc postfix-policyd-spf-python";
const START: Duration = Duration::from_secs(10);
