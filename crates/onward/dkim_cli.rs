//! `onward dkim key`: a new key that signs, with the DNS record that makes it known and its table for the configuration.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use authentic::{Key, Kind};
use envelope::Domain;
use serde::Serialize;
use spool::Clock;

use crate::cli::NewKey;
use crate::config::Config;
use crate::init::write_new;
use crate::print::Printer;

/// Why there is no new key. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("for which domain is it? {0}\n\nhint: `--domain example.net` needs no configuration")]
    Config(#[from] crate::files::FileError),
    #[error(
        "`{0}`: {1}\n\nhint: name the domain with `--domain`, and another selector with `--selector`"
    )]
    Name(String, envelope::DomainError),
    #[error("cannot write {path}: {source}\n\nhint: name a file in a folder that you may write to")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{0} exists, and is left as it is\n\nhint: name a file that does not exist, and the key with another selector"
    )]
    Exists(PathBuf),
    #[error("the system's cryptography cannot make a key")]
    Unmade,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    record_name: String,
    record: String,
    zone_line: String,
    dkim: [Table; 1],
}

/// As the configuration has it.
#[derive(Debug, Serialize)]
struct Table {
    name: String,
    domain: String,
    selector: String,
    key: PathBuf,
}

/// Makes the key, writes it, and says what to do with it.
pub(crate) fn key(args: &NewKey, config: &Path, print: Printer) -> Result<(), Error> {
    let name = |text: String| {
        text.parse::<Domain>()
            .map_err(|error| Error::Name(text, error))
    };
    let domain = match &args.domain {
        Some(domain) => domain.clone(),
        None => name(Config::load(config)?.hostname)?,
    };
    let selector = match &args.selector {
        Some(selector) => selector.clone(),
        None => name(Clock::real().now().to_string()[..DATE_OCTETS].replace('-', ""))?,
    };
    let kind = match &*args.rsa {
        _ if args.ed25519 => Kind::Ed25519,
        "4096" => Kind::Rsa4096,
        _ => Kind::Rsa2048,
    };
    let (key, pem) = Key::generate(domain, selector, kind).ok_or(Error::Unmade)?;
    let path = &args.file;
    match write_new(path, 0o600, pem.as_bytes()) {
        Ok(true) => {}
        Ok(false) => return Err(Error::Exists(path.clone())),
        Err(source) => {
            let path = path.clone();
            return Err(Error::Write { path, source });
        }
    }
    let made = made(&key, path).ok_or(Error::Unmade)?;
    print.value(&made, |print, made| {
        let names = match kind {
            Kind::Ed25519 => "`sign`",
            _ => "`sign`, `seal` or both",
        };
        let tables = toml::to_string(&BTreeMap::from([("dkim", &made.dkim)])).unwrap_or_default();
        print.line(format_args!(
            "wrote {}\n\nInto the DNS:\n\n{}\n\nInto the configuration, and then name it with {names}, in a [[profile]] or on a line of the forwards:\n\n{tables}",
            path.display(),
            made.zone_line
        ));
    });
    Ok(())
}

fn made(key: &Key, path: &Path) -> Option<Made> {
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    Some(Made {
        record_name: key.record_name(),
        record: key.record()?,
        zone_line: key.zone_line()?,
        dkim: [Table {
            name: stem.to_string_lossy().into_owned(),
            domain: key.domain.to_string(),
            selector: key.selector.to_string(),
            key: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        }],
    })
}

/// `2026-11-28`.
const DATE_OCTETS: usize = 10;
