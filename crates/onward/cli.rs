//! The command line: what can be typed, and what it is called.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use control::ask::FreezeLift;
use control::{LegState, Selector};
use envelope::{
    AddressError, AddressPattern, Domain, IdPattern, MessageId, ReversePath, SenderPattern,
};

/// Onward, a forwarding MX with SRS.
///
/// Takes mail for hosted domains, rewrites the envelope sender so that SPF passes at the next hop, delivers to the
/// mailboxes that customers named, and carries bounces back to the original sender.
#[derive(Debug, Parser)]
#[command(
    name = "onward",
    version,
    after_help = "Exit codes: 0 fine, 1 a problem was found, 2 wrong usage.\nTry `onward demo` first: it needs no configuration."
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
    /// Check configuration, forwards, secrets, certificate and spool; start nothing
    Check,
    /// Have the running daemon read forwards, secrets, certificate and configuration again, and say what changed
    Reload {
        /// Take a forwards file even if it has lost much of what it had, or its last line has no end
        #[arg(long)]
        force: bool,
    },
    /// Show the running daemon at a glance: version, queue, and what happened since its start
    Status,
    /// Look at the queue and change what is in it
    #[command(subcommand)]
    Queue(Queue),
    /// Look at the spool while no daemon runs: is it whole, rebuild its index, take the mail out
    #[command(subcommand)]
    Spool(Spool),
    /// Look at what is frozen because it broke a limit, and let it go again
    #[command(subcommand)]
    Freeze(Freeze),
    /// Rewrite an address, or take a rewritten one back, with the configured domain and secrets
    #[command(subcommand)]
    Srs(Srs),
    /// Say what the running daemon would decide on a mail, and why: every rule, and what it asked; nothing is sent or counted
    ///
    /// The first rule that objects refuses; one that grants accepts; a note is done if the mail is accepted. The exit code is 1 if it
    /// would be refused.
    Explain(Explain),
    /// Ask SPF about a client and a sender
    #[command(subcommand)]
    Spf(Spf),
    /// Say what SPF, DKIM, DMARC and ARC prove of a message: the Authentication-Results field that goes on top of it
    Auth(Auth),
    /// Make keys that sign
    #[command(subcommand)]
    Dkim(Dkim),
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
    /// The message, for the rules at its end; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
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
    #[arg(value_name = "DIR", default_value = "/etc/onward")]
    pub(crate) folder: PathBuf,
    /// The full name of this machine
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Take over the secrets of postsrsd from its file
    #[arg(long, value_name = "FILE")]
    pub(crate) import_postsrsd: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List what is queued, oldest first
    List {
        #[command(flatten)]
        which: Which,
        /// Show at most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show one message: envelope, legs, what happened so far
    Show {
        /// The message id
        id: MessageId,
    },
    /// Print the bytes of one message
    Cat {
        /// The message id
        id: MessageId,
    },
    /// Try again now, also where the destination is down
    ///
    /// A destination that is down is probed at once, with one connection, and not only after its pause. When that fails the
    /// next pause is the longer one. What is held stays held.
    Retry(Which),
    /// Keep it, without trying, until released
    Hold(Which),
    /// Let what is held go again
    Release(Which),
    /// Delete without telling anyone
    Remove(Which),
    /// Give up now and tell the sender
    Bounce(Which),
}

/// Which legs. All that is given must match; for a change, something must be given.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Which {
    /// Message ids
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<IdPattern>,
    /// Every leg in the queue
    #[arg(long)]
    pub(crate) all: bool,
    /// Target address or domain
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    pub(crate) to: Option<AddressPattern>,
    /// Original sender, address or domain; `<>` for bounces
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    pub(crate) from: Option<SenderPattern>,
    /// Only legs in this state: waiting, active, held
    #[arg(long)]
    pub(crate) state: Option<LegState>,
    /// Only messages that came in longer ago than this, as in 2h
    #[arg(long, value_name = "SPAN")]
    pub(crate) older_than: Option<humantime::Duration>,
}

impl Which {
    pub(crate) fn selector(&self) -> Selector {
        Selector {
            ids: self.ids.clone(),
            all: self.all,
            to: self.to.clone(),
            from: self.from.clone(),
            state: self.state,
            older_than_secs: self.older_than.map(|span| span.as_secs()),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Freeze {
    /// List what is frozen, by which limit and since when
    List,
    /// End a freeze
    ///
    /// Mail is taken again. What was put on hold of a frozen user stays on hold, for you to look at.
    Lift(Lifted),
}

/// Which freezes end, and what becomes of the mail.
#[derive(Debug, Args)]
pub(crate) struct Lifted {
    /// A user, a client's address, a sender, a domain, as the list shows it; `user:NAME` if a name is frozen in several ways
    #[arg(
        value_name = "KEY",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    key: Option<String>,
    /// Everything that is frozen
    #[arg(long)]
    all: bool,
    /// Let the user's mail go that the freeze has put on hold; what a filter or a limit has put aside stays
    #[arg(long)]
    release: bool,
}

impl Lifted {
    pub(crate) fn lift(&self) -> FreezeLift {
        FreezeLift {
            key: self.key.clone(),
            all: self.all,
            release: self.release,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Spool {
    /// Read every record and every body, and say what is queued and what is damaged; changes nothing
    Verify,
    /// Rebuild the index from the log (`serve` does so by itself when it cannot use the old one)
    Rebuild,
    /// Write every queued message as ID.eml and ID.json into a folder, also from a damaged spool; changes nothing
    Export {
        /// The folder to write into; it is made if need be, and nothing in it is overwritten
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Srs {
    /// Rewrite a sender as a forward would
    Encode {
        /// The original sender
        address: String,
    },
    /// Take a rewritten address back to what it stands for, and say whether it is valid
    Decode {
        /// The SRS0 or SRS1 address
        address: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Spf {
    /// Say whether this client may send for this sender, and which record says so
    ///
    /// The first word is the result: pass, fail, softfail, neutral, none, temperror or permerror. The exit code is 0 after pass,
    /// neutral and none, else 1.
    Check(Claim),
}

/// Who says to be whom.
#[derive(Debug, Args)]
pub(crate) struct Claim {
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: IpAddr,
    /// What it says in EHLO
    #[arg(long, value_name = "NAME")]
    pub(crate) helo: String,
    /// The sender in MAIL FROM; `<>` or nothing for a bounce: then the name in EHLO is asked about
    #[arg(long, value_name = "ADDRESS", default_value = "<>", value_parser = reverse_path)]
    pub(crate) from: ReversePath,
    /// The name server to ask (default: that of the configuration, or the system's)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) server: Option<SocketAddr>,
}

fn reverse_path(text: &str) -> Result<ReversePath, AddressError> {
    match text.trim_start_matches('<').trim_end_matches('>') {
        "" => Ok(ReversePath::Null),
        address => address.parse().map(ReversePath::Mailbox),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dkim {
    /// Write a new key, and print its DNS record and its table for the configuration
    Key(NewKey),
}

/// A message, and who sent it.
#[derive(Debug, Args)]
pub(crate) struct Auth {
    /// The message; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) claim: Claim,
}

#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// The file to write; one that exists is left as it is
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Which of the domain's keys it is to be (default: today's date)
    #[arg(long)]
    pub(crate) selector: Option<Domain>,
    /// The domain that it signs for (default: `hostname` of the configuration)
    #[arg(long)]
    pub(crate) domain: Option<Domain>,
    /// An RSA key of so many bits, which every verifier understands
    #[arg(long, value_name = "BITS", default_value = "2048", value_parser = ["2048", "4096"])]
    pub(crate) rsa: String,
    /// An Ed25519 key instead: short, but many verifiers pass its signatures over, and it cannot seal
    #[arg(long, conflicts_with = "rsa")]
    pub(crate) ed25519: bool,
}
