//! Static routes: domains whose mail goes to named hosts, whatever DNS says of their MX.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use envelope::{Domain, DomainError, TlsUse};

use crate::login::Login;

/// The routes in their order; the one for the exact domain goes before `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The domain; `None` is `*`, every domain without a route of its own.
    pub domain: Option<Domain>,
    /// Where its mail goes.
    pub hops: Arc<Hops>,
    /// When TLS is used there, at least.
    pub tls: TlsUse,
    /// The egress of mail that names none.
    pub egress: Option<Arc<str>>,
}

/// Hosts to connect to, without MX lookup: the next one when one gives no service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hops {
    /// In the order in which they are tried; at least one.
    pub hosts: Vec<NextHop>,
    /// How to log in there.
    pub login: Option<Login>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Its name or address.
    pub host: HopHost,
    /// Its port; `None` is the usual one.
    pub port: Option<u16>,
    /// Whether it speaks LMTP (RFC 2033).
    pub lmtp: bool,
}

/// The host of a next hop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HopHost {
    /// A name, of which the addresses are looked up.
    Name(Domain),
    /// An address.
    Address(IpAddr),
    /// A socket of this machine.
    Socket(Arc<Path>),
}

/// Why a text is no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The domain is neither `*` nor a domain.
    #[error("`{0}` is neither a domain nor `*`: {1}{hint}", hint = domain_hint(.0))]
    Domain(String, DomainError),
    /// The host is not one.
    #[error("`{0}` is not a host: {1}{hint}", hint = host_hint(.0))]
    Host(String, DomainError),
    /// The port is not one.
    #[error("`{0}` is not a port (1 to 65535)\n\nhint: a number, as in `mail.example:587`")]
    Port(String),
    /// LMTP has no usual port.
    #[error(
        "`lmtp:{0}` has no port\n\nhint: write it behind the host, as in `lmtp:{0}:24`, or name a socket: `lmtp:unix:/run/dovecot/lmtp`"
    )]
    LmtpPort(String),
    /// The path of a socket is not absolute, or too long.
    #[error(
        "`{0}` is not a socket\n\nhint: write its whole path of at most {SOCKET_OCTETS_MAX} octets, as in `lmtp:unix:/run/dovecot/lmtp`; only LMTP is spoken there"
    )]
    Socket(String),
    /// A password would go in clear.
    #[error(
        "a password for `{0}` needs `tls = \"verified\"`, which is what it means when left out, or \"required\" for a server whose certificate cannot be verified"
    )]
    ClearLogin(String),
    /// There is no TLS over a socket.
    #[error("`tls` is not for `{0}`, a socket of this machine\n\nhint: leave `tls` out")]
    SocketTls(String),
}

impl Routes {
    /// Routes in their order.
    pub fn new(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    /// Those for one domain each.
    pub(crate) fn without_star(&self) -> Self {
        let exact = self.0.iter().filter(|route| route.domain.is_some());
        Self(exact.cloned().collect())
    }

    /// Where the domain's mail goes, if a route says so. The exact domain is matched, not what is below it.
    pub fn find(&self, domain: &Domain) -> Option<&Route> {
        let exact = |route: &&Route| route.domain.as_ref() == Some(domain);
        let any = |route: &&Route| route.domain.is_none();
        let route = self.0.iter().find(exact);
        route.or_else(|| self.0.iter().find(any))
    }

    /// The logins, each once or several times.
    pub fn logins(&self) -> impl Iterator<Item = &Login> {
        self.0.iter().filter_map(|route| route.hops.login.as_ref())
    }
}

impl Route {
    /// From the texts of the configuration: `intern.example` or `*`, and for each host `10.0.0.5:2525`, `[2001:db8::1]:25`,
    /// `2001:db8::1`, `mail.example`, `mail.example:2525`, `lmtp:store.example:24` or `lmtp:unix:/run/dovecot/lmtp`. A login
    /// goes to a host that has proved its name, unless `tls` says otherwise.
    pub fn parse(
        domain: &str,
        hosts: &[impl AsRef<str>],
        tls: Option<TlsUse>,
        login: Option<Login>,
    ) -> Result<Self, RouteError> {
        let domain = match domain {
            "*" => None,
            name => Some(
                name.parse()
                    .map_err(|e| RouteError::Domain(name.to_owned(), e))?,
            ),
        };
        let hosts = hosts.iter().map(|host| host.as_ref().parse());
        let hosts = hosts.collect::<Result<Vec<NextHop>, _>>()?;
        let mut sockets = hosts.iter().filter(|hop| hop.is_socket());
        if let (Some(socket), Some(_)) = (sockets.next(), tls) {
            return Err(RouteError::SocketTls(socket.to_string()));
        }
        let least = match &login {
            Some(_) => TlsUse::Verified,
            None => TlsUse::Never,
        };
        let tls = tls.unwrap_or(least);
        if let Some(login) = login.as_ref().filter(|_| tls < TlsUse::Required) {
            return Err(RouteError::ClearLogin(login.to_string()));
        }
        Ok(Self {
            domain,
            hops: Arc::new(Hops { hosts, login }),
            tls,
            egress: None,
        })
    }
}

impl NextHop {
    fn is_socket(&self) -> bool {
        matches!(self.host, HopHost::Socket(_))
    }
}

impl FromStr for NextHop {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let (text, lmtp) = match text.strip_prefix("lmtp:") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = path.starts_with('/') && path.len() <= SOCKET_OCTETS_MAX;
            if !lmtp || !is_path || path.contains(|c: char| c.is_control() || c == ' ') {
                return Err(RouteError::Socket(text.to_owned()));
            }
            return Ok(Self {
                host: HopHost::Socket(Path::new(path).into()),
                port: None,
                lmtp,
            });
        }
        let (host, port) = split_port(text);
        if lmtp && port.is_none() {
            return Err(RouteError::LmtpPort(text.to_owned()));
        }
        let port = match port {
            Some(port) => Some(
                port.parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| RouteError::Port(port.to_owned()))?,
            ),
            None => None,
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let host = match bare.parse() {
            Ok(address) => HopHost::Address(address),
            Err(_) => HopHost::Name(
                host.parse()
                    .map_err(|e| RouteError::Host(host.to_owned(), e))?,
            ),
        };
        Ok(Self { host, port, lmtp })
    }
}

/// The best of them.
impl fmt::Display for Hops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hosts.first().map_or(Ok(()), |hop| hop.fmt(f))
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lmtp {
            f.write_str("lmtp:")?;
        }
        match &self.host {
            HopHost::Socket(path) => write!(f, "unix:{}", path.display())?,
            HopHost::Name(name) => write!(f, "{name}")?,
            HopHost::Address(address) => write!(f, "[{address}]")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// What Postfix's transport map writes for a domain's subdomains.
fn domain_hint(text: &str) -> String {
    let below = text.strip_prefix("*.").or_else(|| text.strip_prefix('.'));
    below.map_or_else(String::new, |name| {
        format!("\n\nhint: a route is for one domain, `{name}`; each subdomain needs a route of its own, or `*` takes all others")
    })
}

/// What Postfix writes for a host without MX lookup, and for a transport before it.
fn host_hint(text: &str) -> String {
    let bare = text.rsplit(':').next().unwrap_or(text);
    let bare = bare.trim_matches(['[', ']']);
    match text.contains(['[', ':']) && bare.parse::<Domain>().is_ok() {
        true => format!(
            "\n\nhint: write `{bare}`, without brackets and transport: the host of a route is never looked up as an MX"
        ),
        false => String::new(),
    }
}

/// Splits `host:port`. The colons of a bare IPv6 address are not taken for it.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.parse::<IpAddr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// `sun_path` has 108 octets on Linux, the last of them a NUL (unix(7)).
const SOCKET_OCTETS_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let got = text.parse::<NextHop>();
        let got = got.map(|hop| hop.to_string()).map_err(|e| e.to_string());
        assert_eq!(
            got.as_deref().map_err(String::as_str),
            expected.as_ref().copied().map_err(|e| *e),
            "{text:?}"
        );
    }

    #[test]
    fn hosts() {
        check("10.0.0.5:2525", Ok("[10.0.0.5]:2525"));
        check("10.0.0.5", Ok("[10.0.0.5]"));
        check("[10.0.0.5]", Ok("[10.0.0.5]"));
        check("[2001:db8::1]:25", Ok("[2001:db8::1]:25"));
        check("[2001:db8::1]", Ok("[2001:db8::1]"));
        check("2001:db8::1", Ok("[2001:db8::1]"));
        check("Mail.Example", Ok("mail.example"));
        check("mail.example:2525", Ok("mail.example:2525"));
        let port = |text| {
            format!(
                "`{text}` is not a port (1 to 65535)\n\nhint: a number, as in `mail.example:587`"
            )
        };
        check("a:0", Err(&port("0")));
        check("a:65536", Err(&port("65536")));
        check("a:submission", Err(&port("submission")));
        check("a:", Err(&port("")));
        check(
            "[mail.example]:587",
            Err(
                "`[mail.example]` is not a host: character not allowed in a domain\n\nhint: write `mail.example`, without brackets and transport: the host of a route is never looked up as an MX",
            ),
        );
        check(
            "smtp:[mail.example]:587",
            Err(
                "`smtp:[mail.example]` is not a host: character not allowed in a domain\n\nhint: write `mail.example`, without brackets and transport: the host of a route is never looked up as an MX",
            ),
        );
        check(
            "a b",
            Err("`a b` is not a host: character not allowed in a domain"),
        );
        check("", Err("`` is not a host: empty domain or label"));
    }

    #[test]
    fn lmtp_hosts() {
        check("lmtp:127.0.0.1:24", Ok("lmtp:[127.0.0.1]:24"));
        check("lmtp:[::1]:24", Ok("lmtp:[::1]:24"));
        check("lmtp:store.example:24", Ok("lmtp:store.example:24"));
        check("lmtp:unix:/run/d/lmtp", Ok("lmtp:unix:/run/d/lmtp"));
        let refused = |text: &str, hint| {
            let error = text.parse::<NextHop>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        };
        refused("lmtp:store.example", "as in `lmtp:store.example:24`");
        refused("unix:/run/d/lmtp", "only LMTP is spoken there");
        refused("lmtp:unix:run/lmtp", "its whole path");
        refused("lmtp:unix:/a b", "its whole path");
        refused(&format!("lmtp:unix:/{}", "a".repeat(107)), "at most 107");
        refused("lmtp:[store.example]:24", "hint: write `store.example`");
    }

    #[test]
    fn a_password_never_goes_in_clear() {
        let login = || Login::parse(Path::new("file"), "name:password").ok();
        let route = |host, tls| Route::parse("*", &[host], tls, login()).map(|route| route.tls);
        assert_eq!(route("a.example", None), Ok(TlsUse::Verified));
        let required = Some(TlsUse::Required);
        assert_eq!(route("a.example", required), Ok(TlsUse::Required));
        for tls in [TlsUse::Never, TlsUse::Opportunistic] {
            let error = RouteError::ClearLogin("file".to_owned());
            assert_eq!(route("a.example", Some(tls)), Err(error));
        }
        let socket = "lmtp:unix:/a";
        let error = RouteError::SocketTls(socket.to_owned());
        assert_eq!(route(socket, required), Err(error));
        let routed = Route::parse("*", &["a.example"], None, None).unwrap();
        assert_eq!(routed.tls, TlsUse::Never, "as [delivery] says");
    }

    #[test]
    fn the_exact_domain_goes_before_the_star() {
        let route = |domain, host| Route::parse(domain, &[host], None, None).unwrap();
        let routes = Routes::new(vec![
            route("*", "smart.example"),
            route("a.example", "10.0.0.1"),
        ]);
        let find = |name: &str| {
            let route = routes.find(&name.parse().unwrap()).unwrap();
            route.hops.to_string()
        };
        assert_eq!(find("a.example"), "[10.0.0.1]");
        assert_eq!(find("sub.a.example"), "smart.example");
        let nothing = Routes::default();
        assert_eq!(nothing.find(&"a.example".parse().unwrap()), None);
        for domain in ["*.a.example", ".a.example"] {
            let error = Route::parse(domain, &["a"], None, None).unwrap_err();
            assert!(matches!(error, RouteError::Domain(..)));
            assert!(
                error
                    .to_string()
                    .contains("hint: a route is for one domain, `a.example`")
            );
        }
    }
}
