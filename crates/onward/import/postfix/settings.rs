//! What of `main.cf` is no address: routes, domains that are carried on, postsrsd; and what must be set by hand.

use std::collections::{BTreeMap, BTreeSet};

use super::main_cf::MainCf;
use super::tables::tables;
use crate::import::{Imported, NOT_CARRIED, known, postsrsd};

pub(super) fn read(
    config: &MainCf,
    mailboxes: &BTreeSet<String>,
    relayed: BTreeSet<String>,
    into: &mut Imported,
) {
    let name = config.value("myhostname");
    if name.contains('.') {
        into.options.insert("hostname".into(), name.into());
    } else {
        let hint = "set `hostname` in the configuration to the full name of this machine";
        let (place, why) = (config.place("myhostname"), "is not set to a full name");
        into.leave(&place, "myhostname", why, hint);
    }
    for domain in mailboxes {
        let place = config.place("virtual_mailbox_domains");
        let why = "has mailboxes on that server";
        into.leave(&place, domain, why, MAILBOXES_HINT);
    }
    if !relayed.is_empty() {
        let name = "parent_domain_matches_subdomains";
        if config.value(name).contains("relay_domains") {
            let (place, why) = (
                config.place("relay_domains"),
                "holds for what is below them, too",
            );
            let hint = "add subdomains that get mail to `relay_domains` of [policy]";
            into.leave(&place, "relay_domains", why, hint);
        }
        into.set("policy", "relay_domains", Vec::from_iter(relayed));
    }
    routes(config, into);
    let tls = ["smtpd_tls_cert_file", "smtpd_tls_key_file"].map(|name| config.value(name));
    if let [certificate, key] = tls
        && !certificate.is_empty()
        && !key.is_empty()
    {
        into.set("tls", "certificate", certificate);
        into.set("tls", "key", key);
    }
    let octets = config.value("message_size_limit").parse::<u64>();
    if let Ok(octets @ 1..) = octets {
        into.set("limits", "message_size", format!("{octets} B"));
    }
    by_hand(config, into);
}

/// `transport_maps` and `relayhost` as routes.
fn routes(config: &MainCf, into: &mut Imported) {
    let mut routes = BTreeMap::new();
    for table in tables(config, "transport_maps", into) {
        for entry in table.entries(into) {
            let is_domain = !entry.key.contains('@') && !entry.key.starts_with('.');
            match next_hop(config, &entry.value).filter(|_| is_domain && !table.is_pattern()) {
                // The first of a key counts.
                Some(host) => drop(routes.entry(entry.key).or_insert(host)),
                None => into.leave(&entry.row.place, &entry.row.text, NOT_CARRIED, ROUTE_HINT),
            }
        }
    }
    let relayhost = config.value("relayhost");
    match next_hop(config, &format!("smtp:{relayhost}")) {
        Some(host) => drop(routes.entry("*".to_owned()).or_insert(host)),
        None if relayhost.is_empty() => {}
        None => {
            let what = format!("relayhost = {relayhost}");
            into.leave(&config.place("relayhost"), &what, NOT_CARRIED, ROUTE_HINT);
        }
    }
    let table = |(domain, host): (String, String)| {
        let pairs = [("domain", domain), ("host", host)];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.into()));
        toml::Value::Table(pairs.into_iter().collect())
    };
    if !routes.is_empty() {
        let routes: Vec<_> = routes.into_iter().map(table).collect();
        into.set("delivery", "route", routes);
    }
}

/// `smtp:[host]:port` as the host of a route.
fn next_hop(config: &MainCf, value: &str) -> Option<String> {
    let (transport, hop) = value.split_once(':')?;
    match (transport, hop.trim().split_once("unix:")) {
        ("lmtp", Some(("", path))) if path.starts_with('/') => Some(format!("lmtp:unix:{path}")),
        ("lmtp", Some(("", path))) => {
            let queue = config.value("queue_directory");
            Some(format!("lmtp:unix:{queue}/{path}"))
        }
        ("lmtp", _) => {
            let host = host(hop.trim().trim_start_matches("inet:"))?;
            Some(format!("lmtp:{host}"))
        }
        // Without brackets it is a domain, whose MX are asked for.
        ("smtp" | "relay", _) => host(hop.trim()).filter(|_| hop.trim().starts_with('[')),
        _ => None,
    }
}

/// `[a.example]:587` as `a.example:587`. Several hosts, services with a name and the end of a domain's MX are no such thing.
fn host(hop: &str) -> Option<String> {
    let (host, port) = match hop.strip_prefix('[').and_then(|hop| hop.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
        None => hop.split_once(':').unwrap_or((hop, "")),
    };
    if host.is_empty() || host.contains([',', ' ', ':']) {
        return None;
    }
    match port {
        "" | "smtp" => Some(host.to_owned()),
        "submission" => Some(format!("{host}:587")),
        port => Some(format!("{host}:{}", port.parse::<u16>().ok()?)),
    }
}

/// Parameters and restrictions that have no key here. Where a program rewrites addresses, it is postsrsd.
fn by_hand(config: &MainCf, into: &mut Imported) {
    for (name, hint) in known(BY_HAND) {
        let value = config.value(name);
        let is_asked = value.starts_with("tcp:") || value.starts_with("socketmap:");
        match (name, &*value) {
            (_, "" | "no" | "none") => {}
            ("sender_canonical_maps", _) if is_asked => postsrsd::read(&config.etc, into),
            ("recipient_canonical_maps", _) if is_asked => {}
            _ => {
                let what = format!("{name} = {value}");
                into.leave(&config.place(name), &what, NOT_CARRIED, hint);
            }
        }
    }
    for stage in STAGES.split(' ') {
        let name = format!("smtpd_{stage}_restrictions");
        for word in config.words(&name) {
            let known = known(RESTRICTIONS).find(|(known, _)| word.starts_with(known));
            if let Some((_, hint)) = known {
                let why = format!("{name}: {NOT_CARRIED}");
                into.leave(&config.place(&name), &word, why, hint);
            }
        }
    }
}

const MAILBOXES_HINT: &str = "until they have lines, they are answered 450; its aliases are carried over; deliver to its mail store by a [[delivery.route]] for another domain (`host = \"lmtp:unix:/run/dovecot/lmtp\"`), and forward its addresses there";
const ROUTE_HINT: &str = "a [[delivery.route]] is for a whole domain, over SMTP or LMTP, to given hosts (a name without brackets stands for its MX)";
const STAGES: &str = "client helo sender relay recipient data end_of_data";

/// Parameters, and what does the same here.
const BY_HAND: &str = "
sender_canonical_maps: only SRS rewrites addresses here; change targets in the forwards file
recipient_canonical_maps: only SRS rewrites addresses here; change targets in the forwards file
canonical_maps: only SRS rewrites addresses here; change targets in the forwards file
recipient_delimiter: `name+suffix` goes where `name` goes; the suffix is not carried over to the target
mynetworks: networks that may send to any address: `trusted` of [policy]
luser_relay: a catch-all: `@domain target`
smtpd_milters: a [[filter]] of kind `milter`, and `filter` of a [[profile]]
content_filter: a [[filter]]: rspamd, clamd or a milter
header_checks: a [[filter]]: rspamd, clamd or a milter
smtpd_sasl_auth_enable: a [[listener]] with `role = \"submission\"`, and [auth]
smtp_sasl_password_maps: `auth` of a [[delivery.route]]: a file with `name:password`
smtpd_tls_chain_files: [tls]: `certificate` and `key`
smtp_tls_policy_maps: `tls` of a [[delivery.route]], or `tls=` of a line
smtp_bind_address: `bind` of [delivery]
relay_recipient_maps: `answer=destination` on the domain's line asks the better MX
";

/// How restrictions begin, and what does the same here; others are so anyway.
const RESTRICTIONS: &str = "
reject_rbl: a [[dnsbl]], and `dnsbl` of a [[profile]]
reject_rhsbl: a [[dnsbl]], and `dnsbl` of a [[profile]]
reject_unverified_sender: `verify_sender = \"reject\"` of a [[profile]]
reject_unverified_recipient: `answer=destination` of a line
check_policy_service: `spf` and `dmarc` of a [[profile]], a [[limit]], or a [[filter]]
check_recipient_access: a line `address :reject: …`
check_sender_access: a [[list]], and `sender_block` or `sender_exempt` of a [[profile]]
check_: a [[list]], and `block` of [connect]
";
