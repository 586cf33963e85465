//! `--compare`: every address of the new file is asked of Postfix's `postmap`, too, and followed as Postfix would.
//!
//! All addresses of a round go to one `postmap -q -` for each table, on its standard input; no shell is run.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use envelope::{Mailbox, Timestamp};
use forwarder::{Resolution, Table};
use serde::Serialize;

use super::Imported;
use super::postfix::Server;
use super::targets::elements;

/// What can be asked.
pub(super) struct Asked {
    /// That of main.cf.
    pub(super) folder: PathBuf,
    /// `type:path`.
    pub(super) tables: Vec<String>,
    pub(super) aliases: Vec<String>,
    pub(super) server: Server,
}

/// An address that goes elsewhere than with Postfix.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    address: String,
    postfix: BTreeSet<String>,
    onward: BTreeSet<String>,
}

/// What stands for an address: nothing if it stands for itself.
type Answers = HashMap<String, Vec<String>>;

/// Asks about every address, and about one more of each catch-all and pattern.
pub(super) fn compare(
    asked: &Asked,
    imported: &Imported,
    table: &Table,
) -> Result<Vec<Difference>, String> {
    let example = |key: &str| match key.strip_prefix('@') {
        Some(domain) => format!("any-local-part@{domain}"),
        None => key.replacen('*', "any", 1).to_lowercase(),
    };
    let keys = imported.forwards.iter().map(|forward| &*forward.key);
    let addresses: Vec<String> = keys.filter(|key| key.contains('@')).map(example).collect();
    let mut answers = Answers::new();
    let mut round = addresses.clone();
    for _ in 0..ROUNDS_MAX {
        round.retain(|address| !answers.contains_key(address));
        let found = asked.round(&round)?;
        let next = found.iter().flatten().cloned().collect();
        answers.extend(round.into_iter().zip(found));
        round = next;
    }
    let mut differences = Vec::new();
    for address in addresses {
        let postfix = asked.ends(&address, &answers);
        let onward = onward(&address, table);
        if postfix != onward {
            differences.push(Difference {
                address,
                postfix,
                onward,
            });
        }
    }
    Ok(differences)
}

fn onward(address: &str, table: &Table) -> BTreeSet<String> {
    let (found, now) = (address.parse::<Mailbox>(), Timestamp::default());
    let targets = match found.map(|mailbox| table.resolve(&mailbox, now)) {
        Ok(Resolution::Targets(found)) => found.targets,
        _ => Vec::new(),
    };
    let text = |target: &Mailbox| target.to_string().to_lowercase();
    targets.iter().map(|target| text(&target.mailbox)).collect()
}

impl Asked {
    /// The targets of each, in the order in which virtual(5) and then aliases(5) are searched.
    fn round(&self, addresses: &[String]) -> Result<Vec<Vec<String>>, String> {
        let questions = |address: &String| {
            let (name, host) = address.rsplit_once('@').unwrap_or((address, ""));
            let is_ours = self.server.local.contains(host) || host == self.server.origin;
            let name = is_ours.then(|| name.to_owned());
            [Some(address.clone()), name, Some(format!("@{host}"))]
        };
        let questions: Vec<_> = addresses.iter().map(questions).collect();
        let virtually = self.ask(&self.tables, questions.iter().flatten().flatten())?;
        let aliases = self.ask(&self.aliases, questions.iter().flat_map(|asked| &asked[1]))?;
        let answer = |(address, questions): (&String, &[Option<String>; 3])| {
            let (name, host) = address.rsplit_once('@').unwrap_or((address, ""));
            let mut found = questions.iter().flatten();
            let value = found.find_map(|question| virtually.get(question));
            let found = value.map(|value| self.qualified(value, name));
            let found = found.filter(|found| found[..] != [address.clone()]);
            let alias = aliases
                .get(name)
                .filter(|_| self.server.local.contains(host));
            let found = found.or_else(|| Some(self.qualified(alias?, name)));
            found.unwrap_or_default()
        };
        Ok(addresses.iter().zip(&questions).map(answer).collect())
    }

    fn qualified(&self, value: &str, name: &str) -> Vec<String> {
        let qualified = |target: String| match target.strip_prefix('@') {
            Some(domain) => format!("{name}@{domain}"),
            None if target.contains('@') || target.starts_with(NO_ADDRESS) => target,
            None => format!("{target}@{}", self.server.origin),
        };
        let targets = elements(value).into_iter().map(qualified);
        targets.map(|target| target.to_lowercase()).collect()
    }

    /// The mailboxes elsewhere. Those of the server itself, programs and files have been told of as left.
    fn ends<'a>(&self, address: &'a str, answers: &'a Answers) -> BTreeSet<String> {
        let (mut seen, mut ends) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![address];
        while let Some(address) = open.pop().filter(|_| seen.len() < SEEN_MAX) {
            let targets = answers.get(address).map_or(&[][..], Vec::as_slice);
            let host = address.rsplit_once('@').map_or("", |(_, host)| host);
            let is_elsewhere = host.contains('.') && !self.server.hosted.contains(host);
            if seen.insert(address) && !targets.is_empty() {
                open.extend(targets.iter().map(String::as_str));
            } else if is_elsewhere && !address.starts_with(NO_ADDRESS) {
                ends.insert(address.to_owned());
            }
        }
        ends
    }

    /// The answers of the first table that has one.
    fn ask<'a>(
        &self,
        tables: &[String],
        keys: impl Iterator<Item = &'a String>,
    ) -> Result<HashMap<String, String>, String> {
        let mut answers = HashMap::new();
        let keys: BTreeSet<&String> = keys.collect();
        for table in tables.iter().filter(|_| !keys.is_empty()) {
            let said = postmap(&self.folder, table, &keys);
            let said = said.map_err(|error| {
                format!("cannot ask `postmap -q - {table}`: {error}\n\nhint: {HINT}")
            })?;
            for (key, value) in said.lines().filter_map(|line| line.split_once('\t')) {
                let answer = answers.entry(key.to_owned());
                answer.or_insert_with(|| value.to_owned());
            }
        }
        Ok(answers)
    }
}

/// What it prints: `key<TAB>value` for each that it knows.
#[expect(
    clippy::disallowed_methods,
    reason = "no daemon does this, but an operator who asks for it by name"
)]
fn postmap(folder: &Path, table: &str, keys: &BTreeSet<&String>) -> io::Result<String> {
    // Not a pipe: it writes while it reads.
    let mut questions = tempfile::tempfile()?;
    for key in keys.iter().filter(|key| !key.contains(['\n', '\r'])) {
        writeln!(questions, "{key}")?;
    }
    questions.rewind()?;
    let program = match Path::new(POSTMAP).exists() {
        true => POSTMAP,
        false => "postmap",
    };
    let mut command = Command::new(program);
    command.arg("-c").arg(folder).args(["-q", "-", table]);
    let output = command.stdin(questions).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    match complaint.lines().find(|line| line.contains("fatal: ")) {
        Some(fatal) => Err(io::Error::other(fatal.to_owned())),
        None => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [postfix, onward] = [&self.postfix, &self.onward].map(|targets| match targets.len() {
            0 => "nobody".to_owned(),
            _ => Vec::from_iter(targets.iter().map(String::as_str)).join(", "),
        });
        let address = &self.address;
        write!(
            f,
            "{address}: Postfix sends it to {postfix}, Onward to {onward}"
        )
    }
}

const POSTMAP: &str = "/usr/sbin/postmap";
const HINT: &str = "`--compare` needs Postfix's postmap and the compiled tables (`postmap FILE`, `postalias FILE`)";
/// How programs, files and lists begin.
const NO_ADDRESS: [char; 3] = ['|', '/', ':'];
/// How many tables deep Postfix is followed.
const ROUNDS_MAX: usize = 20;
const SEEN_MAX: usize = 10_000;
