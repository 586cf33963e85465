//! `onward forwards …` and `onward domain …`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use control::{Forward, ask};
use envelope::{Domain as Name, Timestamp};

use super::Failing;

#[derive(Debug, Subcommand)]
pub(crate) enum Forwards {
    /// List forwards whose targets are dead or full
    Failing(Failing),
    /// List the forwards of a domain
    List {
        /// Which
        domain: Name,
    },
    /// Show the line of an address
    Show {
        /// An address, a pattern or `@example.org`
        #[arg(value_parser = address)]
        address: Address,
    },
    /// Make a forward in the own store, or put this one in its place
    Set(NewForward),
    /// Remove a forward from the own store
    Remove {
        /// An address, a pattern or `@example.org`
        #[arg(value_parser = address)]
        address: Address,
        #[command(flatten)]
        edit: Edit,
    },
    /// Print all forwards that count, or those of a domain, as lines of a file; of all, no daemon need be running
    Export {
        /// Which; without, all
        domain: Option<Name>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Hosted {
    /// List hosted domains
    List,
    /// Show the options of a domain
    Show {
        /// Which
        domain: Name,
    },
    /// Make a domain of the own store, or give it these options in the place of all that it has
    Set {
        /// Which
        domain: Name,
        /// Its options, as on a line of the forwards file
        #[arg(value_name = "NAME=VALUE", value_parser = option)]
        options: Vec<(String, String)>,
        /// For whoever reads it
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        edit: Edit,
    },
    /// Remove a domain from the own store, with all its forwards
    Remove {
        /// Which
        domain: Name,
        #[command(flatten)]
        edit: Edit,
    },
    /// Whether its mail and bounces come here, and SPF of its rewritten senders
    Dns {
        /// Which; it need not be hosted yet
        domain: Name,
    },
}

/// Whether something is changed.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NewForward {
    /// An address, a pattern or `@example.org`
    #[arg(value_parser = address)]
    address: Address,
    /// Addresses, or one action: `:discard:`, `:reject: 550 5.1.6 moved`
    #[arg(required = true)]
    targets: Vec<String>,
    /// An option, as on a line of the forwards file; several
    #[arg(long, value_name = "NAME=VALUE", value_parser = option)]
    option: Vec<(String, String)>,
    /// From then on its mail is refused: 2026-12-31T23:59:59Z
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    /// Its mail is refused
    #[arg(long)]
    disabled: bool,
    /// For whoever reads it
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    edit: Edit,
}

/// The local part, `@` for all, and the domain.
pub(crate) type Address = (String, Name);

impl NewForward {
    pub(crate) fn ask(&self) -> ask::ForwardPut {
        let (local, domain) = self.address.clone();
        ask::ForwardPut {
            domain,
            forward: Forward {
                local,
                targets: self.targets.clone(),
                options: self.option.iter().cloned().collect::<BTreeMap<_, _>>(),
                enabled: !self.disabled,
                expires_at: self.expires,
                note: self.note.clone(),
                place: String::new(),
            },
            if_match: None,
            dry_run: self.edit.dry_run,
        }
    }
}

fn address(text: &str) -> Result<Address, String> {
    let (local, domain) = text.rsplit_once('@').ok_or("it has no `@`")?;
    let domain = domain.parse().map_err(|wrong| format!("{wrong}"))?;
    let local = Some(local).filter(|local| !local.is_empty());
    Ok((local.unwrap_or("@").to_owned(), domain))
}

fn option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
