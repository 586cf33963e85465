//! `[tls]`: certificates that files hold, and one that a server issues to us.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use envelope::Mailbox;
use serde::Deserialize;

use super::schema::Config;
use super::validate::{Fault, check_hostname};
use crate::files::FileError;
use crate::reload::load_roots;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    #[serde(default)]
    pub(crate) certificate: PathBuf,
    #[serde(default)]
    pub(crate) key: PathBuf,
    /// Only until the file is checked: see [`Config::acme`].
    #[serde(default)]
    pub(super) acme: Option<Acme>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Acme {
    /// Empty: the host name.
    pub(crate) domains: Vec<String>,
    /// Empty: none.
    pub(crate) contact: String,
    pub(crate) directory: String,
    pub(crate) terms_agreed: bool,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) tls_alpn: Option<SocketAddr>,
}

impl Config {
    /// Puts `acme` apart: [`Config::tls`] is about files.
    pub(super) fn part_tls(&mut self) -> Result<(), Fault> {
        for tls in &mut self.tls {
            let acme = tls.acme.take();
            let files = [&tls.certificate, &tls.key];
            let files = files.map(|path| !path.as_os_str().is_empty());
            if files[0] != files[1] || (!files[0] && acme.is_none()) {
                let text = "`certificate` and `key` are needed, both\n\nhint: name the two files, or have a server issue a certificate by `acme`";
                return Err(("tls", text.to_owned()));
            }
            if acme.is_some() && self.acme.is_some() {
                let text = "is there twice\n\nhint: `domains` can name several";
                return Err(("tls.acme", text.to_owned()));
            }
            self.acme = self.acme.take().or(acme);
        }
        self.tls.retain(|tls| !tls.key.as_os_str().is_empty());
        Ok(())
    }

    /// Whether there is a certificate, or will be.
    pub(crate) fn has_tls(&self) -> bool {
        !self.tls.is_empty() || self.acme.is_some()
    }

    /// Whom to ask for which certificate, if anybody.
    pub(super) fn issuing(&self) -> Result<Option<acme::Settings>, FileError> {
        let Some(typed) = &self.acme else {
            return Ok(None);
        };
        let domains = typed.names(&self.hostname);
        Ok(Some(acme::Settings {
            folder: self.spool.join("acme"),
            directory: typed.directory.clone(),
            contact: Some(typed.contact.clone()).filter(|to| !to.is_empty()),
            domains: domains.iter().map(|name| name.to_lowercase()).collect(),
            http: typed.http,
            tls_alpn: typed.tls_alpn,
            roots: load_roots(Path::new(&self.delivery.ca))?,
        }))
    }
}

impl Acme {
    fn names<'a>(&'a self, hostname: &'a String) -> &'a [String] {
        match self.domains.is_empty() {
            true => std::slice::from_ref(hostname),
            false => &self.domains,
        }
    }

    /// The first thing that cannot work.
    pub(super) fn check(&self, hostname: &String) -> Result<(), Fault> {
        for domain in self.names(hostname) {
            let well = match domain.is_ascii() {
                true => check_hostname(domain),
                false => Err(format!("`{domain}` is not in the form of the DNS, `xn--…`")),
            };
            well.map_err(|wrong| {
                let hint = "name hosts one by one, as in MX records: no wildcards, no addresses";
                ("tls.acme.domains", format!("{wrong}\n\nhint: {hint}"))
            })?;
        }
        let contact = &self.contact;
        if let (false, Err(error)) = (contact.is_empty(), contact.parse::<Mailbox>()) {
            return Err(("tls.acme.contact", format!("`{contact}`: {error}")));
        }
        if !self.directory.starts_with("https://") {
            let text = format!(
                "`{}` is no https:// URL\n\nhint: it is the URL of the server's directory, as in {LETS_ENCRYPT}",
                self.directory
            );
            return Err(("tls.acme.directory", text));
        }
        if !self.terms_agreed {
            let text = "no server issues a certificate to whom does not agree to its terms\n\nhint: read them (those of Let's Encrypt are at https://letsencrypt.org/repository/), then set it to true";
            return Err(("tls.acme.terms_agreed", text.to_owned()));
        }
        if self.http.is_none() && self.tls_alpn.is_none() {
            let text = "the server must see that the names are ours, and nothing listens for it\n\nhint: set `http` to an address with port 80, as in \"[::]:80\", or `tls_alpn` to one with port 443; it listens there only while a certificate is made";
            return Err(("tls.acme", text.to_owned()));
        }
        Ok(())
    }
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            contact: String::new(),
            directory: LETS_ENCRYPT.to_owned(),
            terms_agreed: false,
            http: None,
            tls_alpn: None,
        }
    }
}

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

#[cfg(test)]
mod tests {
    use super::*;

    /// The key that is to blame; none if it is well.
    #[track_caller]
    fn check(tls: &str, expected: Option<&str>) {
        let text = format!("hostname = \"MX.example.net\"\n{tls}");
        let config = Config::parse(&text).unwrap();
        let checked = config.checked(Path::new("/etc/onward/onward.toml"));
        let key = checked.err().map(|error| error.to_string());
        let key = key.as_deref().and_then(|text| text.split('`').nth(1));
        assert_eq!(key, expected, "{tls}");
    }

    #[test]
    fn what_can_work() {
        let acme = |more: &str| format!("[tls.acme]\nterms_agreed = true\n{more}");
        let http = "http = '127.0.0.1:80'";
        check(&acme(http), None);
        check(&acme("tls_alpn = '[::]:443'"), None);
        let files = "[tls]\ncertificate = 'a'\nkey = 'b'\n";
        check(&format!("{files}{}", acme(http)), None);
        let inline = "acme = { terms_agreed = true, http = '127.0.0.1:80' }";
        check(
            &format!("[[tls]]\n{inline}\n{}", files.replace("[tls]", "[[tls]]")),
            None,
        );
        check(
            &format!("[[tls]]\n{inline}\n[[tls]]\n{inline}"),
            Some("tls.acme"),
        );
        check("[tls]\ncertificate = 'a'", Some("tls"));
        check("[tls]\n", Some("tls"));
        check(&acme(""), Some("tls.acme"));
        check(
            &format!("[tls.acme]\n{http}"),
            Some("tls.acme.terms_agreed"),
        );
        for (key, value) in [
            ("domains", "['*.example.net']"),
            ("domains", "['192.0.2.1']"),
            ("domains", "['localhost']"),
            ("domains", "['bücher.example']"),
            ("contact", "'nobody'"),
            ("directory", "'http://ca.example/'"),
        ] {
            let blamed = format!("tls.acme.{key}");
            check(&acme(&format!("{http}\n{key} = {value}")), Some(&blamed));
        }
        let http_door = "[http]\nbind = '192.0.2.1:8443'\n";
        check(&format!("{http_door}{}", acme(http)), None);
        let listener = "[[listener]]\nbind = '[::]:25'\n";
        check(&format!("{listener}{}", acme("http = '0.0.0.0:80'")), None);
        let same = acme("tls_alpn = '0.0.0.0:25'\nhttp = '127.0.0.1:25'");
        check(
            &format!("[[listener]]\nbind = '0.0.0.0:25'\n{same}"),
            Some("listener.bind"),
        );
    }

    #[test]
    fn its_names_are_its_own_or_the_host_s() {
        let text =
            "hostname = 'MX.example.net'\n[tls.acme]\nterms_agreed = true\nhttp = '127.0.0.1:80'\n";
        let names = |more: &str| {
            let config = Config::parse(&format!("{text}{more}")).unwrap();
            let config = config
                .checked(Path::new("/etc/onward/onward.toml"))
                .unwrap();
            config.issuing().unwrap().unwrap().domains
        };
        assert_eq!(names(""), ["mx.example.net"]);
        assert_eq!(
            names("domains = ['a.example', 'B.example']"),
            ["a.example", "b.example"]
        );
    }
}
