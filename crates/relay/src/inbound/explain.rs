//! What would be decided on a mail, by the very driver and rules that decide on real mail. Nothing is sent, kept or counted.

use std::sync::Arc;

use authentic::Reader;
use control::{Asked, Body, Explanation, Fault, Hop, Mail, Refusal, Ruled, Way};
use counters::Key;
use envelope::{ForwardPath, Mailbox, Recipient, ReversePath, Verdict};
use forwarder::table::{Step, Table};
use forwarder::{HeaderScan, Plan, PlannedLeg, Route, SrsRecipient};
use futures_util::future::join_all;
use policy::{Case, Decision, Effect, Stage, Tier};
use spool::Spool;

use super::Inbound;
use super::answers::limits;
use super::client_name::ClientName;
use super::deciding::{self, Known, Sources, client_of, facts_of};
use super::examined::Examined;
use super::online::why_not;
use super::tiers::{leave_by, send_as};
use crate::routing::Routing;

/// A mail that is only thought of.
struct Thought<'a, S: Spool> {
    inbound: &'a Inbound<S>,
    routing: Arc<Routing>,
    name: ClientName,
    case: Case,
    message: Option<Examined>,
    recipients: Vec<Key>,
    /// What the message is taken for.
    tier: Option<Tier>,
    explanation: Explanation,
}

impl<S: Spool> Inbound<S> {
    /// Every stage up to the one that refuses. Without the message, the rules at its end are not asked.
    pub(crate) async fn explain(
        &self,
        mail: &Mail,
        message: Option<&mut (impl Body + Sync)>,
    ) -> Result<Explanation, Fault> {
        let (from, to) = (sender(&mail.from)?, recipient(&mail.to)?);
        let mut thought = Thought::new(self, mail)?;
        for stage in [Stage::Connect, Stage::Hello] {
            thought.decide(stage).await;
        }
        let name = thought.name.get().await;
        thought.explanation.name = name.map(|name| name.to_string());
        thought.case.begin(from.clone());
        thought.decide(Stage::Mail).await;
        thought.case.next_recipient(to.clone());
        thought.expand(&to).await;
        let Some(route) = thought.decide(Stage::Rcpt).await else {
            return Ok(thought.explanation);
        };
        thought.recipients = limits::recipient(&thought.case, Some(&route));
        let measures = [thought.case.accept_recipient()];
        let mut plan = thought.plan(&from, to, route);
        leave_by(&mut plan, &measures);
        thought.decide(Stage::Data).await;
        if let Some(message) = message {
            thought.explanation.has_message = true;
            let (mut scan, mut reader) = (HeaderScan::default(), Reader::default());
            while let Some(chunk) = message.chunk().await? {
                scan.feed(&chunk);
                reader.feed(&chunk);
            }
            scan.finish();
            thought.message = Some(Examined::new(reader.finish()));
            thought.case.message = facts_of(&plan, &scan);
            thought.decide(Stage::Message).await;
            if let Some(tier) = thought.tier {
                send_as(&mut plan, tier, &thought.routing, &from);
            }
        }
        if thought.explanation.refusal.is_none() {
            let why_not = match thought.explanation.is_held {
                true => Some("it is on hold"),
                false => why_not(&thought.case, &plan),
            };
            thought.explanation.answer = Some(match why_not {
                None => "the destination's, if that is ready and in time".to_owned(),
                Some(why) => format!("the queue's: {why}"),
            });
            let ways = plan
                .legs
                .iter()
                .take(WAYS_MAX)
                .map(|planned| thought.way(planned));
            thought.explanation.ways = join_all(ways).await;
        }
        Ok(thought.explanation)
    }
}

impl<'a, S: Spool> Thought<'a, S> {
    fn new(inbound: &'a Inbound<S>, mail: &Mail) -> Result<Self, Fault> {
        let routing = inbound.routing.load_full();
        let (role, listener) = match mail.user {
            Some(_) => (smtp_in::Role::Submission, "submission"),
            None => (smtp_in::Role::Mx, "mx"),
        };
        let mut client = client_of(&routing, mail.ip, role);
        if let Some(name) = &mail.user {
            let user = match routing.users.find(name) {
                Some(user) => Arc::clone(&user.policy),
                None if inbound.dovecot.is_some() => routing.users.of_dovecot(name),
                None => return Err(Fault::new(format!("there is no user `{name}`"))),
            };
            client.log_in(user);
        }
        let standing = client.standing.to_string();
        Ok(Self {
            name: inbound.names.ask(mail.ip),
            case: Case {
                settings: inbound.policy_settings(&routing),
                client,
                hello: mail.hello.clone(),
                ..Case::default()
            },
            message: None,
            recipients: Vec::new(),
            tier: None,
            explanation: Explanation {
                client: standing,
                listener: listener.to_owned(),
                ..Explanation::default()
            },
            inbound,
            routing,
        })
    }

    /// The lines that the recipient's mail goes through; behind an SRS address, that of the original sender.
    async fn expand(&mut self, to: &ForwardPath) {
        let Some(address) = to.mailbox() else { return };
        let sender = self.sender_behind(address);
        let refused = sender.is_none().then_some(address);
        let (address, now) = (sender.as_ref().unwrap_or(address), self.inbound.clock.now());
        // That it cannot be looked up, the answers say.
        let trace = |table: &Table| table.trace(address, now);
        let steps = self.routing.ask(refused, trace).await;
        self.explanation.expansion = steps.into_iter().flatten().map(step).collect();
    }

    /// The original sender, if the address is an SRS address of ours.
    fn sender_behind(&self, address: &Mailbox) -> Option<Mailbox> {
        let (forwarder, table) = (&self.routing.forwarder, &self.routing.table);
        match forwarder.srs_recipient(table, address, self.inbound.clock.now()) {
            SrsRecipient::Decoded(sender) => Some(sender),
            _ => None,
        }
    }

    /// A leg, and what delivery would do with it.
    async fn way(&self, planned: &PlannedLeg) -> Way {
        let leg = &planned.leg;
        let sender = leg.reverse_path.mailbox();
        let back = sender.and_then(|sender| self.sender_behind(sender));
        let mut way = Way {
            target: leg.target.to_string(),
            sender: leg.reverse_path.to_string(),
            back: back.map(|sender| sender.to_string()),
            options: leg.options.as_str().to_owned(),
            ..Way::default()
        };
        let foreseen = self.inbound.foresight.of(&leg.destination()).await;
        let hops = foreseen.and_then(|foreseen| {
            way.site = Some(foreseen.site);
            way.tls = Some(foreseen.tls.name().to_owned());
            way.login = foreseen.login;
            way.sts = foreseen.sts.and_then(sts);
            way.egress = foreseen.egress.as_deref().map(ToOwned::to_owned);
            foreseen.hops
        });
        match hops {
            Ok(hops) => way.hops = hops.into_iter().map(hop).collect(),
            Err(outcome) => {
                let diagnosis = outcome.diagnosis();
                way.trouble = Some(format!("{} {}", diagnosis.status, diagnosis.text));
            }
        }
        way
    }

    /// Goes through a stage, unless one before it refused. A route that it found comes back if the mail is still accepted.
    async fn decide(&mut self, stage: Stage) -> Option<Route> {
        if self.explanation.refusal.is_some() {
            return None;
        }
        let sources = Sources {
            routing: &self.routing,
            known: Known {
                message: self.message.as_ref(),
                ..Known::default()
            },
            recipients: &self.recipients,
            name: &self.name,
        };
        let mut asked = Vec::new();
        let decided = self
            .inbound
            .decide(stage, &mut self.case, &sources, Some(&mut asked));
        let (decision, route) = decided.await;
        let explanation = &mut self.explanation;
        explanation.stages.push(row(stage, &decision, &asked));
        let is_hold = |effect: &Effect| matches!(effect, Effect::Hold(_));
        explanation.is_held |= decision.effects.iter().any(is_hold);
        let mut effects = decision.effects.iter();
        self.tier = effects.find_map(|effect| match effect {
            Effect::Tier(tier) => Some(*tier),
            _ => None,
        });
        match decision.answer {
            Verdict::Accept => route,
            Verdict::Refuse(reply) | Verdict::Close(reply) => {
                explanation.refusal = Some(Refusal {
                    stage: stage.name().to_owned(),
                    rule: decision.rule.to_owned(),
                    reply: reply.to_string(),
                });
                None
            }
        }
    }

    /// What the mail would become. A token is made up, but not kept.
    fn plan(&self, from: &ReversePath, to: ForwardPath, route: Route) -> Plan {
        let recipient = Recipient::new(to);
        let (inbound, routing) = (self.inbound, &self.routing);
        let mut token = |sender: &Mailbox, expires| {
            let token = inbound.spool.token(&sender.to_string(), expires);
            token.name
        };
        let now = inbound.clock.now();
        let recipients = [(&recipient, route)].into_iter();
        let user = self.case.client.user.as_ref();
        let user = user.and_then(|user| routing.users.find(&user.name));
        let return_path = user.and_then(|user| user.return_path.as_ref());
        let (forwarder, table) = (&routing.forwarder, &routing.table);
        forwarder.plan(table, from, return_path, recipients, now, &mut token)
    }
}

fn row(stage: Stage, decision: &Decision, asked: &deciding::Asked) -> control::Stage {
    let asked = asked.iter().map(|(question, answer)| Asked {
        question: question.to_string(),
        answer: answer.to_string(),
    });
    let rules = decision.trace.iter().map(|(rule, opinion)| Ruled {
        rule: (*rule).to_owned(),
        opinion: opinion.to_string(),
    });
    control::Stage {
        stage: stage.name().to_owned(),
        asked: asked.collect(),
        rules: rules.collect(),
    }
}

fn sts(found: sts::Found) -> Option<String> {
    let fault = found.fault.map(|fault| format!("cannot be had: {fault}"));
    let kept = found
        .kept
        .map(|kept| format!("{} until {}", kept.policy, kept.until()));
    kept.or(fault)
}

fn hop(hop: delivery::Hop) -> Hop {
    Hop {
        host: hop.host.map(|host| host.to_string()),
        to: hop.to.to_string(),
        from: hop.from,
        tls: hop.tls.to_owned(),
    }
}

fn step(step: Step) -> control::Step {
    control::Step {
        depth: step.depth,
        address: step.address.to_string(),
        line: step.line,
        domain_line: step.domain_line,
        fault: step.fault.map(|fault| fault.reply().text),
    }
}

fn sender(text: &str) -> Result<ReversePath, Fault> {
    match text {
        "" => Ok(ReversePath::Null),
        text => Ok(ReversePath::Mailbox(mailbox(text)?)),
    }
}

fn recipient(text: &str) -> Result<ForwardPath, Fault> {
    match text.eq_ignore_ascii_case("postmaster") {
        true => Ok(ForwardPath::Postmaster),
        false => Ok(ForwardPath::Mailbox(mailbox(text)?)),
    }
}

fn mailbox(text: &str) -> Result<Mailbox, Fault> {
    let parsed = text.parse();
    parsed.map_err(|error| Fault::new(format!("`{text}` is not an address: {error}")))
}

/// Of a mail to more targets, the ways of the first are told: each is a look-up or two.
const WAYS_MAX: usize = 100;
