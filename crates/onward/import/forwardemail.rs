//! Forward Email: TXT records of a zone file, or a list `DOMAIN forward-email=…`.
//!
//! ```text
//! @  3600 IN TXT "forward-email=alice:alice@mail.example.com,bob:bob@b.example"
//! @  3600 IN TXT "forward-email=catchall@c.example"
//! ```
//!
//! A name may have `!` before it (taken and dropped), `!!` (for now refused) or `!!!` (refused), or be an expression between
//! slashes. All records of a domain count together.

use std::collections::BTreeMap;
use std::path::Path;

use super::panels::is_domain;
use super::source::{Place, Row, lines};
use super::targets::Stands;
use super::{Imported, NOT_CARRIED, pattern};

/// The targets of each key, from all records.
type Aliases = BTreeMap<String, (Place, Vec<String>)>;

pub(super) fn read(path: &Path, into: &mut Imported) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ends = [".zone", ".db", ".txt"];
    let stem = ends.iter().find_map(|end| name.strip_suffix(end));
    let mut origin = stem.unwrap_or(&name).trim_start_matches("db.").to_owned();
    let mut domain = origin.clone();
    let mut aliases = Aliases::new();
    for row in lines(path, into) {
        let mut words = row.text.split_whitespace();
        let first = words.next().unwrap_or_default();
        match first {
            _ if first.starts_with([';', '#']) => continue,
            "$ORIGIN" => {
                let name = words.next().unwrap_or_default().to_lowercase();
                name.trim_end_matches('.').clone_into(&mut origin);
                domain.clone_from(&origin);
            }
            _ if row.text.starts_with([' ', '\t', '$']) || first.starts_with(RECORD) => {}
            "@" => domain.clone_from(&origin),
            _ => {
                domain = match first.strip_suffix('.') {
                    Some(owner) => owner.to_lowercase(),
                    // In a list, a domain stands alone.
                    None if is_domain(first) && !row.text.contains("TXT") => first.to_lowercase(),
                    None => format!("{}.{origin}", first.to_lowercase()),
                };
            }
        }
        let text = strings(&row.text);
        match text.split_once('=') {
            Some((RECORD, value)) => {
                for part in parted(value) {
                    alias(part, &domain, &row, &mut aliases, into);
                }
            }
            Some((name, _)) if name.starts_with(RECORD) => {
                let hint = "aliases that are kept in an account there must be written by hand";
                into.leave(&row.place, &text, NOT_CARRIED, hint);
            }
            _ => {}
        }
    }
    for (key, (place, targets)) in aliases {
        let address = |target: &str| Stands::Address(target.to_owned());
        into.forward(&place, &key, &targets.join(", "), &address);
    }
}

/// `user:target`, `target`, `!user` or `/expression/:target`.
fn alias(part: &str, domain: &str, row: &Row, aliases: &mut Aliases, into: &mut Imported) {
    let mut add = |key: String, target| {
        let alias = aliases.entry(key.to_lowercase());
        let (_, targets) = alias.or_insert_with(|| (row.place.clone(), Vec::new()));
        targets.push(target);
    };
    if let Some(rest) = part.strip_prefix('/') {
        let found = rest.rsplit_once("/:").or_else(|| rest.rsplit_once("/i:"));
        let line = found.and_then(|(expression, target)| {
            let local = expression.strip_suffix('$')?;
            let domain = domain.replace('.', "\\.");
            pattern::line(&format!("{local}@{domain}$"), target)
        });
        match line {
            Some((key, target)) => add(key, target),
            None => {
                let why = "no line says the same as this expression";
                into.leave(&row.place, part, why, "write the addresses one by one");
            }
        }
        return;
    }
    let bare = part.trim_start_matches('!');
    let (user, target) = match bare.split_once(':') {
        Some(_) if bare.starts_with("http") => ("*", bare),
        Some(split) => split,
        None if part.len() > bare.len() => (bare, ""),
        None => ("*", bare),
    };
    let key = match user {
        "*" => format!("@{domain}"),
        user => format!("{user}@{domain}"),
    };
    let target = match part.len() - bare.len() {
        0 if target.contains("://") => {
            let hint = "no program is told of mail here";
            return into.leave(&row.place, part, "goes to a web address", hint);
        }
        0 if target.contains('@') => target.to_owned(),
        // A host alone: the local part is kept.
        0 if is_domain(target) => format!("@{target}"),
        0 => {
            let hint = "a record may be encrypted: take its text from the account there";
            return into.leave(&row.place, part, "is no target", hint);
        }
        1 => ":blackhole:".to_owned(),
        2 => ":defer:".to_owned(),
        _ => ":fail:".to_owned(),
    };
    add(key, target);
}

/// Commas part aliases, but not within an expression.
fn parted(value: &str) -> impl Iterator<Item = &str> {
    let mut within = false;
    let parts = value.split(move |c| {
        within ^= c == '/';
        c == ',' && !within
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// The strings of a record as one text (a record must stand on one line); what is not quoted, from `forward-email` on.
fn strings(text: &str) -> String {
    match text.contains('"') {
        true => text.split('"').skip(1).step_by(2).collect(),
        false => text.find(RECORD).map_or("", |at| &text[at..]).to_owned(),
    }
}

const RECORD: &str = "forward-email";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_aliases() {
        let rows = [
            ("\"a=b\" \"c\"", "a=bc"),
            ("x.example forward-email=a@b", "forward-email=a@b"),
            ("nothing", ""),
            ("\"open", "open"),
        ];
        for (text, expected) in rows {
            assert_eq!(strings(text), expected, "{text}");
        }
        let parts: Vec<_> = parted("a:b@c, /^(x{1,2})$/:d@e,,!f").collect();
        assert_eq!(parts, ["a:b@c", "/^(x{1,2})$/:d@e", "!f"]);
    }
}
