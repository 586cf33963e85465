//! `onward import …`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// What has forwarded the mail so far
    pub(crate) kind: Kind,
    /// Its files
    pub(crate) path: PathBuf,
    /// The folder to write into; it is made if need be
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) into: PathBuf,
    /// Write nothing; print what would be written
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Overwrite `forwards`; a configuration and secrets that are there stay
    #[arg(long)]
    pub(crate) force: bool,
    /// Ask Postfix's `postmap` about every address, too; the exit code is 1 if it answers otherwise
    #[arg(long)]
    pub(crate) compare: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// /etc/postfix, with its tables, /etc/aliases and postsrsd beside it
    Postfix,
    /// A folder of alias files, one a domain, or one of them
    Exim,
    /// cPanel's /etc/valiases, with /etc/vdomainaliases beside it
    Valiases,
    /// DirectAdmin's /etc/virtual
    Directadmin,
    /// Virtualmin's /etc/postfix/virtual, with /etc/aliases
    Virtualmin,
    /// A zone file with `forward-email=` records, or a list of `DOMAIN forward-email=…`
    Forwardemail,
    /// /etc/default/postsrsd or /etc/postsrsd.conf
    Postsrsd,
}
