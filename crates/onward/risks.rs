//! Risks of a configuration: relaying for everybody, secrets that others can read.
//!
//! A risk does not keep the relay from running. `check` fails on it, `serve` warns of it at its start.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv6Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use envelope::{Domain, ForwardPath, Mailbox};
use forwarder::Route;
use ipnet::IpNet;
use relay::Routing;
use spool::Clock;

use crate::config::{Config, Listener, Network, Role, TlsMode};
use crate::descriptors;
use crate::forwards;
use crate::print::plural;
use crate::routing;

/// One of them.
pub(crate) struct Risk {
    /// What `check` files it under.
    pub(crate) about: &'static str,
    /// What it is, and what it leads to.
    pub(crate) text: String,
}

/// All of them.
pub(crate) fn of(config: &Config, routing: &Routing) -> Vec<Risk> {
    let mut risks = Vec::new();
    let mut add = |about, text| risks.push(Risk { about, text });
    for network in config.policy.trusted.iter().filter(|net| is_wide(net)) {
        add(
            "trusted",
            format!(
                "`policy.trusted` has {}: nearly everybody is in that network, and can send to any address through this relay; spammers will find it within hours, and it will be on every blocklist\n\nhint: list your own servers only",
                network.0
            ),
        );
    }
    let listeners = &config.listeners;
    let by_proxy = listeners.iter().flat_map(|l| &l.proxy_protocol_from);
    let by_xclient = listeners.iter().flat_map(|l| &l.xclient_from);
    let by_proxy = by_proxy.map(|net| ("proxy_protocol_from", net));
    let proxies = by_proxy.chain(by_xclient.map(|net| ("xclient_from", net)));
    for (key, network) in proxies.filter(|(_, net)| is_wide(net)) {
        add(
            "proxy",
            format!(
                "`listener.{key}` has {}: everybody in that network can claim to be any client, even one of `policy.trusted`\n\nhint: list the addresses of your load balancers only",
                network.0
            ),
        );
    }
    let hosted = hosted_srs_domains(routing);
    hosted.into_iter().for_each(|text| add("srs", text));
    let paths = &routing.forwarder.settings().return_paths;
    let ours = |domain: &&Domain| {
        routing.table.hosts(domain) || routing.forwarder.is_srs_domain(&routing.table, domain)
    };
    for domain in paths.domains().filter(|domain| !ours(domain)) {
        add(
            "srs",
            format!(
                "{domain} is the domain of a return path, and neither hosted here nor an SRS domain: if its mail does not come to this machine, bounces are lost\n\nhint: let its MX be this machine, and give it a `:domain:` line in the forwards file"
            ),
        );
    }
    let risk = |about| move |text| Risk { about, text };
    risks.extend(forwards(config, routing).into_iter().map(risk("forwards")));
    risks.extend(absent(config).map(risk("egress")));
    risks.extend(logins(config).into_iter().map(risk("auth")));
    risks.extend(descriptors::shortage(config).map(risk("limits")));
    risks.extend(unaligned(routing).map(risk("dkim")));
    risks.extend(postmaster(config, routing).map(risk("postmaster")));
    risks.extend(alerts(routing).map(risk("alerts")));
    risks.extend(secrets(&config.srs.secrets).into_iter().map(risk("srs")));
    for (about, path) in private_files(config) {
        risks.extend(open_to_others(path).map(risk(about)));
    }
    risks
}

/// Lines that may not be what somebody meant.
fn forwards(config: &Config, routing: &Routing) -> Vec<String> {
    let cut = routing.table.open_ends().map(|(file, line)| {
        format!(
            "{file}: the last line, `{line}`, has no line feed at its end: if the file was cut off within this line, its mail goes to a wrong address\n\nhint: end it with a line feed"
        )
    });
    let mut risks: Vec<_> = cut.collect();
    let left_out = routing.table.left_out();
    if left_out.count > 0 {
        let count = plural(left_out.count as u64, "line");
        let hint = "hint: remove the lines that do not count";
        risks.push(format!("{count} do not count:\n{left_out}\n\n{hint}"));
    }
    let hint = "hint: the names of those that are have no dot in them, or end in `.forwards`";
    let unread = forwards::passed_over(config).into_iter();
    risks.extend(unread.map(|path| format!("{} is not read\n\n{hint}", path.display())));
    risks
}

/// What nobody else may read, and what it is about.
fn private_files(config: &Config) -> impl Iterator<Item = (&'static str, &PathBuf)> {
    let keys = config.tls.iter().map(|files| ("certificate", &files.key));
    let signing = config.dkim.iter().map(|dkim| ("dkim", &dkim.key));
    let users = config.auth.file().map(|path| ("users", path));
    let secrets = [("srs", &config.srs.secrets)];
    let routes = config.delivery.routes.iter();
    let logins = routes.filter_map(|route| Some(("delivery", route.auth.as_ref()?)));
    let all = keys.chain(signing).chain(secrets).chain(users);
    all.chain(logins)
}

fn hosted_srs_domains(routing: &Routing) -> Vec<String> {
    let domains = routing.forwarder.srs_domains(&routing.table).into_iter();
    let hosted = domains.filter(|domain| routing.table.hosts(domain));
    let tell = |domain| {
        format!(
            "{domain} is a domain of rewritten senders, and also a hosted one: a forward in it that begins with SRS0 or SRS1 is never used, and mail from its own users is forwarded under their own address\n\nhint: take a domain for `srs.domain` that has no mailboxes, as in fwd.example.net"
        )
    };
    hosted.map(tell).collect()
}

/// Source addresses that are not on this machine.
fn absent(config: &Config) -> Option<String> {
    let pools = config.egresses.iter().flat_map(|pool| pool.meant().sources);
    let sources = pools
        .map(|source| source.address)
        .chain(config.delivery.bind.iter().copied());
    let absent = sources.filter(|source| UdpSocket::bind((*source, 0)).is_err());
    let absent: BTreeSet<_> = absent.map(|source| source.to_string()).collect();
    (!absent.is_empty()).then(|| format!(
        "no mail can leave from {}, named in [[egress]] or `delivery.bind`: not on this machine\n\nhint: `ip address` shows those that are",
        absent.into_iter().collect::<Vec<_>>().join(", ")
    ))
}

/// Where users are meant to log in, and cannot.
fn logins(config: &Config) -> Vec<String> {
    let has_users = config.auth.file().is_some() || config.auth.socket().is_some();
    let is_submission = |listener: &&Listener| listener.role == Role::Submission;
    let mut submission = config.listeners.iter().filter(is_submission).peekable();
    if has_users && submission.peek().is_none() {
        return vec!["`[auth]` has users, but no listener has the role \"submission\": nobody can log in\n\nhint: add [[listener]] with bind = \"[::]:587\" and role = \"submission\"".to_owned()];
    }
    let without_tls = |listener: &Listener| listener.tls == TlsMode::Off || !config.has_tls();
    let tell = |listener: &Listener| {
        let bind = listener.bind;
        if has_users && without_tls(listener) {
            return Some(format!(
                "users cannot log in at {bind}: AUTH is taken under TLS only, and there is none\n\nhint: add [tls] with certificate and key, and leave `tls` of this listener at \"starttls\" or \"implicit\""
            ));
        }
        (!has_users && config.policy.trusted.is_empty()).then(|| {
            format!("nobody can send through {bind}: it is for submission, and there are neither users nor trusted clients\n\nhint: name users in [auth], or your own servers in `policy.trusted`")
        })
    };
    submission.filter_map(tell).collect()
}

/// Wider than any provider's own network. Private ones (RFC 4193) may be as wide as they like.
fn is_wide(network: &Network) -> bool {
    match network.0 {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => net.prefix_len() < 16 && !Ipv6Addr::is_unique_local(&net.network()),
    }
}

/// Why mail to the postmaster would not arrive, if so.
fn postmaster(config: &Config, routing: &Routing) -> Option<String> {
    let Some(address) = &config.forwards.postmaster else {
        return Some("mail to postmaster may be refused, against RFC 5321 §4.5.1\n\nhint: set `forwards.postmaster` to the person who looks after this machine".to_owned());
    };
    let why = leads_nowhere(routing, &ForwardPath::Postmaster)?;
    Some(format!(
        "mail to postmaster leads nowhere: `forwards.postmaster` is {address}: {why}; problems with this relay will reach nobody\n\nhint: name a mailbox on another server, or give the address a line in the forwards file"
    ))
}

/// Why nobody would be told what is frozen, if so.
fn alerts(routing: &Routing) -> Option<String> {
    let address = routing.alerts.mail.as_ref()?;
    let why = leads_nowhere(routing, &ForwardPath::Mailbox(address.clone()))?;
    Some(format!(
        "mail to `alerts.mail` leads nowhere: {address}: {why}; nobody is told what is frozen\n\nhint: name a mailbox on another server, or give the address a line in the forwards file"
    ))
}

fn leads_nowhere(routing: &Routing, path: &ForwardPath) -> Option<String> {
    let forwarder = &routing.forwarder;
    let ours = |address: &Mailbox| {
        let domain = address.domain();
        domain.is_some_and(|domain| {
            domain == routing.hostname() || forwarder.is_srs_domain(&routing.table, domain)
        })
    };
    let route = forwarder.route(&routing.table, path, Clock::real().now());
    let is_ours = |address: &Mailbox| format!("{address} is this relay itself");
    match (route, path.mailbox()) {
        (Route::Forward(expansion), _) => {
            let mut targets = expansion.targets.iter().map(|target| &target.mailbox);
            targets.find(|address| ours(address)).map(is_ours)
        }
        (Route::NotHosted, Some(address)) => Some(address).filter(|a| ours(a)).map(is_ours),
        (Route::Refused(reply), _) => Some(reply.text),
        (Route::Discard(_), _) => Some("its line drops all mail".to_owned()),
        _ => Some("its domain is hosted, and has no line for it".to_owned()),
    }
}

/// Notices whose signature counts for nothing: DMARC wants it to be by the organisation that they come from (RFC 9989 §4.4). Two
/// labels are enough to tell most of those apart.
fn unaligned(routing: &Routing) -> Option<String> {
    let key = routing.keys.named.get(routing.keys.notices.as_ref()?)?;
    let organisation = |domain: &Domain| -> Vec<String> {
        let labels = domain.as_str().rsplit('.').take(2);
        labels.map(str::to_owned).collect()
    };
    let (from, signer) = (routing.hostname(), &key.domain);
    (organisation(from) != organisation(signer)).then(|| {
        format!("`bounce.sign` signs notices as {signer}, but they come from postmaster@{from}: nobody who checks DMARC counts such a signature\n\nhint: take a key of {from}, or of a domain above it")
    })
}

/// What is risky in the secrets themselves. (Secrets that cannot be read have been reported with the routing.)
fn secrets(path: &Path) -> Vec<String> {
    let secrets = routing::secrets(path).unwrap_or_default();
    let file = path.display();
    let tell = |(number, secret): (usize, &Vec<u8>)| {
        let mut said = Vec::new();
        if secret.len() < SECRET_OCTETS_MIN {
            said.push(format!("{file}: secret {number} is under {SECRET_OCTETS_MIN} octets: from one rewritten address it can be guessed by trying, and then anybody can send through this relay to any address\n\nhint: put a new one first, as `onward init` makes them, and remove this one after `srs.max_age`"));
        }
        if secret.trim_ascii().len() < secret.len() {
            said.push(format!("{file}: secret {number} has blanks at its ends; they are part of the secret, as with postsrsd\n\nhint: if that is a mistake, put the right secret on a line before it, and remove this one after `srs.max_age`"));
        }
        said
    };
    secrets
        .iter()
        .zip(1..)
        .map(|(secret, number)| (number, secret))
        .flat_map(tell)
        .collect()
}

/// Whether a file can be read or changed by users other than its owner and group.
fn open_to_others(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        let path = path.display();
        format!("{path} is open to every user of this machine (mode {mode:04o}): anybody who has read it can act in the name of this relay, or of its users\n\nhint: chmod 600 {path}, or chgrp it to the group that runs onward and chmod 640; and make a new one if others have had access")
    })
}

/// 16 random letters and digits are 95 bits.
const SECRET_OCTETS_MIN: usize = 16;
