//! `onward spf …`, `onward auth` and `onward dkim …`: what is proved of senders.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use envelope::{Domain, ReversePath};

use super::reverse_path;

#[derive(Debug, Subcommand)]
pub(crate) enum Spf {
    /// Say whether this client may send for this sender, and which record says so
    ///
    /// The first word is the result: pass, fail, softfail, neutral, none, temperror or permerror. The exit code is 0 after pass,
    /// neutral and none, else 1.
    Check(Claim),
    /// Say what is wrong with the record of a domain, and print the record that would be right
    ///
    /// The exit code is 0 if mail does not suffer from what is published, else 1.
    Lint(LintOf),
    /// Print the record of a domain that lets our addresses send, with all that it says now
    ///
    /// The exit code is 1 if no record would do: the reason stands in the comments.
    Build(Build),
}

#[derive(Debug, Args)]
pub(crate) struct LintOf {
    /// The domain
    #[arg(value_name = "DOMAIN")]
    pub(crate) domain: Domain,
    /// The name server to ask (default: that of the configuration, or the system's)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) server: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The domains (default: the SRS domains of the configuration)
    #[arg(value_name = "DOMAIN")]
    pub(crate) domains: Vec<Domain>,
    /// An address that sends; may be given again (default: `doctor.addresses`, else `delivery.bind`)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Vec<IpAddr>,
    /// The name server to ask (default: that of the configuration, or the system's)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) server: Option<SocketAddr>,
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

/// A message, and who sent it.
#[derive(Debug, Args)]
pub(crate) struct Auth {
    /// The message; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) claim: Claim,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dkim {
    /// Write a new key, and print its DNS record and its table for the configuration
    Key(NewKey),
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
