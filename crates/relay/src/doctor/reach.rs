//! The way out: whether the port of mail servers elsewhere can be reached, which many networks block.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use control::Finding;
use control::Health::{Bad, Good};
use dns::Resolver;
use envelope::Domain;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::{Facts, ask, domains::addresses, unknown};

/// Whose mail servers are tried, and from where.
#[derive(Debug, Clone)]
pub struct WayOut {
    /// A domain whose mail servers are always up.
    pub domain: Domain,
    /// Their port.
    pub port: u16,
    /// Source addresses; an unspecified one leaves the choice to the system.
    pub sources: Vec<IpAddr>,
}

pub(super) async fn check<R: Resolver>(resolver: &R, facts: &Facts) -> Vec<Finding> {
    let Some(WayOut {
        domain,
        port,
        sources,
    }) = &facts.way_out
    else {
        return Vec::new();
    };
    let hosts = async { Ok(resolver.mx(domain.as_str()).await?.records) };
    let mut hosts = match ask(hosts).await {
        Ok(hosts) => hosts,
        Err(why) => return vec![unknown(CHECK, domain, why)],
    };
    hosts.sort();
    let mut found = Vec::new();
    for host in hosts.iter().take(HOSTS_MAX) {
        found.extend(addresses(resolver, &host.exchange).await.0);
    }
    let mut findings = Vec::new();
    for source in sources {
        let mut targets = found
            .iter()
            .filter(|target| target.is_ipv4() == source.is_ipv4());
        let of = format!("port {port} of {domain} from {source}");
        findings.push(match targets.next() {
            Some(target) => tried(of, *source, SocketAddr::new(*target, *port)).await,
            None => unknown(CHECK, of, "it has no address of this family"),
        });
    }
    findings
}

async fn tried(of: String, source: IpAddr, target: SocketAddr) -> Finding {
    let connect = async {
        let socket = match source {
            IpAddr::V4(_) => TcpSocket::new_v4(),
            IpAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(target).await
    };
    let why = match timeout(CONNECT_WITHIN, connect).await {
        Ok(Ok(_)) => return Finding::new(Good, CHECK, of, format!("{target} answers")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT_WITHIN.as_secs()),
    };
    let text = format!(
        "{target} cannot be reached ({why}): no mail gets out this way\n\nhint: many providers block this port until they are asked to open it; or send through a smarthost, with a [[delivery.route]] for `*`"
    );
    Finding::new(Bad, CHECK, of, text)
}

const CHECK: &str = "way-out";
const HOSTS_MAX: usize = 3;
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
