//! Static routes: domains whose mail goes to a named host, whatever DNS says of their MX.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use envelope::{Domain, DomainError};

/// The routes in their order; the one for the exact domain goes before `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The domain; `None` is `*`, every domain without a route of its own.
    pub domain: Option<Domain>,
    /// Where its mail goes.
    pub next_hop: NextHop,
}

/// A host to connect to, without MX lookup.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Its name or address.
    pub host: HopHost,
    /// Its port; `None` is the usual one.
    pub port: Option<u16>,
}

/// The host of a next hop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HopHost {
    /// A name, of which the addresses are looked up.
    Name(Domain),
    /// An address.
    Address(IpAddr),
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
    pub fn find(&self, domain: &Domain) -> Option<&NextHop> {
        let exact = |route: &&Route| route.domain.as_ref() == Some(domain);
        let any = |route: &&Route| route.domain.is_none();
        let route = self.0.iter().find(exact);
        route
            .or_else(|| self.0.iter().find(any))
            .map(|route| &route.next_hop)
    }
}

impl Route {
    /// From the two texts of the configuration: `intern.example` or `*`, and `10.0.0.5:2525`, `[2001:db8::1]:25`,
    /// `2001:db8::1`, `mail.example` or `mail.example:2525`.
    pub fn parse(domain: &str, host: &str) -> Result<Self, RouteError> {
        let domain = match domain {
            "*" => None,
            name => Some(
                name.parse()
                    .map_err(|e| RouteError::Domain(name.to_owned(), e))?,
            ),
        };
        Ok(Self {
            domain,
            next_hop: host.parse()?,
        })
    }
}

impl FromStr for NextHop {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let (host, port) = split_port(text);
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
        Ok(Self { host, port })
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
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
    fn the_exact_domain_goes_before_the_star() {
        let route = |domain, host| Route::parse(domain, host).unwrap();
        let routes = Routes::new(vec![
            route("*", "smart.example"),
            route("a.example", "10.0.0.1"),
        ]);
        let find = |name: &str| routes.find(&name.parse().unwrap()).unwrap().to_string();
        assert_eq!(find("a.example"), "[10.0.0.1]");
        assert_eq!(find("sub.a.example"), "smart.example");
        let nothing = Routes::default();
        assert_eq!(nothing.find(&"a.example".parse().unwrap()), None);
        for domain in ["*.a.example", ".a.example"] {
            let error = Route::parse(domain, "a").unwrap_err();
            assert!(matches!(error, RouteError::Domain(..)));
            assert!(
                error
                    .to_string()
                    .contains("hint: a route is for one domain, `a.example`")
            );
        }
    }
}
