//! Postfix: `main.cf`, the tables that it names, `/etc/aliases`, and postsrsd beside it.
//!
//! An address is looked up as virtual(5) says: the whole address, the name alone in a domain of the machine, the whole domain;
//! and then in the aliases, if the domain is the machine's. A name without a domain is followed until there is one, since the
//! forwards file has none. Addresses of other domains that a table changes are followed, too: here they would make the domain ours.

mod main_cf;
mod settings;
mod tables;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::Imported;
use super::compare::Asked;
use super::panels::{self, is_domain};
use super::source::{Entry, beside, name_in, parent};
use super::targets::Stands;
use crate::Failure;
use main_cf::MainCf;
use tables::{TableRef, tables};

/// What is needed to follow an address through the tables.
pub(super) struct Server {
    /// Virtual aliases by key.
    keys: HashMap<String, String>,
    /// Domains with patterns: the table itself tells what fits none.
    patterns: BTreeSet<String>,
    aliases: HashMap<String, String>,
    /// Domains whose names are the aliases'.
    pub(super) local: BTreeSet<String>,
    /// All domains that mail is taken for.
    pub(super) hosted: BTreeSet<String>,
    pub(super) origin: String,
}

/// Reads /etc/postfix, or a copy of it.
pub(super) fn read(folder: &Path, into: &mut Imported) -> Result<Asked, Failure> {
    if !folder.join("main.cf").is_file() {
        let hint = "name the folder that Postfix's main.cf is in";
        return Err(format!("{} has no main.cf\n\nhint: {hint}", folder.display()).into());
    }
    let config = MainCf::read(folder, into);
    into.includes = Some(config.etc.clone());
    let virtual_tables = tables(&config, "virtual_alias_maps", into);
    let mut alias_tables = tables(&config, "alias_maps", into);
    alias_tables.retain(|table| !table.is_pattern());
    let mut entries = Vec::new();
    for table in &virtual_tables {
        entries.extend(table.entries(into));
    }
    let aliases = alias_tables.iter();
    let aliases = Vec::from_iter(aliases.flat_map(|table| panels::entries(&table.path, into)));
    let mut origin = config.value("myorigin");
    if origin.starts_with('/') {
        origin = name_in(&config.path(&origin), into);
    }
    let local = domains(&config, "mydestination", into);
    let virtual_domains = domains(&config, "virtual_alias_domains", into);
    let mailboxes = domains(&config, "virtual_mailbox_domains", into);
    let mut relayed = domains(&config, "relay_domains", into);
    relayed.retain(|host| is_domain(host) && !local.contains(host));
    let hosted = [&local, &virtual_domains, &mailboxes];
    let mut hosted: BTreeSet<_> = hosted.into_iter().flatten().cloned().collect();
    let mut held = Vec::new();
    // Where there are aliases, the rest of the domain cannot be carried on.
    for host in hosts(&entries).filter(|host| relayed.remove(*host)) {
        let hint =
            "give its other addresses lines, too: a domain is either forwarded or carried on";
        let place = config.place("relay_domains");
        into.leave(&place, host, "has virtual aliases, too", hint);
        hosted.insert(host.to_owned());
        held.push((host.to_owned(), place));
    }
    let server = Server::new(&entries, &aliases, local, hosted, origin);
    server.forwards(&entries, &aliases, into);
    for host in &mailboxes {
        held.push((host.clone(), config.place("virtual_mailbox_domains")));
    }
    let has_users = config.words("local_recipient_maps") != config.words("alias_maps");
    for host in server.public().filter(|_| has_users) {
        let place = config.place("mydestination");
        let why = "the users of that machine have mailboxes in it";
        into.leave(&place, host, why, USERS_HINT);
        held.push((host.clone(), place));
    }
    for (host, place) in held {
        into.hold(place, format!("@{host}"));
    }
    settings::read(&config, &mailboxes, relayed, into);
    let named = |table: TableRef| format!("{}:{}", table.kind, table.path.display());
    Ok(Asked {
        folder: config.folder,
        tables: virtual_tables.into_iter().map(named).collect(),
        aliases: alias_tables.into_iter().map(named).collect(),
        server,
    })
}

/// Virtualmin's file, with the aliases beside Postfix's folder.
pub(super) fn virtualmin(path: &Path, into: &mut Imported) {
    let path = match path.is_dir() {
        true => path.join("virtual"),
        false => path.to_owned(),
    };
    let etc = parent(&parent(&path));
    let entries = TableRef::new("hash", path).entries(into);
    let file = beside(&etc, "/etc/aliases");
    let aliases = match file.exists() {
        true => panels::entries(&file, into),
        false => Vec::new(),
    };
    into.includes = Some(etc);
    // A line that is a domain alone makes it one of the server's.
    let keys = entries.iter().map(|entry| &entry.key);
    let hosted = keys.filter(|key| is_domain(key)).cloned().collect();
    let server = Server::new(&entries, &aliases, BTreeSet::new(), hosted, String::new());
    server.forwards(&entries, &aliases, into);
}

/// The domains of their addresses.
fn hosts(entries: &[Entry]) -> impl Iterator<Item = &str> {
    let hosts = entries.iter().map(|entry| entry.key.rsplit_once('@'));
    hosts.flatten().map(|(_, host)| host)
}

/// A list of domains: names, files of names, tables whose keys are names.
fn domains(config: &MainCf, name: &str, into: &mut Imported) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for word in config.words(name) {
        let typed = word.trim_start_matches("proxy:");
        let (kind, path) = match typed.split_once(':') {
            // One word a line is a table without values.
            None if typed.starts_with('/') => ("texthash", typed),
            None => {
                found.insert(typed.to_lowercase());
                continue;
            }
            Some(table) => table,
        };
        let table = TableRef::new(kind, config.path(path));
        if table.is_text() && (table.path.is_file() || kind == "texthash") {
            // One with an `@` is an address of the same table, whose lines have been told of where aliases are read from it.
            let keys = table.entries(&mut Imported::default()).into_iter();
            found.extend(keys.map(|entry| entry.key).filter(|key| is_domain(key)));
        } else if name != "virtual_alias_domains" {
            let hint = "give each of these domains a line in the forwards file";
            let why = format!("{name}: is not read");
            into.leave(&config.place(name), &word, why, hint);
        }
    }
    found
}

impl Server {
    fn new(
        entries: &[Entry],
        aliases: &[Entry],
        local: BTreeSet<String>,
        hosted: BTreeSet<String>,
        origin: String,
    ) -> Self {
        // The first of a key counts.
        let first = |entries: &[Entry]| {
            let pair = |entry: &Entry| (entry.key.clone(), entry.value.clone());
            entries.iter().rev().map(pair).collect()
        };
        let patterns = entries.iter().filter(|entry| entry.key.contains('*'));
        let patterns = patterns.filter_map(|entry| entry.key.rsplit_once('@'));
        Self {
            patterns: patterns.map(|(_, host)| host.to_owned()).collect(),
            keys: first(entries),
            aliases: first(aliases),
            local,
            hosted,
            origin: origin.to_lowercase(),
        }
    }

    /// The machine's domains that others can write to.
    fn public(&self) -> impl Iterator<Item = &String> {
        let is_public = |host: &&String| is_domain(host) && !host.starts_with("localhost.");
        self.local.iter().filter(is_public)
    }

    /// A line for each address of a domain of ours.
    fn forwards(&self, entries: &[Entry], aliases: &[Entry], into: &mut Imported) {
        let lookup = |target: &str| self.lookup(target);
        for Entry { key, value, row } in entries {
            match key.rsplit_once('@') {
                Some((_, host)) if self.hosted.contains(host) => {
                    into.forward(&row.place, key, self.beyond_itself(key, value), &lookup);
                }
                Some(_) => {
                    let why = "is no address of a domain of this server";
                    into.leave(&row.place, &row.text, why, ELSEWHERE_HINT);
                }
                None if self.hosted.contains(key) => {}
                None => {
                    for key in self.public().map(|host| format!("{key}@{host}")) {
                        let value = self.beyond_itself(&key, value);
                        into.forward(&row.place, &key, value, &lookup);
                    }
                }
            }
        }
        for Entry { key, value, row } in aliases {
            let keys = self.public().map(|host| format!("{key}@{host}"));
            for key in keys.filter(|key| !self.keys.contains_key(key)) {
                into.forward(&row.place, &key, value, &lookup);
            }
        }
    }

    /// An address that is its own virtual alias goes on to the machine's aliases.
    fn beyond_itself<'a>(&'a self, key: &str, value: &'a str) -> &'a str {
        let own = |(name, host): &(&str, &str)| {
            let is_own = value.eq_ignore_ascii_case(key)
                || (value.eq_ignore_ascii_case(name) && *host == self.origin);
            is_own && self.local.contains(*host)
        };
        let name = key.rsplit_once('@').filter(own).map(|(name, _)| name);
        name.and_then(|name| self.aliases.get(name))
            .map_or(value, String::as_str)
    }

    fn lookup(&self, target: &str) -> Stands {
        if target.starts_with('\\') {
            return Stands::Mailbox;
        }
        let folded = target.to_lowercase();
        let (name, host) = match folded.rsplit_once('@') {
            Some((name, host)) if host.contains('.') || !self.local.contains(host) => (name, host),
            Some((name, _)) => return self.lookup_name(name),
            None => return self.lookup_name(&folded),
        };
        let base = name.split_once('+').filter(|(base, _)| !base.is_empty());
        let base = base.map(|(base, _)| format!("{base}@{host}"));
        let catch_all = format!("@{host}");
        let keys = [Some(&folded), base.as_ref(), Some(&catch_all)];
        let mut keys = keys.into_iter().flatten();
        let value = keys.find_map(|key| self.keys.get(key));
        let is_alias = self.aliases.contains_key(name) || self.keys.contains_key(name);
        let has_line = self.patterns.contains(host) || is_alias && self.local.contains(host);
        match value {
            Some(value) if !self.hosted.contains(host) => Stands::Value(value.clone()),
            None if self.hosted.contains(host) && !has_line => Stands::Mailbox,
            _ => Stands::Address(target.to_owned()),
        }
    }

    /// A name alone is in the domain of the machine.
    fn lookup_name(&self, name: &str) -> Stands {
        let whole = format!("{name}@{}", self.origin);
        let is_local = self.local.contains(&self.origin) || self.origin.is_empty();
        let virtually = self.keys.get(&whole).or_else(|| self.keys.get(name));
        let value = virtually.map(|value| self.beyond_itself(&whole, value));
        let alias = || self.aliases.get(name).map(String::as_str);
        match value.or_else(|| alias().filter(|_| is_local)) {
            Some(value) if !value.eq_ignore_ascii_case(name) => Stands::Value(value.to_owned()),
            _ if is_local || self.hosted.contains(&self.origin) => Stands::Mailbox,
            _ => Stands::Address(whole),
        }
    }
}

const USERS_HINT: &str =
    "write a line for each user who is to get mail: until then, what has none is answered 450";
const ELSEWHERE_HINT: &str =
    "it is followed where a line of ours leads to it; mail to it from elsewhere never came here";
