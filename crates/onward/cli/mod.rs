//! The command line: what can be typed, and what it is called.

mod config;
mod forwards;
mod freeze;
mod history;
mod http;
mod import;
mod node;
mod queue;
mod senders;
mod site;
mod spool;
mod status;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use envelope::{AddressError, Domain, Mailbox, ReversePath};

pub(crate) use config::Config;
pub(crate) use forwards::{Forwards, Hosted};
pub(crate) use freeze::Freeze;
pub(crate) use history::{Failing, Stats, Trace};
pub(crate) use http::{Http, NewToken};
pub(crate) use import::{Import, Kind};
#[cfg(feature = "postgres")]
pub(crate) use node::Drained;
pub(crate) use node::Node;
pub(crate) use queue::{Act, Queue};
pub(crate) use senders::{Auth, Build, Claim, Dkim, LintOf, NewKey, Spf};
pub(crate) use site::{Drain, Site};
pub(crate) use spool::{Spool, Srs};
pub(crate) use status::Status;

/// Onward, a forwarding MX with SRS.
///
/// Takes mail for hosted domains, rewrites the envelope sender so that SPF passes at the next hop, delivers to the
/// mailboxes that customers named, and carries bounces back to the original sender.
#[derive(Debug, Parser)]
#[command(
    name = "onward",
    version,
    after_help = "Exit codes: 0 fine, 1 a problem was found, 2 wrong usage, 3 nothing matched.\nTry `onward demo` first: it needs no configuration."
)]
pub(crate) struct Cli {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/onward/onward.toml"
    )]
    pub(crate) config: PathBuf,
    /// Print JSON, for machines
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the relay in the foreground (SIGTERM drains and stops, SIGHUP reloads)
    Serve,
    /// Run a complete relay on loopback, with a built-in destination, and send one message through it
    Demo(Demo),
    /// Write a starter configuration, forwards file and SRS secret into a folder
    Init(Init),
    /// Take over forwards, routes and SRS secrets from another server's files, and say what could not be carried over
    ///
    /// The old server's files are only read. Look at the result, and at what is left, before it serves.
    Import(Import),
    /// Check configuration, forwards, secrets, certificate and spool; start nothing
    Check {
        /// Ask DNS, too, whether the world agrees: MX, SPF, PTR, DKIM, TLSA, blocklists
        #[arg(long)]
        dns: bool,
    },
    /// Say whether the world agrees with the configuration (MX, SPF, PTR, DKIM, TLSA, blocklists, certificate, clock, disk), and what
    /// to publish
    ///
    /// The running daemon looks; without one, this program does. The exit code is 1 if anything is bad.
    Doctor {
        /// Connect to mail servers elsewhere, too (`doctor.connect`), to see whether port 25 is blocked
        #[arg(long)]
        connect: bool,
    },
    /// Have the running daemon read forwards, secrets, certificate and configuration again, and say what changed
    Reload {
        /// Take a forwards file even if it has lost much of what it had, or its last line has no end
        #[arg(long)]
        force: bool,
    },
    /// Look at the configuration: what holds, the defaults, what a reload would change
    #[command(subcommand)]
    Config(Config),
    /// Show the running daemon on one screen: queue, rates, limits, health; or check it for monitoring
    Status(Status),
    /// Watch the running daemon: rates, sites, senders, refusals, looked at each second
    ///
    /// `q` quits. `1` and `2` sort by the first and the second count, `n` by name; Tab puts the next list first. Where there is no
    /// terminal, or with `--json`, one look is printed.
    Top,
    /// Say what became of messages: how each came in, what was found out about it, where it went, what was answered
    ///
    /// All that is said must fit; with nothing said, the latest messages are shown. Exit code 3: nothing matched.
    Trace(Trace),
    /// Sum up what came and what became of it: who sends much, whose forward is refused, what sites answer
    Stats(Stats),
    /// Look at forwards and how they do, and change those of the own store
    #[command(subcommand)]
    Forwards(Forwards),
    /// Look at hosted domains, and change those of the own store
    #[command(subcommand)]
    Domain(Hosted),
    /// Look at the queue and change what is in it
    #[command(subcommand)]
    Queue(Queue),
    /// Look at the spool while no daemon runs: is it whole, rebuild its index, take the mail out and back in; or copy it any time
    #[command(subcommand)]
    Spool(Spool),
    /// Look at what is frozen because it broke a limit, and let it go again
    #[command(subcommand)]
    Freeze(Freeze),
    /// Look at the nodes that share a spool in PostgreSQL, and take one out
    #[command(subcommand)]
    Node(Node),
    /// Look at the sites that mail goes to, pause and limit them
    #[command(subcommand)]
    Site(Site),
    /// Look at what TLS with the hosts of a domain was like
    #[command(subcommand)]
    Tls(Tls),
    /// Take no more mail, and deliver what is queued: before maintenance
    ///
    /// Clients are answered 421 where they would begin; transactions that are open go on to their end. A restart ends it.
    Drain(Drain),
    /// Rewrite an address, or take a rewritten one back, with the configured domain and secrets; or begin a new secret
    #[command(subcommand)]
    Srs(Srs),
    /// Say what the running daemon would decide on a mail, and why: every rule, and what it asked; nothing is sent or counted
    ///
    /// The first rule that objects refuses; one that grants accepts; a note is done if the mail is accepted. The exit code is 1 if it
    /// would be refused.
    Explain(Explain),
    /// Ask SPF about a client and a sender, or about the record of a domain
    #[command(subcommand)]
    Spf(Spf),
    /// Say what SPF, DKIM, DMARC and ARC prove of a message: the Authentication-Results field that goes on top of it
    Auth(Auth),
    /// Make keys that sign
    #[command(subcommand)]
    Dkim(Dkim),
    /// Write man pages and shell completions into a folder, for packages
    #[command(hide = true)]
    Papers {
        /// The folder; it is made if need be
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Say who may use the HTTP API
    #[command(subcommand)]
    Http(Http),
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The recipient
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: String,
    /// The sender in MAIL FROM; `<>` or nothing for a bounce
    #[arg(long, value_name = "ADDRESS", default_value = "<>", value_parser = reverse_path)]
    pub(crate) from: ReversePath,
    /// The client's address (default: one that nobody has)
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    pub(crate) ip: IpAddr,
    /// What it says in EHLO
    #[arg(long, value_name = "NAME", default_value = "client.example")]
    pub(crate) helo: String,
    /// Who has logged in on a submission port, instead of a stranger who comes to the MX
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The message, for the rules at its end; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Show today's report for a domain; with --json, as it would be sent (RFC 8460)
    Report {
        /// The domain of recipients
        domain: Domain,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the spool in this folder instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
    /// The relay's port; the destination takes the next one (0: any free ports)
    #[arg(long, default_value_t = 2525)]
    pub(crate) port: u16,
    /// Stop after the first message and its bounce instead of running on
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder to write into; it is made if need be
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// The full name of this machine, as in its MX record (default: what the system says)
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Who looks after it, and gets mail to postmaster: a mailbox on another server
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) postmaster: Option<Mailbox>,
    /// Take over the secrets of postsrsd from its file
    #[arg(long, value_name = "FILE")]
    pub(crate) import_postsrsd: Option<PathBuf>,
}

pub(crate) fn reverse_path(text: &str) -> Result<ReversePath, AddressError> {
    match text.trim_start_matches('<').trim_end_matches('>') {
        "" => Ok(ReversePath::Null),
        address => address.parse().map(ReversePath::Mailbox),
    }
}
