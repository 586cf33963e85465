//! A message on its way in: our trace on top, signs of a loop in its header, legs of its recipients, and the commit.

mod top;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authentic::Reader;
use aws_lc_rs::digest::Context;
use envelope::{
    Diagnosis, Domain, Envelope, Mailbox, Message, MessageId, Origin, Peer, Reply, Timestamp,
};
use forwarder::{HeaderScan, Plan, ReturnPath, Route, has_header};
use journal::{Event, Journal};
use policy::measures::Dmarc;
use policy::{Case, Measures, Standing, Tier, Why};
use smtp_in::Client;
use spool::{Arrival, BodyWriter, Error, Spool};

use super::Inbound;
use super::deciding::facts_of;
use super::examined::Examined;
use super::lines::{forwarded, held, looped};
use super::received::received;
use super::strip::Strip;
use super::tiers::{leave_by, send_as};
use crate::filters::{Reading, body};
use crate::outbound::Print;
use crate::replies;
use crate::routing::Routing;

/// Dropping it abandons the message.
pub(super) struct Draft<S: Spool> {
    pub(super) id: MessageId,
    pub(super) plan: Plan,
    pub(super) scan: HeaderScan,
    /// The Received header, until it is known whether the message has a header of its own.
    top: Vec<u8>,
    /// What has come of the body meanwhile: a line at most, and the rest of its chunk.
    start: Vec<u8>,
    /// Takes out results that claim to be ours.
    strip: Strip,
    /// Of the recipients, in their order.
    measures: Vec<Arc<Measures>>,
    /// Of what is behind the header, if it is to be known again by that: some signers sign anew at each try.
    pub(super) hasher: Option<Context>,
    /// Its sender is kept under a token.
    pub(super) has_token: bool,
    /// Reads it for those that want it verified or signed.
    reader: Option<Reader>,
    /// What it has read.
    pub(super) examined: Option<Examined>,
    /// Legs that wait for an operator, by number, and why.
    pub(super) held: HashMap<u32, Diagnosis>,
    /// What decided where it leaves from.
    tier: Option<Tier>,
    /// Bare CR and LF that became CRLF.
    pub(super) normalized: u64,
    writer: S::Writer,
}

impl<S: Spool> Draft<S> {
    /// Begins a message that leads nowhere yet.
    pub(super) async fn begin(
        inbound: &Inbound<S>,
        routing: &Routing,
        client: &Client,
        name: Option<Domain>,
        envelope: &Envelope,
    ) -> Result<Self, Error> {
        let now = inbound.clock.now();
        let id = inbound.ids.next(now);
        let writer = inbound.spool.begin(id).await?;
        Ok(Self {
            id,
            plan: Plan::default(),
            scan: HeaderScan::default(),
            normalized: 0,
            strip: Strip::new(routing.hostname().clone()),
            top: received(routing, client, name.as_ref(), envelope, id, now).into_bytes(),
            start: Vec::new(),
            measures: Vec::new(),
            hasher: None,
            has_token: false,
            reader: None,
            examined: None,
            held: HashMap::new(),
            tier: None,
            writer,
        })
    }

    /// Makes legs of the routes.
    pub(super) fn plan(
        &mut self,
        inbound: &Inbound<S>,
        routing: &Routing,
        envelope: &Envelope,
        routes: Vec<(Route, Arc<Measures>)>,
        return_path: Option<&ReturnPath>,
    ) {
        let (routes, measures): (Vec<_>, _) = routes.into_iter().unzip();
        self.measures = measures;
        let any = |wants: fn(&Measures) -> bool| self.measures.iter().any(|all| wants(all));
        self.reader = match any(Measures::wants_key) {
            true => Some(Reader::signing()),
            false => any(Measures::wants_authentic).then(Reader::default),
        };
        let recipients = envelope.recipients.iter().zip(routes);
        let (table, sender) = (&routing.table, &envelope.reverse_path);
        let mut token = |sender: &Mailbox, expires| {
            let token = inbound.spool.token(&sender.to_string(), expires);
            self.writer.keep(token.clone());
            self.has_token = true;
            token.name
        };
        let forwarder = &routing.forwarder;
        self.plan = forwarder.plan(
            table,
            sender,
            return_path,
            recipients,
            inbound.clock.now(),
            &mut token,
        );
        leave_by(&mut self.plan, &self.measures);
    }

    /// Octets so far.
    pub(super) fn size(&self) -> u64 {
        self.writer.len()
    }

    /// Takes the next bytes of the body.
    pub(super) async fn write(&mut self, chunk: Vec<u8>) -> Result<(), Error> {
        let text = self.scan.feed(&chunk);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(text);
        }
        if self.top.is_empty() {
            return self.pass_on(Vec::new(), chunk).await;
        }
        match self.start.is_empty() {
            true => self.start = chunk,
            false => self.start.extend_from_slice(&chunk),
        }
        match has_header(&self.start) {
            Some(has_header) => self.put_top(has_header).await,
            None => Ok(()),
        }
    }

    /// Writes our trace and what has come. Behind it a message without a header gets the empty line that it lacks: its
    /// text would become part of our trace otherwise.
    async fn put_top(&mut self, has_header: bool) -> Result<(), Error> {
        let mut first = std::mem::take(&mut self.top);
        if !has_header {
            first.extend_from_slice(b"\r\n");
            self.scan = HeaderScan::default();
            self.scan.finish();
            self.strip.is_done = true;
            self.read(b"\r\n");
        }
        let start = std::mem::take(&mut self.start);
        self.pass_on(first, start).await
    }

    /// Writes these octets of ours, and of the message what may go on.
    async fn pass_on(&mut self, mut ours: Vec<u8>, chunk: Vec<u8>) -> Result<(), Error> {
        self.read(&chunk);
        if ours.is_empty() && self.strip.is_done {
            return self.writer.write(chunk).await;
        }
        self.strip.feed(&chunk, &mut ours);
        self.writer.write(ours).await
    }

    fn read(&mut self, bytes: &[u8]) {
        if let Some(reader) = &mut self.reader {
            reader.feed(bytes);
        }
    }

    /// The body is complete.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        self.scan.finish();
        // It was shorter than a field's name; mostly of no octets at all (`BDAT 0 LAST`).
        if !self.top.is_empty() {
            self.put_top(self.start.is_empty()).await?;
        }
        let mut rest = Vec::new();
        self.strip.finish(&mut rest);
        let reader = self.reader.take();
        self.examined = reader.map(|reader| Examined::new(reader.finish()));
        self.writer.write(rest).await
    }

    /// What policy needs to know of it.
    pub(super) fn facts(&self) -> policy::Message {
        facts_of(&self.plan, &self.scan)
    }

    /// Leaves out the legs that would loop.
    pub(super) fn leave_loops_out(&mut self, journal: &Journal) {
        let loops = self.plan.remove_loops(&self.scan);
        looped(self.id, loops).for_each(|event| journal.record(event));
    }

    pub(super) fn message(
        &self,
        arrived: Timestamp,
        envelope: &Envelope,
        client: &Client,
        standing: Standing,
    ) -> Message {
        let origin = crate::origin::of_client(standing);
        let peer = || Peer {
            address: client.peer.ip().to_canonical(),
            hello: super::hello(client).unwrap_or_default().into(),
        };
        Message {
            origin,
            peer: matches!(origin, Origin::Stranger | Origin::Authenticated).then(peer),
            body: envelope.body,
            // The content decides: clients flag it for nothing (Go's net/smtp always does). Addresses are looked at leg by leg.
            smtputf8: envelope.smtputf8 && self.scan.non_ascii(),
            ret: envelope.ret,
            envid: envelope.envid.clone(),
            ..Message::new(
                self.id,
                arrived,
                envelope.reverse_path.clone(),
                self.writer.len(),
            )
        }
    }

    /// Has legs begin on hold; for DMARC those whose recipients' measures all want it: nobody's mail waits for what another's
    /// domain chooses. No leg is left out after this.
    pub(super) fn hold(&mut self, why: Why, case: &Case) {
        let legs = (0..).zip(&self.plan.legs);
        let is_wanted = |of: &usize| why != Why::Dmarc || self.measures[*of].dmarc == Dmarc::Hold;
        let wanted = legs.filter(|(_, leg)| leg.of.iter().all(is_wanted));
        let why = match why {
            Why::Dmarc => replies::held_by_dmarc(case.transaction.found.dmarc.as_ref()),
            Why::Limit => replies::held_by_limit(case.transaction.held_by()),
            Why::Filter => replies::held_by_filter(case.message.filtered.as_deref().unwrap_or(&[])),
        };
        self.held
            .extend(wanted.map(|(number, _)| (number, why.clone())));
    }

    /// What no recipient chose is as its tier's.
    pub(super) fn send_as(&mut self, tier: Tier, routing: &Routing, envelope: &Envelope) {
        send_as(&mut self.plan, tier, routing, &envelope.reverse_path);
        self.tier = Some(tier);
    }

    /// The message as it was taken in, if a filter is to be asked about it.
    pub(super) async fn read_back(&mut self) -> Result<Option<Reading>, Error> {
        let mut all = self.measures.iter();
        if all.all(|measures| measures.filter.is_empty()) {
            return Ok(None);
        }
        let reader = self.writer.read_back().await?;
        Ok(Some(Box::new(move || body(reader.clone()))))
    }

    /// Throws all of it away.
    pub(super) fn discard(&mut self) {
        for leg in std::mem::take(&mut self.plan.legs) {
            for recipient in leg.recipients() {
                if !self.plan.discarded.contains(recipient) {
                    self.plan.discarded.push(recipient.clone());
                }
            }
        }
    }

    /// Commits the legs: after the 250 the message is on stable storage. With a print it may be at its destination instead. What is
    /// logged before is true whatever comes of it.
    pub(super) async fn store(
        self,
        inbound: &Inbound<S>,
        message: Message,
        online: Option<Print>,
    ) -> Result<Reply, Error> {
        let (id, journal, spool) = (self.id, &inbound.journal, &*inbound.spool);
        for recipient in &self.plan.discarded {
            let recipient = recipient.clone();
            journal.record(Event::Discarded { id, recipient });
        }
        for broken in &self.plan.broken {
            journal.record(Event::DeadEnd {
                id,
                target: broken.address.clone(),
                reason: broken.fault.reply(),
            });
        }
        if self.plan.legs.is_empty() {
            return Ok(replies::discarded(id));
        }
        forwarded(id, &self.plan.legs, self.tier).for_each(|event| journal.record(event));
        held(id, &self.plan.legs, &self.held).for_each(|event| journal.record(event));
        let (legs, due) = (self.plan.into_legs(), message.arrived);
        let arrival = Arrival {
            held: self.held,
            ..Arrival::new(message, legs, due)
        };
        if let Some(print) = online {
            return inbound.outbound.answer(self.writer, arrival, print).await;
        }
        let begun = Instant::now();
        spool.commit(self.writer, arrival).await?;
        inbound.commits.lock().add(begun.elapsed());
        Ok(replies::queued(id))
    }

    /// What the mail log says of it.
    pub(super) fn received(
        &self,
        client: &Client,
        client_name: Option<&Domain>,
        envelope: &Envelope,
        message: &Message,
        before_queue: Duration,
        online: bool,
    ) -> Event {
        Event::Received {
            id: self.id,
            client: client.peer,
            client_name: client_name.cloned(),
            listener: client.local,
            hello: super::hello(client).unwrap_or_default(),
            tls: client.tls,
            user: message.user.clone(),
            sender: message.reverse_path.clone(),
            recipients: envelope.recipients.len(),
            message_id: self.scan.message_id(),
            size: message.size,
            before_queue,
            normalized: self.normalized,
            stripped: self.strip.removed,
            dropped: envelope.dropped.join(","),
            online,
        }
    }
}
