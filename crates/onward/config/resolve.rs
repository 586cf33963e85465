//! The file as meant: what was typed becomes the settings of every stage.
//!
//! This is done once and here. `serve` starts with the result; `check` does the same and starts nothing; a reload takes the
//! parts that may change while the relay runs. What a key means when it is left out, the stage's own defaults say (`schema`
//! takes them from there).

use std::path::PathBuf;
use std::sync::Arc;

use envelope::Domain;
use http_door::Tokens;
use relay::Routing;
use relay::outbound::{Answering, TlsReporter};
use smtp_in::tls::Holder;
use spool::Lifetime;

use super::operators::Http;
use super::schema::{BareNewline, Config, Doctor, Listener, Log, Role, TlsMode};
use super::senders::Egress;
use crate::descriptors;
use crate::files::FileError;
use crate::forwards;
use crate::logins;
use crate::reload::{load_roots, load_tls};
use crate::routing;
use crate::tokens;

/// What a configuration means.
pub(crate) struct Resolved {
    pub(crate) settings: Settings,
    pub(crate) routing: Routing,
    /// Why the last good forwards are used, and not the file.
    pub(crate) instead: Option<forwards::Error>,
    pub(crate) tls: Option<Holder>,
    /// Who may ask over HTTP.
    pub(crate) tokens: Option<Tokens>,
}

/// What holds until the process ends. Everything else a reload can change.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) listeners: Vec<smtp_in::Settings>,
    pub(crate) limits: smtp_in::Limits,
    pub(crate) relay: relay::Settings,
    pub(crate) spool: queue::Settings,
    pub(crate) history: history::Settings,
    pub(crate) resolver: dns::Settings,
    pub(crate) socket: PathBuf,
    pub(crate) log: Log,
    pub(crate) doctor: Doctor,
    pub(crate) http: Http,
    pub(crate) acme: Option<acme::Settings>,
}

/// Why a configuration cannot be used. Each text says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("`hostname`: {0}")]
    Hostname(#[from] envelope::AddressError),
    #[error("`delivery.route`: {0}")]
    Route(#[from] delivery::RouteError),
    #[error(transparent)]
    Routing(#[from] routing::Error),
    /// And what it is about.
    #[error("{1}")]
    File(&'static str, FileError),
}

/// All that stands in the way.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\nerror: "))]
pub(crate) struct Errors(pub(crate) Vec<Error>);

impl Error {
    /// What `check` files it under.
    pub(crate) fn about(&self) -> &'static str {
        match self {
            Self::Hostname(_) => "config",
            Self::Route(_) => "delivery",
            Self::Routing(error) => error.about(),
            Self::File(about, _) => about,
        }
    }
}

impl Resolved {
    /// Reads the files that the configuration names.
    pub(crate) fn of(config: &Config) -> Result<Self, Errors> {
        let routing = routing::load_at_start(config).map_err(Error::from);
        let tls = load_tls(config).map_err(|error| Error::File("certificate", error));
        let tls = tls.map(|all| config.has_tls().then(|| Holder::new(all)));
        let holder = tls.as_ref().ok().and_then(Option::as_ref);
        let shaping = config.shaping.load();
        let shaping = shaping.map_err(|error| Error::File("shaping", error));
        let tokens = tokens::load(config).map_err(|error| Error::File("http", error));
        match (config.settings(holder), shaping, routing, tls, tokens) {
            (Ok(settings), Ok(layers), Ok((routing, instead)), Ok(tls), Ok(tokens)) => {
                settings.relay.delivery.shaping.replace(layers);
                Ok(Self {
                    settings,
                    routing,
                    instead,
                    tls,
                    tokens,
                })
            }
            (settings, shaping, routing, tls, tokens) => {
                let errors = [settings.err(), shaping.err(), routing.err(), tls.err()];
                let errors = errors.into_iter().chain([tokens.err()]);
                Err(Errors(errors.flatten().collect()))
            }
        }
    }
}

impl Config {
    /// The settings; `tls` has the certificates.
    fn settings(&self, tls: Option<&Holder>) -> Result<Settings, Error> {
        Ok(Settings {
            listeners: self.listeners(tls),
            limits: smtp_in::Limits {
                connections_max: descriptors::shares(self).incoming,
                connections_per_address_max: self.limits.connections_per_address,
                drain: self.limits.drain.0,
                ..smtp_in::Limits::default()
            },
            relay: self.relay()?,
            spool: self.spool(),
            history: self.history(),
            resolver: dns::Settings {
                servers: self.resolver.servers.clone(),
                dnssec: self.resolver.dnssec,
                trust_anchor: Some(&self.resolver.trust_anchor)
                    .filter(|path| !path.as_os_str().is_empty())
                    .cloned(),
                ..dns::Settings::default()
            },
            socket: self.control.socket.clone(),
            log: self.log.clone(),
            doctor: self.doctor.clone(),
            http: self.http.clone(),
            acme: self
                .issuing()
                .map_err(|error| Error::File("certificate", error))?,
        })
    }

    fn listeners(&self, tls: Option<&Holder>) -> Vec<smtp_in::Settings> {
        let session = smtp::server::Settings {
            hostname: self.hostname.clone(),
            size_max: self.limits.message_size.0,
            recipients_max: self.limits.recipients,
            normalize_newlines: self.limits.bare_newline == BareNewline::Normalize,
            timeouts: smtp::server::Timeouts {
                command: self.limits.command_timeout.0,
                session: self.limits.session_timeout.0,
                ..smtp::server::Timeouts::default()
            },
            ..smtp::server::Settings::default()
        };
        let listener = |listener: &Listener| smtp_in::Settings {
            bind: listener.bind,
            role: match listener.role {
                Role::Mx => smtp_in::Role::Mx,
                Role::Submission => smtp_in::Role::Submission,
            },
            tls: match (listener.tls, tls) {
                (TlsMode::StartTls, Some(holder)) => smtp_in::TlsMode::StartTls(holder.clone()),
                (TlsMode::Implicit, Some(holder)) => smtp_in::TlsMode::Implicit(holder.clone()),
                _ => smtp_in::TlsMode::Off,
            },
            proxy_from: networks(&listener.proxy_protocol_from),
            xclient_from: networks(&listener.xclient_from),
            session: session.clone(),
        };
        self.listeners.iter().map(listener).collect()
    }

    fn relay(&self) -> Result<relay::Settings, Error> {
        Ok(relay::Settings {
            accept_nonnull: self.srs.accept_nonnull,
            bounces_per_day: self.srs.bounces_per_day,
            schedule: spool::Schedule {
                retry: self.queue.retry.iter().map(|span| span.0).collect(),
                ..spool::Schedule::default()
            },
            postmaster: self.postmaster()?,
            answering: Answering {
                within: self.delivery.answer_within.0,
                octets_max: self.delivery.answer_memory.0,
                folder: Some(self.spool.clone()),
            },
            bounce_octets_max: usize::try_from(self.limits.bounce_size.0).unwrap_or(usize::MAX),
            delivery: self.delivery()?,
            reporter: self.reporter()?,
            dovecot: self.auth.socket().cloned(),
            callouts: self.callouts(),
        })
    }

    fn reporter(&self) -> Result<TlsReporter, Error> {
        let typed = &self.tls_report;
        let from = match typed.from.as_str() {
            "" => self.postmaster()?,
            from => from.parse()?,
        };
        let contact = match typed.contact.as_str() {
            "" => from.to_string(),
            contact => contact.to_owned(),
        };
        Ok(TlsReporter {
            from,
            contact,
            sends: typed.send,
        })
    }

    fn callouts(&self) -> delivery::CalloutSettings {
        let typed = &self.verify;
        delivery::CalloutSettings {
            egress: named(&typed.egress),
            timeout: typed.timeout.0,
            kept: typed.kept.0,
            exempt_mx: typed.exempt_mx.clone(),
        }
    }

    fn delivery(&self) -> Result<delivery::Settings, Error> {
        let typed = &self.delivery;
        let hostname: Domain = self
            .hostname
            .parse()
            .map_err(envelope::AddressError::from)?;
        Ok(delivery::Settings {
            port: typed.port,
            bind: typed.bind.clone(),
            egresses: self.egresses.iter().map(Egress::meant).collect(),
            egress: named(&typed.egress),
            allow_loopback: typed.allow_loopback,
            allow_private: typed.allow_private,
            routes: self.routes()?,
            concurrency: typed.concurrency,
            connections_per_address: typed.connections_per_address,
            connections: descriptors::shares(self).outgoing,
            connect_timeout: typed.connect_timeout.0,
            probe_first: typed.probe_first.0,
            probe_longest: typed.probe_longest.0,
            tls: typed.tls,
            mta_sts: typed.mta_sts,
            mta_sts_port: typed.mta_sts_port,
            dane: typed.dane.unwrap_or(true),
            roots: load_roots(&typed.ca).map_err(|error| Error::File("certificate", error))?,
            drain: self.limits.drain.0,
            ..delivery::Settings::new(hostname)
        })
    }

    fn routes(&self) -> Result<delivery::Routes, Error> {
        let mut routes = Vec::new();
        for typed in &self.delivery.routes {
            let login = typed.auth.as_deref().map(logins::read).transpose();
            let login = login.map_err(|error| Error::File("delivery", error))?;
            let route = delivery::Route::parse(&typed.domain, &typed.host, typed.tls, login)?;
            let egress = named(&typed.egress);
            routes.push(delivery::Route { egress, ..route });
        }
        Ok(delivery::Routes::new(routes))
    }

    /// Where the history is; the spool still has room when there is none for it.
    pub(crate) fn history(&self) -> history::Settings {
        history::Settings {
            path: history::file_in(&self.spool),
            keep: self.history.keep.0,
            octets_max: self.history.max_size.0,
            octets_free: self.queue.min_free.0.saturating_mul(2),
        }
    }

    /// Where and how mail is stored; also for `onward spool`.
    pub(crate) fn spool(&self) -> queue::Settings {
        queue::Settings {
            lifetime: Lifetime {
                warn_after: self.queue.warn_after.0,
                expire: self.queue.expire.0,
            },
            min_free_bytes: self.queue.min_free.0,
            ..queue::Settings::new(&self.spool)
        }
    }
}

/// Nothing where the name is empty.
fn named(name: &str) -> Option<Arc<str>> {
    (!name.is_empty()).then(|| name.into())
}

fn networks(typed: &[super::Network]) -> Vec<ipnet::IpNet> {
    typed.iter().map(|network| network.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::is_reloadable;

    fn settings(text: &str) -> Settings {
        let config = Config::parse(&format!("hostname = 'mx.example.net'\n{text}")).unwrap();
        config.settings(None).unwrap()
    }

    #[track_caller]
    fn same<T: std::fmt::Debug>(one: &T, other: &T) {
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
    }

    #[test]
    fn what_is_left_out_is_as_the_stages_have_it() {
        let (meant, shares) = (settings(""), descriptors::shares(&Config::default()));
        let session = smtp::server::Settings {
            hostname: "mx.example.net".into(),
            ..smtp::server::Settings::default()
        };
        same(&meant.listeners[0].session, &session);
        let limits = smtp_in::Limits {
            connections_max: shares.incoming,
            ..smtp_in::Limits::default()
        };
        same(&meant.limits, &limits);
        let delivery = delivery::Settings {
            connections: shares.outgoing,
            ..delivery::Settings::new("mx.example.net".parse().unwrap())
        };
        same(&meant.relay.delivery, &delivery);
        same(&meant.relay.schedule, &spool::Schedule::default());
        same(&meant.spool, &queue::Settings::new("/var/spool/onward"));
        same(&meant.resolver, &dns::Settings::default());
    }

    #[test]
    fn what_a_source_does_not_say_is_as_its_egress() {
        let text = "
            delivery.egress = 'a'
            [[egress]]
            name = 'a'
            addresses = ['192.0.2.1']
            hello = 'a.example'
            connections = 5
            [[egress.source]]
            address = '192.0.2.2'
            hello = 'b.example'
            weight = 3
            [[egress.source]]
            address = '::1'
            connections = 7";
        let delivery = settings(text).relay.delivery;
        assert_eq!(delivery.egress.as_deref(), Some("a"));
        let sources = delivery.egresses[0].sources.iter().map(|source| {
            let delivery::Source {
                address,
                hello,
                weight,
                connections,
            } = source;
            format!("{address} {hello} {weight} {connections}")
        });
        let expected = [
            "192.0.2.1 a.example 1 5",
            "192.0.2.2 b.example 3 5",
            "::1 a.example 1 7",
        ];
        assert_eq!(sources.collect::<Vec<_>>(), expected);
    }

    /// Every key, with another value: it is in these settings, or a reload takes it over.
    #[test]
    fn a_key_holds_from_the_start_or_from_a_reload() {
        let start = format!("{:?}", settings(""));
        for (key, value) in OTHER_VALUES {
            let text = match key.strip_prefix("listener.") {
                Some(name) => format!("[[listener]]\nbind = '[::]:2'\n{name} = {value}"),
                None => format!("{key} = {value}"),
            };
            let config: Result<Config, _> = Config::parse(&text);
            let mut config = config.unwrap_or_else(|error| panic!("{key}: {error}"));
            if *key != "hostname" {
                config.hostname = "mx.example.net".into();
            }
            let differs = format!("{:?}", config.settings(None).unwrap()) != start;
            assert_eq!(differs, !is_reloadable(key), "{key}");
        }
    }

    #[test]
    fn every_key_has_another_value_here() {
        let mut table = String::new();
        for line in include_str!("../../../etc/onward.toml").lines() {
            let line = line.trim_start_matches(['#', ' ']);
            if let Some(name) = line.strip_prefix('[') {
                table = format!("{}.", name.trim_matches(['[', ']']));
            }
            let Some((key, _)) = line.split_once(" = ") else {
                continue;
            };
            let key = format!("{table}{key}");
            let apart = [
                "listener.bind",
                "srs.domain",
                "delivery.egress",
                "verify.egress",
                "delivery.ca",
                // Of the shared spool: `shared.rs`.
                "queue.store",
                "queue.node",
                "queue.store_check",
            ];
            let is_row = OTHER_VALUES.iter().any(|(row, _)| *row == key);
            let tables = [
                "tls.",
                "delivery.route.",
                "egress.",
                "tier.",
                "profile.",
                "limit.",
                "list.",
                "dnsbl.",
                "filter.",
                "dkim.",
                "forwards.source.",
            ];
            let is_table = tables.iter().any(|table| key.starts_with(table));
            assert!(is_row || is_table || apart.contains(&&*key), "{key}");
        }
    }

    const OTHER_VALUES: &[(&str, &str)] = &[
        ("hostname", "'mx2.example.net'"),
        ("spool", "'/tmp/spool'"),
        ("listener.role", "'submission'"),
        ("listener.tls", "'off'"),
        ("listener.proxy_protocol_from", "['192.0.2.1']"),
        ("listener.xclient_from", "['192.0.2.1']"),
        ("resolver.servers", "['192.0.2.1:53']"),
        ("resolver.dnssec", "true"),
        ("resolver.trust_anchor", "'root.key'"),
        ("srs.secrets", "'other'"),
        ("srs.max_age", "'20d'"),
        ("srs.clock_skew", "'2d'"),
        ("srs.separator", "'+'"),
        ("srs.tag_alphabet", "'base64'"),
        ("srs.return_paths", "['a+{original}@b.example']"),
        ("srs.accept_nonnull", "true"),
        ("srs.bounces_per_day", "7"),
        ("forwards.file", "'other'"),
        (
            "forwards.source",
            "[{ kind = 'file', path = 'more-forwards' }]",
        ),
        ("forwards.store", "'api'"),
        ("forwards.max_shrink", "'1%'"),
        ("forwards.postmaster", "'you@example.com'"),
        ("auth.users", "'other'"),
        ("auth.dovecot", "'/tmp/auth'"),
        ("auth.profile", "'other'"),
        ("auth.hide_client", "false"),
        ("policy.trusted", "['192.0.2.1']"),
        ("policy.relay_domains", "['example.com']"),
        ("policy.received_spf", "true"),
        ("policy.pressure", "false"),
        ("connect.block", "['list']"),
        ("connect.greet_wait", "'7s'"),
        ("connect.tarpit", "['list']"),
        ("connect.tarpit_delay", "'7s'"),
        ("profile", "[{ name = 'default' }]"),
        ("alerts.mail", "'ops@example.com'"),
        ("alerts.webhook", "'https://example.com/'"),
        ("alerts.webhook_secret", "'webhook.secret'"),
        ("alerts.queue", "7"),
        (
            "limit",
            "[{ name = 'x', key = 'user', of = 'messages', max = 1, per = '1s', then = 'defer' }]",
        ),
        ("queue.retry", "['7s']"),
        ("queue.warn_after", "'7s'"),
        ("queue.expire", "'7s'"),
        ("queue.min_free", "7"),
        ("history.keep", "'7s'"),
        ("history.max_size", "7"),
        ("delivery.port", "7"),
        ("delivery.bind", "['127.0.0.1']"),
        ("delivery.allow_loopback", "true"),
        ("delivery.allow_private", "true"),
        ("delivery.concurrency", "7"),
        ("delivery.connections_per_address", "7"),
        ("delivery.connections", "7"),
        ("delivery.connect_timeout", "'7s'"),
        ("delivery.probe_first", "'7s'"),
        ("delivery.probe_longest", "'7s'"),
        ("delivery.tls", "'required'"),
        ("delivery.mta_sts", "false"),
        ("delivery.mta_sts_port", "7"),
        ("shaping.file", "'other'"),
        ("delivery.answer_within", "'7s'"),
        ("delivery.answer_memory", "7"),
        ("delivery.dane", "false"),
        ("bounce.to", "'unproved'"),
        ("bounce.sign", "'main'"),
        ("limits.message_size", "7"),
        ("limits.recipients", "7"),
        ("limits.bare_newline", "'normalize'"),
        ("limits.connections", "7"),
        ("limits.connections_per_address", "7"),
        ("limits.received_headers", "7"),
        ("limits.command_timeout", "'7s'"),
        ("limits.session_timeout", "'7s'"),
        ("limits.drain", "'7s'"),
        ("limits.bounce_size", "7"),
        ("verify.timeout", "'7s'"),
        ("verify.kept", "'7s'"),
        ("verify.exempt_mx", "['*.mx.example']"),
        ("log.format", "'json'"),
        ("log.file", "'other'"),
        ("tls_report.send", "false"),
        ("tls_report.from", "'tls@example.com'"),
        ("tls_report.contact", "'https://example.com/'"),
        ("doctor.every", "'7s'"),
        ("doctor.addresses", "['192.0.2.1']"),
        ("doctor.connect", "'example.com'"),
        ("control.socket", "'/tmp/socket'"),
        ("http.bind", "'127.0.0.1:8025'"),
        ("http.token", "'other'"),
        ("http.connections", "7"),
    ];
}
