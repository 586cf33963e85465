//! What tests of this crate begin with.

mod days;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use envelope::{Envelope, ForwardPath, Recipient, ReversePath, Timestamp, Verdict};
use forwarder::{Forwarder, Table};
use journal::{Format, Journal, Reader};
use smtp_in::{Client, Role, Service, Visit as _};
use spool::{Clock, IdSource, Schedule, Spool};

use crate::counting::{Counting, Limits};
use crate::inbound::{Inbound, Visit};
use crate::outbound::TlsReporter;
use crate::{BounceTo, Core, Routing, Settings};

/// This moment.
pub(crate) fn now() -> Timestamp {
    Clock::real().now()
}

/// The routing of a relay with this forwards file.
pub(crate) fn routing(forwards: &str) -> Routing {
    let settings = forwarder::Settings {
        hostname: "mx.fwd.test".parse().unwrap(),
        srs_domain: "fwd.test".parse().unwrap(),
        postmaster: None,
        received_max: 50,
        more_srs_domains: Vec::new(),
        return_paths: forwarder::ReturnPaths::default(),
    };
    let srs = srs::Srs::new(srs::Settings::new(["tops3cr3t"])).unwrap();
    Routing {
        forwarder: Forwarder::new(srs, settings).unwrap().into(),
        keys: Arc::default(),
        table: Table::parse("forwards", forwards.into()).unwrap().into(),
        lookups: Arc::default(),
        relay_domains: Vec::new(),
        trusted: policy::Networks::default(),
        profiles: policy::Profiles::default(),
        limits: Limits::default(),
        connect: crate::Connect::default(),
        hides_users: true,
        alerts: crate::outbound::Alerts::default(),
        users: Arc::default(),
        received_spf: false,
        pressure: true,
        bounce_to: BounceTo::Unproved,
        tiers: Default::default(),
        lists: Arc::default(),
        dnsbls: crate::dnsbl::Dnsbls::default(),
        filters: Arc::default(),
    }
}

/// Asks the service for what the forwards do not have.
pub(crate) fn routing_by(service: &testkit::lookup::Lookup, forwards: &str) -> Routing {
    let settings = directory::Settings {
        name: "service".to_owned(),
        url: service.url(),
        questions: directory::Questions::Lookup {
            address: String::new(),
            domain: String::new(),
            cache: Duration::ZERO,
        },
        timeout: Duration::from_secs(5),
        connections: 4,
    };
    let mut lookups = directory::Lookups::default();
    lookups.add(settings).unwrap();
    Routing {
        lookups: Arc::new(lookups),
        ..routing(forwards)
    }
}

/// What all parts of a relay share.
pub(crate) fn core<S>(spool: S, routing: Routing, journal: Journal) -> Core<S> {
    Core {
        spool: Arc::new(spool),
        routing: Arc::new(ArcSwap::from_pointee(routing)),
        store: Arc::default(),
        ids: Arc::new(IdSource::new()),
        clock: Clock::real(),
        journal,
        counting: Arc::new(Counting::new(counters::Freezes::in_memory(), None)),
        sts: Arc::default(),
        tls_reports: Arc::default(),
        history: history::Desk::default(),
    }
}

/// With small limits.
pub(crate) fn settings() -> Settings {
    Settings {
        accept_nonnull: false,
        bounces_per_day: 2,
        schedule: Schedule::default(),
        postmaster: "postmaster@mx.fwd.test".parse().unwrap(),
        bounce_octets_max: 1000,
        answering: crate::outbound::Answering::default(),
        delivery: delivery::Settings::new("mx.fwd.test".parse().unwrap()),
        dovecot: None,
        reporter: TlsReporter {
            from: "postmaster@mx.fwd.test".parse().unwrap(),
            contact: "postmaster@mx.fwd.test".to_owned(),
            sends: true,
        },
        callouts: delivery::CalloutSettings::default(),
    }
}

/// What was recorded so far, as lines without time and id.
pub(crate) fn lines(events: &mut Reader) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(Ok(entry)) = events.try_next() {
        let line = entry.line(Format::Text);
        lines.extend(line.trim_end().splitn(3, ' ').nth(2).map(str::to_owned));
    }
    lines
}

fn client() -> Client {
    Client {
        id: 1,
        peer: "192.0.2.7:4000".parse().unwrap(),
        local: "192.0.2.1:25".parse().unwrap(),
        proxy: None,
        role: Role::Mx,
        talked_early: false,
        hello: None,
        tls: None,
        user: None,
    }
}

// A driver of a visit, which adds recipients as a session does.
pub(crate) struct Talk<S: Spool> {
    pub(crate) visit: Visit<S>,
    pub(crate) client: Client,
    pub(crate) envelope: Envelope,
}

impl<S: Spool> Talk<S> {
    /// Nothing is said yet.
    pub(crate) fn new(inbound: &Arc<Inbound<S>>, from: &str) -> Self {
        let reverse_path = match from {
            "" => ReversePath::Null,
            from => ReversePath::Mailbox(from.parse().unwrap()),
        };
        Self {
            visit: inbound.visit(),
            client: client(),
            envelope: Envelope::new(reverse_path),
        }
    }

    pub(crate) async fn mail(&mut self) -> String {
        let verdict = self.visit.mail(&self.client, &self.envelope).await;
        said(verdict)
    }

    pub(crate) async fn rcpt(&mut self, to: &str) -> String {
        let recipient = Recipient::new(ForwardPath::Mailbox(to.parse().unwrap()));
        let visit = &mut self.visit;
        let verdict = visit.rcpt(&self.client, &self.envelope, &recipient).await;
        if verdict == Verdict::Accept {
            self.envelope.recipients.push(recipient);
        }
        said(verdict)
    }

    pub(crate) async fn data(&mut self) -> String {
        said(self.visit.data(&self.client, &self.envelope).await)
    }

    pub(crate) async fn body(&mut self, body: &str) -> String {
        self.visit.write(&self.client, body.into()).await.unwrap();
        let reply = self.visit.commit(&self.client, &self.envelope).await;
        reply.to_string()
    }
}

fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Accept => "ok".to_owned(),
        Verdict::Refuse(reply) => reply.to_string(),
        Verdict::Close(reply) => format!("{reply}, and close"),
    }
}
