//! `onward auth`: what SPF, DKIM, DMARC and ARC say of a message in a file. No daemon need run, and no configuration be there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use authentic::{Checked, Parsed, Reader};
use envelope::Domain;
use relay::giver::Giver;
use relay::sender_policy;
use serde::Serialize;
use spool::Clock;

use crate::cli::Auth;
use crate::config::Config;
use crate::message::{Message, Unreadable};
use crate::print::Printer;
use crate::spf_cli;
use crate::{Exit, Failure};

/// What one method said.
#[derive(Serialize)]
struct Said<'a> {
    method: &'static str,
    result: &'static str,
    reason: &'a str,
    properties: BTreeMap<&'static str, &'a str>,
}

/// Prints the Authentication-Results field that a relay would put on top.
pub(crate) async fn run(args: &Auth, config: &Path, print: Printer) -> Result<Exit, Failure> {
    let claim = &args.claim;
    let message = read(&args.file).map_err(|error| Unreadable(args.file.clone(), error))?;
    let hostname = match config.exists() {
        true => Config::load(config)?.hostname.parse().ok(),
        false => None,
    };
    let hostname = hostname.unwrap_or_else(Domain::localhost);
    let resolver = spf_cli::resolver(claim.server, config)?;
    let query = sender_policy::query(claim.ip, &claim.helo, &claim.from);
    let spf = sender_policy::check(&resolver, query, &claim.from).await;
    let now = Clock::real().now().unix_secs();
    let results = sender_policy::verify(&resolver, &message, Some(&spf), now).await;
    let giver = Giver::new(claim.ip, &claim.helo, &claim.from, false);
    let checked = giver.checked(Some(&spf), Some(&results));
    let said: Vec<_> = checked.iter().map(Said::from).collect();
    print.value(&said, |print, _| {
        let field = authentic::field(&hostname, &checked);
        for line in field.lines() {
            print.line(line.replace('\t', "    "));
        }
    });
    Ok(Exit::Fine)
}

fn read(file: &Path) -> io::Result<Parsed> {
    let (mut message, mut reader) = (Message::open(file)?, Reader::default());
    let mut piece = [0; PIECE_OCTETS];
    loop {
        match message.read(&mut piece)? {
            0 => return Ok(reader.finish()),
            octets => reader.feed(&piece[..octets]),
        }
    }
}

impl<'a> From<&'a Checked<'a>> for Said<'a> {
    fn from(checked: &'a Checked<'a>) -> Self {
        let properties = checked.properties.iter();
        Self {
            method: checked.method,
            result: checked.result,
            reason: &checked.reason,
            properties: properties
                .map(|(name, value)| (*name, Cow::as_ref(value)))
                .collect(),
        }
    }
}

const PIECE_OCTETS: usize = 16 * 1024;
