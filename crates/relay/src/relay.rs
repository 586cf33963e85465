//! The stages joined, in the order in which a message goes through them:
//!
//! ```text
//! client ─► smtp-in ─► Visit ─► policy           may this happen?          inbound.rs
//!                        │ ─► forwarder          targets, SRS, loops       routing.rs
//!              ┌─────────┘
//!              ▼
//!            spool ── durable ──► 250
//!              │  ▲
//!        claim ▼  │ a notice, from a null sender
//!            Outbound ◄───── bounce              outcomes, deadlines       outbound.rs
//!              │  ▲
//!              ▼  │ settle
//!           delivery ─► next hop
//!
//! operator ─► control socket ─► spool, delivery  operator.rs
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use control::Socket;
use delivery::Dispatcher;
use envelope::Mailbox;
use history::Desk;
use journal::{Counters, Journal};
use spool::{Clock, IdSource, Schedule, Spool};
use tokio_util::sync::CancellationToken;

use crate::counting::Counting;
use crate::doctor::Doctor;
use crate::inbound::Inbound;
use crate::operator::{Operator, OrdersFile, ReadAgain};
use crate::outbound::{Answering, Outbound, TlsReporter};
use crate::routing;
use crate::store::Store;
use crate::sts::Sts;
use crate::tls_reports::TlsReports;
use crate::together::Together;

/// What all parts of a relay share.
pub struct Core<S> {
    /// What is queued.
    pub spool: Arc<S>,
    /// The routing of now.
    pub routing: routing::Shared,
    /// The forwards that operators change.
    pub store: Arc<Store>,
    /// Ids of messages.
    pub ids: Arc<IdSource>,
    /// Tells the time.
    pub clock: Clock,
    /// Records what happens.
    pub journal: Journal,
    /// Counts, and knows who is frozen.
    pub counting: Arc<Counting>,
    /// What domains want of who sends to them.
    pub sts: Arc<Sts>,
    /// Counts what is found of TLS.
    pub tls_reports: Arc<TlsReports>,
    /// Knows what happened.
    pub history: Desk,
}

/// How a relay behaves, as far as its routing does not say it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether mail to our SRS addresses may have a sender.
    pub accept_nonnull: bool,
    /// Messages a day to one sender through our SRS addresses.
    pub bounces_per_day: u32,
    /// When a leg is tried again.
    pub schedule: Schedule,
    /// Who signs notices.
    pub postmaster: Mailbox,
    /// Notices about a message carry it whole up to this many octets in all.
    pub bounce_octets_max: usize,
    /// How answers wait for destinations.
    pub answering: Answering,
    /// How mail is delivered.
    pub delivery: delivery::Settings,
    /// The socket of the Dovecot that knows passwords.
    pub dovecot: Option<PathBuf>,
    /// Who reports on TLS.
    pub reporter: TlsReporter,
    /// How senders are verified.
    pub callouts: delivery::CalloutSettings,
}

/// A relay that is ready to run.
pub struct Relay<S: Spool> {
    core: Core<S>,
    inbound: Arc<Inbound<S>>,
    outbound: Arc<Outbound<S>>,
    dispatcher: Arc<Dispatcher<Outbound<S>, dns::Backend>>,
}

impl<S: Spool> Relay<S> {
    /// Joins the stages.
    pub fn new(core: Core<S>, settings: Settings, resolver: dns::Backend) -> Self {
        let outbound = Arc::new(Outbound::new(&core, &settings, resolver.clone()));
        let inbound = Inbound::new(&core, &settings, resolver.clone(), Arc::clone(&outbound));
        let inbound = Arc::new(inbound);
        let dispatcher = Dispatcher::new(
            settings.delivery,
            Arc::clone(&outbound),
            resolver,
            core.sts.policies(),
        );
        outbound.deliver_by(&dispatcher);
        let knows = Arc::downgrade(&dispatcher);
        outbound.ask_for_trouble(move |to| knows.upgrade()?.trouble(to));
        let knows = Arc::downgrade(&dispatcher);
        inbound.ask_for_pressure(dispatcher.pressed(), move |target, to, messages| {
            let dispatcher = knows.upgrade();
            dispatcher.map_or(0, |dispatcher| dispatcher.pressure(target, to, messages))
        });
        Self {
            core,
            inbound,
            outbound,
            dispatcher,
        }
    }

    /// What operators of it can do.
    pub fn operator(
        &self,
        reload: ReadAgain,
        doctor: Doctor,
        version: &'static str,
        listeners: Vec<String>,
        connections_max: (usize, usize),
        orders: OrdersFile,
    ) -> Operator<S> {
        orders.restore(&self.dispatcher, self.core.clock.now());
        let (core, probes) = (self.core.clone(), Arc::clone(&self.dispatcher));
        Operator {
            spool: core.spool,
            inbound: Arc::clone(&self.inbound),
            outbound: Arc::clone(&self.outbound),
            routing: core.routing,
            store: core.store,
            reload,
            doctor: Arc::new(doctor),
            started: core.clock.now(),
            clock: core.clock,
            counters: Counters::start(&core.journal),
            counting: core.counting,
            history: core.history,
            journal: core.journal,
            version,
            listeners,
            connections_max,
            probe_now: Box::new(move |hosts| probes.probe_now(hosts)),
            delivery: Arc::clone(&self.dispatcher),
            orders: Arc::new(orders),
        }
    }

    /// Runs until `shutdown`, and sees running transactions out.
    pub async fn run(
        self,
        listeners: Vec<smtp_in::Listener>,
        limits: smtp_in::Limits,
        (socket, operator): (Socket, Arc<Operator<S>>),
        shutdown: CancellationToken,
    ) {
        let together = self.core.spool.board().map(|board| Together {
            board,
            dispatcher: Arc::clone(&self.dispatcher),
            counting: Arc::clone(&self.core.counting),
            routing: Arc::clone(&self.core.routing),
            operator: Arc::clone(&operator),
            counted: Default::default(),
        });
        if let Some(together) = &together {
            tokio::select! {
                () = together.begin() => {}
                () = shutdown.cancelled() => {}
            }
        }
        self.outbound.resume_mailing().await;
        let incoming = smtp_in::serve(listeners, limits, self.inbound, shutdown.clone());
        let outgoing = Arc::clone(&self.dispatcher).run(shutdown.clone());
        let deadlines = Arc::clone(&self.outbound).keep_deadlines(shutdown.clone());
        let freezes = Arc::clone(&self.outbound).keep_freezes(shutdown.clone());
        let doctor = Arc::clone(&operator.doctor);
        let policies = self.core.sts.keep(shutdown.clone());
        let checkups = self.outbound.keep_examining(&doctor, shutdown.clone());
        let tellings = self
            .outbound
            .keep_telling(&self.core.history, shutdown.clone());
        let reports = self.outbound.keep_reporting(shutdown.clone());
        let stopped = CancellationToken::new();
        let facts = Arc::clone(&operator.orders).keep_facts(
            Arc::clone(&self.dispatcher),
            self.core.clock.clone(),
            stopped.clone(),
        );
        let operator = socket.serve(operator, shutdown.cancelled_owned());
        let leases = Arc::clone(&self.outbound).keep_leases(stopped.clone());
        let work = async {
            tokio::join!(
                incoming, outgoing, deadlines, freezes, policies, checkups, tellings, reports,
                operator
            );
            self.outbound.tell_the_rest().await;
            self.outbound.keep_tls_reports().await;
            stopped.cancel();
        };
        let together = async {
            if let Some(together) = together {
                together.keep(stopped.clone()).await;
            }
        };
        tokio::join!(work, leases, facts, together);
    }
}

impl<S> Clone for Core<S> {
    fn clone(&self) -> Self {
        Self {
            spool: Arc::clone(&self.spool),
            routing: Arc::clone(&self.routing),
            store: Arc::clone(&self.store),
            ids: Arc::clone(&self.ids),
            clock: self.clock.clone(),
            journal: self.journal.clone(),
            counting: Arc::clone(&self.counting),
            sts: Arc::clone(&self.sts),
            tls_reports: Arc::clone(&self.tls_reports),
            history: self.history.clone(),
        }
    }
}
