//! Postfix's `main.cf`: parameters, and what the variables in them stand for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::import::source::{LINE_OCTETS_MAX, Place, beside, parent, settings};
use crate::import::{Imported, known};

/// The file, and the folder that stands for /etc.
pub(super) struct MainCf {
    values: HashMap<String, (String, Place)>,
    pub(super) folder: PathBuf,
    pub(super) etc: PathBuf,
}

impl MainCf {
    pub(super) fn read(folder: &Path, into: &mut Imported) -> Self {
        let values = settings(&folder.join("main.cf"), into);
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let etc = parent(&folder);
        let mut config = Self {
            values,
            folder,
            etc,
        };
        if let Some((_, domain)) = config.value("myhostname").split_once('.') {
            let domain = (domain.to_owned(), config.place("myhostname"));
            let set = config.values.entry("mydomain".to_owned());
            set.or_insert(domain);
        }
        config
    }

    /// As typed or by default, with its variables replaced: `$name`, `${name}`, `$(name)`. Conditions count as empty, and so does
    /// what refers to itself, or swells.
    pub(super) fn value(&self, name: &str) -> String {
        let mut text = self.raw(name).to_owned();
        for _ in 0..VARIABLES_MAX {
            let Some((before, rest)) = text.split_once('$') else {
                return text;
            };
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let inside = rest.get(1..).unwrap_or_default();
            let (name, after) = match rest.chars().next() {
                Some('{') => inside.split_once('}').unwrap_or((inside, "")),
                Some('(') => inside.split_once(')').unwrap_or((inside, "")),
                _ => rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len())),
            };
            text = [before, self.raw(name), after].concat();
            if text.len() > LINE_OCTETS_MAX {
                break;
            }
        }
        String::new()
    }

    /// The words of a value. Commas and blanks part them.
    pub(super) fn words(&self, name: &str) -> Vec<String> {
        let value = self.value(name);
        let words = value.split([',', ' ', '\t']).map(str::to_owned);
        words.filter(|word| !word.is_empty()).collect()
    }

    /// Where it is set; the whole file if it is not.
    pub(super) fn place(&self, name: &str) -> Place {
        let set = self.values.get(name).map(|(_, place)| place.clone());
        set.unwrap_or_else(|| Place::whole(&self.folder.join("main.cf")))
    }

    /// A file that a value names. `/etc/postfix` is the folder that is imported, whatever it is called.
    pub(super) fn path(&self, named: &str) -> PathBuf {
        match Path::new(named).strip_prefix("/etc/postfix") {
            Ok(rest) => self.folder.join(rest),
            Err(_) => beside(&self.etc, named),
        }
    }

    fn raw(&self, name: &str) -> &str {
        let set = self.values.get(name).map(|(value, _)| &**value);
        let default = || known(DEFAULTS).find(|(known, _)| *known == name);
        set.unwrap_or_else(|| default().map_or("", |(_, value)| value))
    }
}

/// Variables of one value, with those within them.
const VARIABLES_MAX: usize = 200;
/// Those that matter here (postconf(5)).
const DEFAULTS: &str = "
mydestination: $myhostname, localhost.$mydomain, localhost
myorigin: $myhostname
alias_maps: hash:/etc/aliases
virtual_alias_maps: $virtual_maps
virtual_alias_domains: $virtual_alias_maps
virtual_mailbox_domains: $virtual_mailbox_maps
config_directory: /etc/postfix
queue_directory: /var/spool/postfix
local_recipient_maps: proxy:unix:passwd.byname $alias_maps
parent_domain_matches_subdomains: relay_domains
smtpd_tls_key_file: $smtpd_tls_cert_file
";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, name: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("main.cf"), file).unwrap();
        let config = MainCf::read(folder.path(), &mut Imported::default());
        assert_eq!(config.value(name), expected, "{file}");
    }

    #[test]
    fn variables_and_lines_are_joined() {
        check("a = b\n  c,\n# x\n\n\td\n", "a", "b c, d");
        check("a = 1\na=2\n", "a", "2");
        check(
            "d = x.example\na = mx.$d, ${d} $(d)$d\n",
            "a",
            "mx.x.example, x.example x.examplex.example",
        );
        check("d = x\na = ${d?yes}${e:no}b\n", "a", "b");
        check("myhostname = m.x\n", "myorigin", "m.x");
        check("a = $a\n", "a", "");
        check("a = ${b\nb = $", "a", "");
        check("a = $\u{e4}${\n", "a", "\u{e4}");
    }

    #[test]
    fn what_swells_ends() {
        let lines = (1..30).map(|n| format!("a{n} = {}\n", format!("$a{} ", n - 1).repeat(30)));
        let lines = lines.collect::<String>();
        for end in ["a0 = x\n", "a0 =\n"] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("main.cf"), lines.clone() + end).unwrap();
            let config = MainCf::read(folder.path(), &mut Imported::default());
            assert!(config.value("a15").len() < 2 * LINE_OCTETS_MAX);
        }
    }
}
