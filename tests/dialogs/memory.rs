//! The relay of a dialog, in memory: a session, and the Visit of crate `relay` that answers it. No socket, no file.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use filter::{Definition, Filter};
use forwarder::{Forwarder, Table};
use policy::measures::Names;
use policy::{Name, Profiles};
use relay::counting::{Counting, Limits};
use relay::dnsbl::{Dnsbl, Dnsbls, Kind};
use relay::filters::{Defined, Filters, OnFailure};
use relay::inbound::Inbound;
use relay::lists::{List, Lists};
use relay::outbound::Outbound;
use relay::users::{Context, Users};
use relay::{Core, Routing};
use smtp::server::{Event, Session};
use smtp_in::{Client, Role, Service};
use spool::memory::MemorySpool;
use spool::{Clock, IdSource, Lifetime, Schedule};
use testkit::dialog::{Dialog, Feeding, Setup};
use toml::Value;

/// A relay with its spool.
pub(super) struct Relay {
    inbound: Arc<Inbound<MemorySpool>>,
    session: smtp::server::Settings,
}

impl Relay {
    /// A relay that is like this, and asks these filters.
    pub(super) fn new(setup: &Setup, filters: &str) -> Self {
        let mut session = smtp::server::Settings {
            tls_available: true,
            ..smtp::server::Settings::default()
        };
        let mut forwarder = forwarding();
        let mut relay = relay_settings();
        let lists: Lists = setup.lists.iter().map(list_of).collect();
        let filters: toml::Table = format!("all = {filters}").parse().unwrap();
        let filters = filters["all"].as_array().unwrap().iter();
        let filters: Filters = filters.map(filter_of).collect();
        let (mut dnsbls, mut profiles, mut limits) = (Dnsbls::new(), None, Limits::default());
        let (mut relay_domains, mut trusted) = (Vec::new(), Vec::<ipnet::IpNet>::new());
        for (key, value) in &setup.settings {
            let line: toml::Table = format!("value = {value}").parse().unwrap();
            let value = line["value"].clone();
            let number = || u64::try_from(value.as_integer().unwrap()).unwrap();
            let text = || value.as_str().unwrap();
            match key.as_str() {
                "hostname" => {
                    session.hostname = text().to_owned();
                    forwarder.hostname = text().parse().unwrap();
                }
                "limits.recipients" => session.recipients_max = usize::try_from(number()).unwrap(),
                "limit" => limits = value.as_array().unwrap().iter().map(limit_of).collect(),
                "limits.message_size" => session.size_max = number(),
                "forwards.postmaster" => forwarder.postmaster = Some(text().parse().unwrap()),
                "dnsbl" => dnsbls = value.as_array().unwrap().iter().map(dnsbl_of).collect(),
                "profile" => profiles = Some(value),
                "policy.relay_domains" => relay_domains = all(&value),
                "policy.trusted" => trusted = all(&value),
                key if key.starts_with("connect.") => {}
                "srs.accept_nonnull" => relay.accept_nonnull = value.as_bool().unwrap(),
                _ => panic!("`{key}` is not set in memory yet: see tests/dialogs/memory.rs"),
            }
        }
        let srs = srs::Srs::new(srs::Settings::new(["a secret that only the tests know"])).unwrap();
        let profiles = profiles_of(profiles.as_ref(), &lists, &dnsbls, &filters);
        let routing = Routing {
            forwarder: Forwarder::new(srs, forwarder).unwrap().into(),
            keys: Arc::default(),
            table: Table::parse_with("forwards", setup.forwards.as_str().into(), &|_, _| Ok(()))
                .unwrap()
                .into(),
            lookups: Arc::default(),
            relay_domains,
            trusted: trusted.into_iter().collect(),
            users: users_of(&setup.users, &profiles).into(),
            profiles,
            lists: lists.into(),
            dnsbls,
            limits,
            alerts: relay::outbound::Alerts::default(),
            connect: connect_of(&setup.settings),
            hides_users: true,
            filters: filters.into(),
            received_spf: false,
            pressure: true,
            bounce_to: relay::BounceTo::Unproved,
            tiers: Default::default(),
        };
        let resolver = dns::Backend::Fixed(records(&setup.dns));
        Self {
            inbound: inbound(&core(routing), &relay, resolver),
            session,
        }
    }

    /// Holds a dialog with it.
    pub(super) async fn run(&self, dialog: &Dialog, feeding: Feeding) -> Result<(), String> {
        let role = match dialog.setup().users.is_empty() {
            true => Role::Mx,
            false => Role::Submission,
        };
        let mut client = Client {
            id: 1,
            peer: "127.0.0.1:4000".parse().unwrap(),
            local: "127.0.0.1:25".parse().unwrap(),
            proxy: None,
            role,
            talked_early: false,
            hello: None,
            tls: None,
            user: None,
        };
        let mut visit = self.inbound.visit();
        let answer = async |session: &mut Session, event| {
            if event == Event::Connect && role == Role::Submission {
                session.allow_auth();
            }
            smtp_in::answer(session, &mut client, &mut visit, event).await;
        };
        dialog
            .run_in_memory(feeding, self.session.clone(), answer)
            .await
    }
}

fn inbound(
    core: &Core<MemorySpool>,
    settings: &relay::Settings,
    resolver: dns::Backend,
) -> Arc<Inbound<MemorySpool>> {
    let outbound = Arc::new(Outbound::new(core, settings, resolver.clone()));
    Arc::new(Inbound::new(core, settings, resolver, outbound))
}

fn forwarding() -> forwarder::Settings {
    forwarder::Settings {
        hostname: "mx.fwd.test".parse().unwrap(),
        srs_domain: "fwd.test".parse().unwrap(),
        postmaster: None,
        received_max: 50,
        more_srs_domains: Vec::new(),
        return_paths: forwarder::ReturnPaths::default(),
    }
}

fn relay_settings() -> relay::Settings {
    relay::Settings {
        accept_nonnull: false,
        bounces_per_day: 100,
        schedule: Schedule::default(),
        postmaster: "postmaster@mx.fwd.test".parse().unwrap(),
        bounce_octets_max: 1000,
        answering: relay::outbound::Answering::default(),
        delivery: delivery::Settings::new("mx.fwd.test".parse().unwrap()),
        dovecot: None,
        reporter: relay::outbound::TlsReporter {
            from: "postmaster@mx.fwd.test".parse().unwrap(),
            contact: "postmaster@mx.fwd.test".to_owned(),
            sends: true,
        },
        callouts: delivery::CalloutSettings::default(),
    }
}

fn users_of(lines: &str, profiles: &Profiles) -> Users {
    let context = Context {
        profiles,
        measures: Arc::default(),
        asks_dovecot: false,
    };
    Users::parse("users", lines.as_bytes(), &context).unwrap()
}

fn core(routing: Routing) -> Core<MemorySpool> {
    Core {
        spool: Arc::new(MemorySpool::new(Clock::real(), Lifetime::default())),
        routing: Arc::new(ArcSwap::from_pointee(routing)),
        ids: Arc::new(IdSource::new()),
        clock: Clock::real(),
        journal: journal::Journal::default(),
        counting: Arc::new(Counting::new(counters::Freezes::in_memory(), None)),
        store: Arc::default(),
        sts: Arc::default(),
        tls_reports: Arc::default(),
        history: history::Desk::default(),
    }
}

/// A line for each: `NAME TYPE DATA`.
fn records(lines: &str) -> dns::Fixed {
    lines.lines().fold(dns::Fixed::new(), |table, line| {
        let (name, rest) = line.split_once(' ').unwrap();
        let (kind, data) = rest.split_once(' ').unwrap_or((rest, ""));
        let domain = || name.parse().unwrap();
        match kind {
            "TXT" => table.with_txt(name, data),
            "A" | "AAAA" => table.with_address(domain(), data.parse().unwrap()),
            "MX" => {
                let (preference, exchange) = data.split_once(' ').unwrap();
                let preference = preference.parse().unwrap();
                table.with_mx(domain(), preference, exchange.parse().unwrap())
            }
            "SERVFAIL" => table.with_trouble(domain(), "SERVFAIL"),
            _ => panic!("`{line}`: no such record in memory, see tests/dialogs/memory.rs"),
        }
    })
}

/// `[{ name = "default", spf = "reject" }]`.
fn profiles_of(
    typed: Option<&Value>,
    lists: &Lists,
    dnsbls: &Dnsbls,
    filters: &Filters,
) -> Profiles {
    let names = Names {
        lists: lists.keys().cloned().collect(),
        dnsbls: dnsbls.keys().cloned().collect(),
        filters: filters.keys().cloned().collect(),
        ..Names::default()
    };
    let mut profiles = Profiles::new(names);
    for profile in typed.map_or(&[][..], |typed| typed.as_array().unwrap()) {
        let measures = profile.as_table().unwrap().iter();
        let measures = measures.filter(|(key, _)| *key != "name");
        let measures = measures.map(|(key, value)| match value.as_array() {
            Some(_) => (&**key, all::<String>(value).join(",")),
            None => (&**key, value.as_str().unwrap().to_owned()),
        });
        profiles.add(text(profile, "name"), measures).unwrap();
    }
    profiles
}

fn list_of((name, content): (&String, &String)) -> (Name, List) {
    let list = List::parse(name, content.clone().into()).unwrap();
    (name.as_str().into(), list)
}

/// `{ name = "bl", zone = "bl.test", kind = "domain", answers = ["127.0.0.2"], reply = "554 no", first_reply = "" }`.
fn dnsbl_of(typed: &Value) -> (Name, Dnsbl) {
    let text = |key| text(typed, key);
    let kind = match text("kind") {
        "address" => Kind::Address,
        _ => Kind::Domain,
    };
    let answers = all::<String>(&typed["answers"]);
    let (reply, first) = (text("reply"), text("first_reply"));
    let dnsbl = Dnsbl::new(text("zone"), kind, &answers, reply, first);
    (text("name").into(), dnsbl.unwrap())
}

/// As `testkit::filter` writes it.
fn filter_of(typed: &Value) -> (Name, Defined) {
    let definition = Definition {
        name: text(typed, "name").into(),
        kind: match text(typed, "kind") {
            "clamd" => filter::Kind::Clamd,
            "milter" => filter::Kind::Milter,
            _ => filter::Kind::Rspamd,
        },
        address: text(typed, "address").parse().unwrap(),
        password: String::new(),
        timeout: testkit::PATIENCE,
        size_max: 1 << 20,
    };
    let on_failure = match typed.get("on_failure") {
        Some(_) => OnFailure::Defer,
        None => OnFailure::Accept,
    };
    let filter = Filter::new(definition).unwrap();
    (text(typed, "name").into(), Defined { filter, on_failure })
}

/// `{ name = "x", key = "client", of = "messages", max = 1, per = "1h", then = "defer" }`; all of them are of an hour.
fn limit_of(typed: &Value) -> counters::Limit {
    let text = |key| text(typed, key);
    counters::Limit {
        name: text("name").into(),
        key: text("key").parse().unwrap(),
        of: text("of").parse().unwrap(),
        max: typed["max"].as_integer().unwrap().try_into().unwrap(),
        per: std::time::Duration::from_hours(1),
        then: text("then").parse().unwrap(),
        usual: 0,
        passes_known: false,
    }
}

fn text<'a>(table: &'a Value, key: &str) -> &'a str {
    table[key].as_str().unwrap()
}

/// A session in memory has nobody who waits, so how long does not matter.
fn connect_of(settings: &BTreeMap<String, String>) -> relay::Connect {
    let lists = |key: &str| {
        let typed = settings.get(key);
        let names = typed.map(|value| names(&format!("value = {value}").parse().unwrap()));
        names.unwrap_or_default()
    };
    relay::Connect {
        block: lists("connect.block").into(),
        tarpit: lists("connect.tarpit"),
        ..relay::Connect::default()
    }
}

/// `value = ["a", "b"]`.
fn names(line: &toml::Table) -> Vec<Name> {
    let names = all::<String>(&line["value"]).into_iter();
    names.map(Name::from).collect()
}

fn all<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> Vec<T> {
    let values = value.as_array().unwrap().iter();
    values
        .map(|value| value.as_str().unwrap().parse().unwrap())
        .collect()
}
