//! Domains: mail for them comes to us (MX), and SPF lets us send for those that rewritten senders are in.

use std::collections::BTreeSet;
use std::net::IpAddr;

use control::Finding;
use control::Health::{Bad, Good, Risky};
use dns::{Error, Resolver};
use envelope::Domain;
use spf::{Lint, Query, Verdict};
use tokio::time::timeout;

use super::{ANSWER_WITHIN, Egress, Facts, ask, each, some_of, unknown};
use crate::TierWay;
use crate::sender_policy::evaluate;

/// How mail for us finds us.
struct Us<'a> {
    hostname: &'a Domain,
    addresses: Vec<IpAddr>,
}

/// Where mail for a domain goes.
enum Way {
    /// To us, by this name.
    Here(Domain),
    Elsewhere(String),
    Unknown(String),
}

/// The findings, and the names by which others find us.
pub(super) async fn check<R: Resolver>(
    resolver: &R,
    facts: &Facts,
) -> (Vec<Finding>, BTreeSet<Domain>) {
    let (table, settings) = (&facts.routing.table, facts.routing.forwarder.settings());
    let us = &Us::find(resolver, facts).await;
    let mut ours = facts.routing.forwarder.srs_domains(table);
    ours.extend(settings.return_paths.domains());
    let mail = each("mx", &ours, |domain| async move {
        let way = us.way(resolver, domain);
        let (way, spf) = tokio::join!(way, spf_of_senders(resolver, facts, domain));
        (bounces_come(us, domain, &way), spf, way)
    });
    let hosted = table.domain_names().filter(|domain| !ours.contains(domain));
    let hosted = each("mx", hosted, |domain| async move {
        let way = us.way(resolver, &domain).await;
        (domain, way)
    });
    let ((mail, more), (hosted, more_hosted)) = tokio::join!(mail, hosted);
    let mut findings: Vec<_> = more.into_iter().chain(more_hosted).collect();
    findings.extend(hosted_come(us, &hosted));
    let mut names = BTreeSet::from([us.hostname.clone()]);
    let mut add = |way| {
        if let Way::Here(name) = way {
            names.insert(name);
        }
    };
    hosted.into_iter().for_each(|(_, way)| add(way));
    for (mx, spf, way) in mail {
        findings.extend([mx, spf]);
        add(way);
    }
    (findings, names)
}

/// What mail for one domain needs: it comes to us, and so do bounces to its rewritten senders, for whom SPF lets us send.
pub(super) async fn check_one<R: Resolver>(
    resolver: &R,
    facts: &Facts,
    domain: &Domain,
) -> Vec<Finding> {
    let (table, settings) = (&facts.routing.table, facts.routing.forwarder.settings());
    let us = &Us::find(resolver, facts).await;
    let options = table.domain_options(domain);
    let srs_domain = options.and_then(|options| options.srs_domain);
    let srs_domain = srs_domain.as_ref().unwrap_or(&settings.srs_domain);
    let (way, back, spf) = tokio::join!(
        us.way(resolver, domain),
        us.way(resolver, srs_domain),
        spf_of_senders(resolver, facts, srs_domain)
    );
    let mx = match way {
        Way::Elsewhere(why) => {
            let text = format!("its mail does not come to us: {why}");
            Finding::new(Bad, "mx", domain, text).publishing(us.record(domain))
        }
        way => bounces_come(us, domain, &way),
    };
    vec![mx, bounces_come(us, srs_domain, &back), spf]
}

impl<'a> Us<'a> {
    /// Behind a load balancer no address of the machine is the one that others know: those of our name count too.
    async fn find<R: Resolver>(resolver: &R, facts: &'a Facts) -> Self {
        let hostname = facts.routing.hostname();
        let (mut addresses, _) = addresses(resolver, hostname).await;
        addresses.extend(&facts.listeners);
        addresses.extend(facts.egresses.iter().map(|egress| egress.address));
        Self {
            hostname,
            addresses,
        }
    }

    async fn way<R: Resolver>(&self, resolver: &R, domain: &Domain) -> Way {
        let records = timeout(ANSWER_WITHIN, resolver.mx(domain.as_str())).await;
        let hosts: Vec<Domain> = match records {
            Ok(Ok(mut answer)) => {
                answer.records.sort();
                answer.records.into_iter().map(|mx| mx.exchange).collect()
            }
            Ok(Err(Error::NoRecords)) => vec![domain.clone()],
            Ok(Err(Error::Trouble(why))) => return Way::Unknown(why),
            Ok(Err(none)) => return Way::Elsewhere(none.to_string()),
            Err(_) => return Way::Unknown("no answer".to_owned()),
        };
        if hosts.contains(self.hostname) {
            return Way::Here(self.hostname.clone());
        }
        let mut trouble = None;
        for host in hosts.iter().take(HOSTS_MAX) {
            let (found, why) = addresses(resolver, host).await;
            if found.iter().any(|address| self.addresses.contains(address)) {
                return Way::Here(host.clone());
            }
            trouble = trouble.or(why);
        }
        match trouble {
            Some(why) => Way::Unknown(why),
            None => Way::Elsewhere(format!("it goes to {}", some_of(&hosts))),
        }
    }

    fn record(&self, domain: &Domain) -> String {
        format!("{domain}. IN MX 10 {}.", self.hostname)
    }
}

/// Of both families, and why one is missing.
pub(super) async fn addresses<R: Resolver>(
    resolver: &R,
    name: &Domain,
) -> (Vec<IpAddr>, Option<String>) {
    let (v6, v4) = tokio::join!(
        ask(resolver.ipv6(name.as_str())),
        ask(resolver.ipv4(name.as_str()))
    );
    let trouble = v6.as_ref().err().or_else(|| v4.as_ref().err()).cloned();
    let v6 = v6.unwrap_or_default().into_iter().map(IpAddr::V6);
    let v4 = v4.unwrap_or_default().into_iter().map(IpAddr::V4);
    (v6.chain(v4).collect(), trouble)
}

fn bounces_come(us: &Us<'_>, domain: &Domain, way: &Way) -> Finding {
    match way {
        Way::Here(name) => Finding::new(
            Good,
            "mx",
            domain,
            format!("its mail comes to us, as {name}"),
        ),
        Way::Unknown(why) => unknown("mx", domain, why),
        Way::Elsewhere(why) => {
            let text = format!(
                "rewritten senders are in this domain, and its mail does not come to us ({why}): bounces are lost, and servers that verify senders refuse what we forward"
            );
            Finding::new(Bad, "mx", domain, text).publishing(us.record(domain))
        }
    }
}

/// One finding about all: customers that have moved away are no fault of ours.
fn hosted_come(us: &Us<'_>, hosted: &[(Domain, Way)]) -> Vec<Finding> {
    let mut away = Vec::new();
    let (mut here, mut unknown_of) = (0, Vec::new());
    for (domain, way) in hosted {
        match way {
            Way::Here(_) => here += 1,
            Way::Elsewhere(_) => away.push(domain),
            Way::Unknown(_) => unknown_of.push(domain),
        }
    }
    let mut findings = Vec::new();
    if let Some(first) = away.first() {
        let text = format!(
            "{} of {} have no MX that leads to us, so their mail never comes here: {}",
            away.len(),
            hosted.len(),
            some_of(&away)
        );
        findings.push(Finding::new(Risky, "mx", HOSTED, text).publishing(us.record(first)));
    } else if here > 0 {
        findings.push(Finding::new(
            Good,
            "mx",
            HOSTED,
            format!("mail for {here} comes to us"),
        ));
    }
    if !unknown_of.is_empty() {
        let why = format!("DNS has no answer for {}", some_of(&unknown_of));
        findings.push(unknown("mx", HOSTED, why));
    }
    findings
}

/// Whether mail under this SRS domain leaves from there. A tier with an egress and a domain of its own keeps them to itself.
fn leaves_from(facts: &Facts, egress: &Egress, domain: &Domain) -> bool {
    let tiers = facts.routing.tiers.values();
    let own = tiers.filter(|way| way.egress.is_some() && way.srs_domain.is_some());
    let of_domain = |way: &&TierWay| way.srs_domain.as_ref() == Some(domain);
    let of_egress = |way: &TierWay| way.egress == egress.pool;
    let mut of_domain = own.clone().filter(of_domain).peekable();
    egress.sends_mail
        && match of_domain.peek() {
            Some(_) => of_domain.any(of_egress),
            None => !own.clone().any(of_egress),
        }
}

/// Whether SPF lets rewritten senders in this domain come from us.
async fn spf_of_senders<R: Resolver>(resolver: &R, facts: &Facts, domain: &Domain) -> Finding {
    let query = |egress: &Egress| {
        let hello = egress.hello.as_str();
        Query::mail_from(egress.address, hello, "srs0", domain.as_str())
    };
    spf(resolver, facts, domain, query).await
}

/// Whether SPF of the domain passes for every address that its mail leaves from.
async fn spf<R: Resolver>(
    resolver: &R,
    facts: &Facts,
    domain: &Domain,
    query: impl Fn(&Egress) -> Query,
) -> Finding {
    let egresses = &facts.egresses;
    let (mut refused, mut trouble, mut why) = (Vec::new(), None, String::new());
    for egress in egresses
        .iter()
        .filter(|egress| leaves_from(facts, egress, domain))
    {
        let output = evaluate(resolver, query(egress)).await;
        match output.verdict {
            Verdict::Pass => {}
            Verdict::TempError => trouble = Some(output.to_string()),
            verdict => {
                why = format!("{verdict}: {output}");
                refused.push(egress.address);
            }
        }
    }
    if refused.is_empty() {
        return match trouble {
            _ if egresses.is_empty() => unknown("spf", domain, NO_EGRESS),
            Some(why) => unknown("spf", domain, why),
            None => Finding::new(Good, "spf", domain, "it lets all our addresses send"),
        };
    }
    let text = format!(
        "it does not let {} send ({why}): what we forward is refused or filed as spam\n\nhint: `onward spf lint {domain}` says more of the record",
        some_of(&refused)
    );
    let finding = Finding::new(Bad, "spf", domain, text);
    let right = evaluate(resolver, Lint::new(domain.as_str(), &refused))
        .await
        .right;
    let lines: Vec<_> = right.iter().map(ToString::to_string).collect();
    finding.publishing((!lines.is_empty()).then(|| lines.join("\n")))
}

const HOSTED: &str = "hosted domains";
const NO_EGRESS: &str = "which addresses mail leaves from is not known\n\nhint: name them in `delivery.bind`, or behind NAT in `doctor.addresses`";
const HOSTS_MAX: usize = 10;
