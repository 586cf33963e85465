//! What is put on top of a message that has come in whole.

use authentic::Checked;
use envelope::Message;
use forwarder::trace;
use spool::Spool;

use super::{Draft, Examined};
use crate::keys::Outgoing;
use crate::routing::Routing;

impl<S: Spool> Draft<S> {
    /// Puts on top what the user's program left out, in sight of those who sign.
    pub(in crate::inbound) fn complete(
        &self,
        routing: &Routing,
        examined: Option<&mut Examined>,
        message: &mut Message,
    ) {
        let fields = trace::missing(&self.scan, self.id, message.arrived, routing.hostname());
        if fields.is_empty() {
            return;
        }
        if let Some(examined) = examined {
            examined.parsed.put_on_top(&fields);
        }
        message.trace = fields.into();
        message.size += message.trace.len() as u64;
    }

    /// Puts what was checked on top of the message, and what its recipients want signed on top of that: of all legs if they
    /// want the same, otherwise of each.
    pub(in crate::inbound) fn put_results(
        &mut self,
        routing: &Routing,
        checked: &[Checked<'_>],
        received_spf: &str,
        examined: Option<&Examined>,
        is_proved: bool,
        message: &mut Message,
    ) {
        let mut trace = match checked {
            [] => String::new(),
            checked => authentic::field(routing.hostname(), checked),
        };
        trace.push_str(received_spf);
        trace.push_str(&message.trace);
        if let Some(examined) = examined {
            let results = examined.results.get();
            let outgoing = Outgoing {
                keys: &routing.keys,
                parsed: &examined.parsed,
                chain: results.map(|results| &results.arc),
                is_proved,
                checked,
                hostname: routing.hostname(),
                now: message.arrived,
            };
            let legs = &mut self.plan.legs;
            let measures = legs.iter().map(|leg| &*self.measures[leg.of[0]]);
            let wanted: Vec<_> = measures
                .map(|all| (all.sign.clone(), all.seal.clone()))
                .collect();
            let fields = outgoing.fields(&wanted);
            if fields.windows(2).all(|two| two[0] == two[1]) {
                trace.insert_str(0, fields.first().map_or("", |fields| fields));
            } else {
                for (leg, fields) in legs.iter_mut().zip(fields) {
                    leg.leg.trace = format!("{}{fields}", leg.leg.trace).into();
                }
            }
        }
        message.size += (trace.len() - message.trace.len()) as u64;
        message.trace = trace.into();
    }
}
