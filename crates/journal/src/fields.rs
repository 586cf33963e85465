//! What the line of each event shows, and in which order.

use envelope::{Diagnosis, PeerTls, Tls};

use crate::attempt::Attempt;
use crate::event::Event;
use crate::line::Fields;

impl Event {
    /// Shows every field.
    #[expect(
        clippy::too_many_lines,
        reason = "a table: one arm a variant, nothing but its fields"
    )]
    pub(super) fn fields(&self, out: &mut dyn Fields) {
        match self {
            Self::Ready { listeners, queued } => {
                let addresses: Vec<String> = listeners.iter().map(ToString::to_string).collect();
                out.text("listener", &addresses.join(","));
                out.number("queued", *queued);
            }
            Self::Stopping { reason } => out.text("reason", reason),
            Self::Reloaded {
                forwards,
                added,
                removed,
                changed,
                applied,
                restart,
            } => {
                out.number("forwards", *forwards);
                out.number("added", *added);
                out.number("removed", *removed);
                out.number("changed", *changed);
                out.if_any("applied", &applied.join(","));
                out.if_any("needs_restart", &restart.join(","));
            }
            Self::ForwardsKeptOut { error, forwards } => {
                out.text("error", error);
                out.number("forwards", *forwards);
            }
            Self::ReloadFailed { error } => out.text("error", error),
            Self::ConnectionClosed {
                client,
                reason,
                open,
            } => {
                out.text("client", client);
                out.text("reason", reason);
                if let Some(open) = open {
                    out.optional("hello", open.hello.as_ref());
                    out.text("from", &open.sender);
                    out.number("recipients", open.recipients as u64);
                    out.number_if("size", open.size);
                }
            }
            Self::TurnedAway {
                rule,
                network,
                connections,
            } => {
                out.text("rule", rule);
                out.text("network", network);
                out.number("connections", *connections);
            }
            Self::Refused {
                client,
                client_name,
                listener,
                hello,
                stage,
                rule,
                sender,
                recipient,
                user,
                command,
                reply,
                ..
            } => {
                out.text("client", client);
                out.optional("client_name", client_name.as_ref());
                out.text("listener", listener);
                out.optional("hello", hello.as_ref());
                out.text("stage", stage);
                out.text("rule", rule);
                out.optional("from", sender.as_ref());
                out.optional("to", recipient.as_ref());
                out.optional("user", user.as_ref());
                out.optional("command", command.as_ref());
                out.text("reply", reply);
            }
            Self::Callout {
                sender, diagnosis, ..
            } => {
                out.text("sender", sender);
                out.optional("host", diagnosis.host.as_ref());
                out.optional("reply", diagnosis.reply.as_ref());
                out.text("reason", &diagnosis.text);
            }
            Self::Login {
                client,
                hello,
                user,
                mechanism,
            } => {
                out.text("client", client);
                out.optional("hello", hello.as_ref());
                out.text("user", user);
                out.text("mechanism", mechanism);
            }
            Self::Received {
                client,
                client_name,
                listener,
                hello,
                tls,
                user,
                sender,
                recipients,
                message_id,
                size,
                before_queue,
                normalized,
                stripped,
                dropped,
                online,
                ..
            } => {
                out.text("client", client);
                out.optional("client_name", client_name.as_ref());
                out.text("listener", listener);
                out.text("hello", hello);
                encrypted(out, tls.as_ref());
                out.optional("user", user.as_ref());
                out.text("from", sender);
                out.number("recipients", *recipients as u64);
                out.optional("message_id", message_id.as_ref());
                out.number("size", *size);
                out.millis("before_queue_ms", *before_queue);
                for (name, count) in [("normalized", normalized), ("stripped", stripped)] {
                    if *count > 0 {
                        out.number(name, *count);
                    }
                }
                out.if_any("dropped", dropped);
                if *online {
                    out.text("answer", &"destination");
                }
            }
            Self::Answered { reason, took, .. } => {
                out.if_any("reason", reason);
                out.millis("took_ms", *took);
            }
            Self::Forwarded {
                id,
                recipient,
                target,
                sender,
                tier,
            } => {
                out.number("leg", u64::from(id.number));
                out.text("to", recipient);
                out.text("target", target);
                out.text("sender", sender);
                out.optional("tier", tier.as_ref());
            }
            Self::Authenticated {
                spf,
                dkim,
                arc,
                dmarc,
                origin,
                ..
            } => {
                out.text("spf", spf);
                for (name, found) in [("dkim", dkim), ("arc", arc), ("dmarc", dmarc)] {
                    out.optional(name, found.as_ref());
                }
                out.text("origin", &origin.name());
            }
            Self::Filtered {
                filter,
                opinion,
                score,
                symbols,
                remarks,
                error,
                took,
                ..
            } => {
                out.text("filter", filter);
                out.text("opinion", opinion);
                out.optional("score", score.as_ref());
                out.optional("symbols", symbols.as_ref());
                out.optional("remarks", remarks.as_ref());
                out.optional("error", error.as_ref());
                out.millis("took_ms", *took);
            }
            Self::Held {
                id,
                recipient,
                target,
                reason,
            } => {
                out.number("leg", u64::from(id.number));
                out.text("to", recipient);
                out.text("target", target);
                out.text("reason", reason);
            }
            Self::Discarded { recipient, .. } => out.text("to", recipient),
            Self::Looped {
                recipient,
                target,
                passed,
                ..
            } => {
                out.text("to", recipient);
                out.text("target", target);
                out.text("passed", passed);
            }
            Self::DeadEnd { target, reason, .. } => {
                out.text("target", target);
                out.text("reason", reason);
            }
            Self::Delivered { leg, diagnosis } => attempt(out, leg, diagnosis),
            Self::Failed { leg, diagnosis } => {
                attempt(out, leg, diagnosis);
                out.text("reason", &diagnosis.text);
            }
            Self::Deferred {
                leg,
                diagnosis,
                next,
            } => {
                attempt(out, leg, diagnosis);
                out.text("reason", &diagnosis.text);
                out.text("next", next);
            }
            Self::Bounced {
                kind, bounce, to, ..
            } => {
                out.text("kind", kind);
                out.text("bounce", bounce);
                out.text("to", to);
            }
            Self::NotBounced { reason, .. } => out.text("reason", reason),
            Self::OperatorAsked {
                uid,
                action,
                of,
                reason,
            } => {
                out.text("action", action);
                out.number("uid", u64::from(*uid));
                out.if_any("of", of);
                out.if_any("reason", reason);
            }
            Self::Operator {
                id,
                action,
                outcome,
                uid,
                recipient,
                target,
                reason,
            } => {
                out.number("leg", u64::from(id.number));
                out.text("action", action);
                out.text("outcome", outcome);
                out.number("uid", u64::from(*uid));
                out.text("to", recipient);
                out.text("target", target);
                out.if_any("reason", reason);
            }
            Self::SiteDown {
                site,
                source,
                error,
                probe_in,
                ..
            } => {
                out.text("site", site);
                out.optional("source", source.as_ref());
                out.text("error", error);
                out.number("probe_in_secs", probe_in.as_secs());
            }
            Self::SiteUp { site, down_for } => {
                out.text("site", site);
                out.number("down_secs", down_for.as_secs());
            }
            Self::SiteTakesMail { site, legs } => {
                out.text("site", site);
                out.number("legs", *legs);
            }
            Self::SiteOrdered {
                site,
                until,
                connections,
                per_minute,
                reason,
                sites,
                uid,
                ..
            } => {
                out.text("site", site);
                out.optional("until", until.as_ref());
                out.number_if("connections", *connections);
                out.number_if("per_minute", *per_minute);
                out.number_if("uid", *uid);
                out.if_any("reason", reason);
                out.if_any("sites", sites);
            }
            Self::Drained { uid, reason, .. } => {
                out.number("uid", (*uid).into());
                out.if_any("reason", reason);
            }
            Self::DnsblDown { name, error } => {
                out.text("dnsbl", name);
                out.text("error", error);
            }
            Self::DnsblUp { name, failed } => {
                out.text("dnsbl", name);
                out.number("failed", *failed);
            }
            Self::FilterDown { name, error } => {
                out.text("filter", name);
                out.text("error", error);
            }
            Self::FilterUp { name, failed } => {
                out.text("filter", name);
                out.number("failed", *failed);
            }
            Self::Frozen { key, limit } => {
                out.text("key", key);
                out.text("limit", limit);
            }
            Self::Alerted { to, of, number, .. } => {
                out.text("to", to);
                out.number(of, *number);
            }
            Self::Doctor { status, of, text } => {
                out.text("status", status);
                out.text("of", of);
                out.text("text", text);
            }
            Self::FreezeLifted {
                key,
                limit,
                since,
                hits,
                uid,
            } => {
                out.text("key", key);
                out.text("limit", limit);
                out.text("since", since);
                out.number("hits", *hits);
                out.number("uid", u64::from(*uid));
            }
            Self::DovecotDown { error } => out.text("error", error),
            Self::DovecotUp { failed } => out.number("failed", *failed),
            Self::Dropped { lines } => out.number("lines", *lines),
        }
    }
}

fn attempt(out: &mut dyn Fields, leg: &Attempt, diagnosis: &Diagnosis) {
    out.number("leg", u64::from(leg.id.number));
    out.text("to", &leg.recipient);
    out.text("target", &leg.target);
    let trip = &leg.trip;
    out.optional("site", trip.site.as_ref());
    out.optional("host", diagnosis.host.as_ref());
    if let Some((egress, source)) = &trip.egress {
        out.text("egress", egress);
        out.text("source", source);
    }
    encrypted(out, trip.tls.as_ref().map(|PeerTls { tls, .. }| tls));
    if let Some(PeerTls { proof, .. }) = trip.tls {
        out.text("verified", &proof.name());
    }
    out.text("status", &diagnosis.status);
    out.optional("reply", diagnosis.reply.as_ref());
    out.number("attempt", u64::from(leg.attempt));
    out.millis("delay_ms", leg.delay);
    if trip.site.is_some() {
        out.millis("queued_ms", leg.queued());
        out.millis("connect_ms", trip.connect);
        out.millis("transmission_ms", trip.transmission);
    }
}

fn encrypted(out: &mut dyn Fields, tls: Option<&Tls<'_>>) {
    if let Some(Tls { version, cipher }) = tls {
        out.text("tls", version);
        out.text("cipher", cipher);
    }
}
