//! The configuration: one TOML file. It is read whole, or refused with the place of the mistake.
//!
//! Three steps: `schema` is the file as typed; `validate` refuses what cannot work; `resolve` makes the stages' settings of it.

mod change;
mod delivery;
mod forwards;
mod operators;
mod protect;
mod resolve;
mod schema;
mod senders;
mod shaping;
mod sources;
mod submission;
mod tls;
mod units;
mod validate;

use std::path::{Path, PathBuf};

use envelope::{AddressError, Mailbox};

pub(crate) use change::{changed_keys, flat, is_reloadable};
pub(crate) use forwards::Source;
pub(crate) use protect::Limit;
pub(crate) use resolve::{Errors, Resolved, Settings};
#[cfg(feature = "postgres")]
pub(crate) use schema::StoreCheck;
pub(crate) use schema::{Config, Doctor, Listener, Log, Role, TagAlphabet, TlsMode};
pub(crate) use senders::{Dkim, Measure, Tier};
pub(crate) use tls::{Acme, Tls};
pub(crate) use units::{Network, Percent, Size, Span};
pub(crate) use validate::check_hostname;

use crate::files::{self, FileError};

impl Config {
    /// Reads the file at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, FileError> {
        let text = files::text(path, STARTER)?;
        let mut config = Self::parse(&text)
            .map_err(|wrong| FileError::wrong(path, format_args!("{wrong}{EVERY_KEY}")))?;
        // What has just been parsed as a configuration is a table.
        config.typed = text.parse().unwrap_or_default();
        config.checked(path)
    }

    /// Parses the text; the error names line and column and shows the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }

    /// The address that a bounce gives for questions: `postmaster@` our own name (RFC 5321 §4.5.1).
    pub(crate) fn postmaster(&self) -> Result<Mailbox, AddressError> {
        format!("postmaster@{}", self.hostname).parse()
    }

    /// Completes paths (they are relative to the file's own folder), and refuses what cannot work.
    fn checked(mut self, path: &Path) -> Result<Self, FileError> {
        // The folder of a bare name is the empty path, which names none.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let absolute = |p: &mut PathBuf| {
            if !p.as_os_str().is_empty() {
                *p = folder.join(&*p);
            }
        };
        absolute(&mut self.spool);
        absolute(&mut self.resolver.trust_anchor);
        absolute(&mut self.srs.secrets);
        absolute(&mut self.forwards.file);
        for source in &mut self.forwards.listed {
            if let Source::File { path } = source {
                absolute(path);
            }
        }
        absolute(&mut self.auth.users);
        absolute(&mut self.auth.dovecot);
        absolute(&mut self.control.socket);
        absolute(&mut self.http.token);
        absolute(&mut self.alerts.webhook_secret);
        absolute(&mut self.shaping.file);
        // An IPv4-mapped address is the IPv4 address, here as in `policy.trusted`; a socket for IPv6 only cannot be bound to it.
        for listener in &mut self.listeners {
            listener.bind.set_ip(listener.bind.ip().to_canonical());
        }
        absolute(&mut self.delivery.ca);
        absolute(&mut self.log.file);
        for list in &mut self.lists {
            absolute(&mut list.file);
        }
        for tls in &mut self.tls {
            absolute(&mut tls.certificate);
            absolute(&mut tls.key);
        }
        for auth in self
            .delivery
            .routes
            .iter_mut()
            .filter_map(|r| r.auth.as_mut())
        {
            absolute(auth);
        }
        for dkim in &mut self.dkim {
            absolute(&mut dkim.key);
        }
        if self.control.socket.as_os_str().is_empty() {
            self.control.socket = self.spool.join("control.sock");
        }
        let checked = self.part_tls().and_then(|()| self.check());
        checked.map_err(|(key, wrong)| FileError::wrong(path, format_args!("`{key}`: {wrong}")))?;
        Ok(self)
    }
}

/// `etc/onward.toml`: every key, commented, at its default.
pub(crate) const DEFAULTS: &str = include_str!("../../../etc/onward.toml");

/// [`DEFAULTS`] with the one comment sign before each setting taken away.
fn default_settings() -> String {
    let settings = DEFAULTS.lines().filter_map(|line| line.strip_prefix('#'));
    let settings = settings.filter(|rest| !rest.starts_with([' ', '#']) && !rest.is_empty());
    settings.flat_map(|line| [line, "\n"]).collect()
}

/// The defaults, as a file would type them.
pub(crate) fn default_table() -> toml::Table {
    // A test reads it.
    default_settings().parse().unwrap_or_default()
}

const STARTER: &str = "`onward init DIR` writes a starter config; `--config FILE` names another";
const EVERY_KEY: &str = "\n\nhint: `onward config defaults` lists every key with its default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commented_default_is_the_default() {
        let settings = default_settings();
        assert!(!default_table().is_empty());
        assert_eq!(Config::parse(&settings), Ok(Config::default()));
        for key in [
            "hostname",
            "retry",
            "accept_nonnull",
            "concurrency",
            "message_size",
        ] {
            assert!(settings.contains(key), "{key} is not shown");
        }
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = Config::parse(text).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        check_error("hostnam = \"a\"", "line 1, column 1");
        check_error("hostnam = \"a\"", "unknown field `hostnam`");
        check_error("[queue]\nretry = [\"1x\"]", "line 2");
        check_error("[queue]\nretry = [\"1x\"]", "unknown time unit");
        check_error("hostname = ", "line 1");
        let pattern = "[verify]\nexempt_mx = ['mx.example', 'a.*.example']";
        check_error(pattern, "line 2");
        check_error(pattern, "`a.*.example` is not a host name");
    }

    /// Every number, span and size of the default, set to zero: what is not refused is here on purpose.
    #[test]
    fn zero_is_refused_unless_it_has_a_meaning() {
        let text = DEFAULTS;
        let mut table = "";
        let mut taken = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix('#')) {
            if let Some(name) = line.strip_prefix('[') {
                table = name.trim_matches(['[', ']']);
            }
            let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with(' '))
            else {
                continue;
            };
            let zero = match value.trim_matches(['[', '"']).as_bytes() {
                [b'1'..=b'9', ..] if value.contains('%') => continue,
                [b'1'..=b'9', ..] if value.starts_with('[') => "[\"0s\"]",
                [b'1'..=b'9', ..] if value.contains('B') || !value.contains('"') => "0",
                [b'1'..=b'9', ..] => "\"0s\"",
                _ => continue,
            };
            match Config::parse(&format!("[{table}]\n{key} = {zero}")) {
                Ok(_) => taken.push(format!("{table}.{key}")),
                Err(error) => assert!(error.contains("zero would"), "{table}.{key}: {error}"),
            }
        }
        let meant = [
            "srs.clock_skew",
            "queue.min_free",
            "history.keep",
            "delivery.answer_memory",
            "limits.drain",
            "limits.bounce_size",
            "doctor.every",
        ];
        assert_eq!(taken, meant);
    }

    #[test]
    fn networks() {
        let config = |networks: &str| {
            Config::parse(&format!("[policy]\ntrusted = [{networks}]"))
                .map(|config| format!("{:?}", config.policy.trusted))
        };
        let written = config(
            "\"10.0.0.1\", \"2001:db8::1\", \"10.1.0.0/16\", \"::ffff:192.0.2.1/128\", \"::ffff:10.2.0.0/112\", \"::ffff:10.3.0.1\", \"::/0\"",
        );
        assert_eq!(
            written,
            Ok("[Network(10.0.0.1/32), Network(2001:db8::1/128), Network(10.1.0.0/16), Network(192.0.2.1/32), Network(10.2.0.0/16), Network(10.3.0.1/32), Network(::/0)]".to_owned())
        );
        check_error(
            "[policy]\ntrusted = [\"10.0.0/8\"]",
            "`10.0.0/8` is not a network",
        );
    }

    #[track_caller]
    fn check_value(text: &str, key: &str) {
        let config = Config::parse(text).unwrap();
        assert_eq!(
            config
                .checked(Path::new("/etc/onward/onward.toml"))
                .map_err(|e| e.to_string().contains(&format!("`{key}`"))),
            Err(true)
        );
    }

    #[test]
    fn values_that_cannot_work() {
        check_value("hostname = \"localhost\"", "hostname");
        check_value("hostname = \"[192.0.2.1]\"", "hostname");
        check_value("hostname = \"192.0.2.1\"", "hostname");
        let long = vec!["a".repeat(60); 5].join(".");
        check_value(&format!("hostname = \"{long}.example\""), "hostname");
        check_value(
            "hostname = \"a.example\"\n[[listener]]\nbind = \"[::]:465\"\ntls = \"implicit\"",
            "listener.tls",
        );
        check_value(
            "hostname = \"a.example\"\n[srs]\ndomain = \"a b\"",
            "srs.domain",
        );
        check_value(
            "hostname = \"a.example\"\n[resolver]\nservers = [\"127.0.0.1:0\"]",
            "resolver.servers",
        );
        let egress = |name: &str, addresses: &str| {
            format!("[[egress]]\nname = '{name}'\naddresses = [{addresses}]\nhello = 'a.example'\n")
        };
        let one = egress("a", "'192.0.2.1'");
        let head = "hostname = \"a.example\"";
        check_value(&format!("{head}\n{}", egress("a", "")), "egress.addresses");
        check_value(&format!("{head}\n{one}{one}"), "egress.name");
        let twice = egress("a", "'192.0.2.1', '192.0.2.1'");
        check_value(&format!("{head}\n{twice}"), "egress.addresses");
        check_value(
            &format!("{head}\n{}", egress("a b", "'::1'")),
            "egress.name",
        );
        let tier = "[[tier]]\nname = 'suspect'\n";
        for (table, key) in [
            ("[verify]\negress = 'b'".to_owned(), "verify.egress"),
            ("[delivery]\negress = 'b'".to_owned(), "delivery.egress"),
            (format!("{tier}egress = 'b'"), "tier.egress"),
            (format!("{tier}{tier}"), "tier.name"),
        ] {
            check_value(&format!("{head}\n{one}{table}"), key);
        }
        let long = "s".repeat(108);
        check_value(
            &format!("hostname = \"a.example\"\nspool = \"/{long}\""),
            "control.socket",
        );
    }

    #[track_caller]
    fn check_binds(binds: &[&str], expected: bool) {
        let listeners: String = binds
            .iter()
            .map(|bind| format!("[[listener]]\nbind = \"{bind}\"\n"))
            .collect();
        let config = Config::parse(&format!("hostname = \"a.example\"\n{listeners}")).unwrap();
        let resolved = config.checked(Path::new("/etc/onward/onward.toml"));
        assert_eq!(resolved.is_ok(), expected, "{binds:?}");
    }

    #[test]
    fn listeners_that_take_each_other_s_port() {
        check_binds(&["[::]:25", "[::]:587"], true);
        check_binds(&["192.0.2.1:25", "192.0.2.2:25", "[2001:db8::1]:25"], true);
        check_binds(&["[::]:25", "0.0.0.0:25"], true);
        check_binds(&["127.0.0.1:0", "127.0.0.1:0"], true);
        check_binds(&["[::]:25", "[::]:25"], false);
        check_binds(&["0.0.0.0:25", "192.0.2.1:25"], false);
        check_binds(&["[::]:25", "192.0.2.1:25"], false);
        check_binds(&["[::]:25", "[2001:db8::1]:25"], false);
    }

    #[test]
    fn one_certificate_or_several() {
        let files = |text: &str| -> Vec<PathBuf> {
            let config = Config::parse(text).unwrap();
            let config = config
                .checked(Path::new("/etc/onward/onward.toml"))
                .unwrap();
            config.tls.into_iter().map(|tls| tls.certificate).collect()
        };
        let head = "hostname = \"a.example\"";
        let one = "certificate = \"a.pem\"\nkey = \"a.key\"";
        let other = "certificate = \"b.pem\"\nkey = \"b.key\"";
        assert!(files(head).is_empty());
        let a = Path::new("/etc/onward/a.pem");
        assert_eq!(files(&format!("{head}\n[tls]\n{one}")), [a]);
        let both = format!("{head}\n[[tls]]\n{one}\n[[tls]]\n{other}");
        assert_eq!(files(&both), [a, Path::new("/etc/onward/b.pem")]);
        let typo = Config::parse(&format!("{head}\n[[tls]]\n{one}\nname = 1")).unwrap_err();
        assert!(typo.contains("line 5") && typo.contains("`name`"), "{typo}");
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let text = "hostname = \"a.example\"\nspool = \"var\"\n[log]\nfile = \"log\"";
        let read = |path| {
            Config::parse(text)
                .unwrap()
                .checked(Path::new(path))
                .unwrap()
        };
        let here = read("onward.toml").log.file;
        assert_eq!(
            here.parent(),
            Some(Path::new(".")),
            "a folder that is there"
        );
        let config = read("/etc/onward/onward.toml");
        assert_eq!(config.spool, Path::new("/etc/onward/var"));
        assert_eq!(
            config.control.socket,
            Path::new("/etc/onward/var/control.sock")
        );
    }
}
