//! `onward dkim key`: a new key that signs, with the DNS record that makes it known and its table for the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use authentic::{Key, Kind};
use envelope::Domain;
use serde::Serialize;
use spool::Clock;

use crate::Failure;
use crate::cli::NewKey;
use crate::config::Config;
use crate::init::write_new;
use crate::print::Printer;

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
pub(crate) fn key(args: &NewKey, config: &Path, print: Printer) -> Result<(), Failure> {
    let name = |text: String| {
        let hint = "name the domain with `--domain`, and another selector with `--selector`";
        let domain = text.parse::<Domain>();
        domain.map_err(|error| format!("`{text}`: {error}\n\nhint: {hint}"))
    };
    let domain = match &args.domain {
        Some(domain) => domain.clone(),
        None => {
            let config = Config::load(config).map_err(|error| {
                let hint = "`--domain example.net` needs no configuration";
                format!("for which domain is it? {error}\n\nhint: {hint}")
            })?;
            name(config.hostname)?
        }
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
    let (key, pem) = Key::generate(domain, selector, kind).ok_or(UNMADE)?;
    let path = &args.file;
    match write_new(path, 0o600, pem.as_bytes()) {
        Ok(true) => {}
        Ok(false) => {
            let hint = "name a file that does not exist, and the key with another selector";
            let text = "exists, and is left as it is";
            return Err(format!("{} {text}\n\nhint: {hint}", path.display()).into());
        }
        Err(error) => {
            let hint = "name a file in a folder that you may write to";
            let path = path.display();
            return Err(format!("cannot write {path}: {error}\n\nhint: {hint}").into());
        }
    }
    let made = made(&key, path).ok_or(UNMADE)?;
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

const UNMADE: &str = "the system's cryptography cannot make a key";
/// `2026-11-28`.
const DATE_OCTETS: usize = 10;
