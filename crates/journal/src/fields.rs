//! What the line of each event shows, and in which order.

use std::fmt::Display;
use std::time::Duration;

use envelope::{Diagnosis, PeerTls, Tls};

use crate::event::{Attempt, Event};
use crate::line::Fields;
use crate::site_order;

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
                for (name, keys) in [("applied", applied), ("needs_restart", restart)] {
                    let keys = (!keys.is_empty()).then(|| keys.join(","));
                    optional(out, name, keys.as_ref());
                }
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
                    optional(out, "hello", open.hello.as_ref());
                    out.text("from", &open.sender);
                    out.number("recipients", open.recipients as u64);
                    if let Some(size) = open.size {
                        out.number("size", size);
                    }
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
                optional(out, "client_name", client_name.as_ref());
                out.text("listener", listener);
                optional(out, "hello", hello.as_ref());
                out.text("stage", stage);
                out.text("rule", rule);
                optional(out, "from", sender.as_ref());
                optional(out, "to", recipient.as_ref());
                optional(out, "user", user.as_ref());
                optional(out, "command", command.as_ref());
                out.text("reply", reply);
            }
            Self::Callout {
                sender, diagnosis, ..
            } => {
                out.text("sender", sender);
                optional(out, "host", diagnosis.host.as_ref());
                optional(out, "reply", diagnosis.reply.as_ref());
                out.text("reason", &diagnosis.text);
            }
            Self::Login {
                client,
                hello,
                user,
                mechanism,
            } => {
                out.text("client", client);
                optional(out, "hello", hello.as_ref());
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
                ..
            } => {
                out.text("client", client);
                optional(out, "client_name", client_name.as_ref());
                out.text("listener", listener);
                out.text("hello", hello);
                encrypted(out, tls.as_ref());
                optional(out, "user", user.as_ref());
                out.text("from", sender);
                out.number("recipients", *recipients as u64);
                optional(out, "message_id", message_id.as_ref());
                out.number("size", *size);
                millis(out, "before_queue_ms", *before_queue);
                for (name, count) in [("normalized", normalized), ("stripped", stripped)] {
                    if *count > 0 {
                        out.number(name, *count);
                    }
                }
                if !dropped.is_empty() {
                    out.text("dropped", dropped);
                }
            }
            Self::Forwarded {
                id,
                recipient,
                target,
                sender,
            } => {
                out.number("leg", u64::from(id.number));
                out.text("to", recipient);
                out.text("target", target);
                out.text("sender", sender);
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
                    optional(out, name, found.as_ref());
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
                for (name, said) in [
                    ("score", score),
                    ("symbols", symbols),
                    ("remarks", remarks),
                    ("error", error),
                ] {
                    optional(out, name, said.as_ref());
                }
                millis(out, "took_ms", *took);
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
                if_any(out, "of", of);
                if_any(out, "reason", reason);
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
                if_any(out, "reason", reason);
            }
            Self::SiteDown {
                site,
                error,
                probe_in,
            } => {
                out.text("site", site);
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
            Self::SiteOrdered { .. } => site_order::fields(self, out),
            Self::Drained { uid, reason, .. } => {
                out.number("uid", (*uid).into());
                optional(out, "reason", reason.as_ref());
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

fn if_any(out: &mut dyn Fields, key: &str, text: &str) {
    if !text.is_empty() {
        out.text(key, &text);
    }
}

fn attempt(out: &mut dyn Fields, leg: &Attempt, diagnosis: &Diagnosis) {
    out.number("leg", u64::from(leg.id.number));
    out.text("to", &leg.recipient);
    out.text("target", &leg.target);
    let trip = &leg.trip;
    optional(out, "site", trip.site.as_ref());
    optional(out, "host", diagnosis.host.as_ref());
    encrypted(out, trip.tls.as_ref().map(|PeerTls { tls, .. }| tls));
    if let Some(PeerTls { is_verified, .. }) = trip.tls {
        out.text("verified", &if is_verified { "yes" } else { "no" });
    }
    out.text("status", &diagnosis.status);
    optional(out, "reply", diagnosis.reply.as_ref());
    out.number("attempt", u64::from(leg.attempt));
    millis(out, "delay_ms", leg.delay);
    if trip.site.is_some() {
        millis(out, "queued_ms", leg.queued());
        millis(out, "connect_ms", trip.connect);
        millis(out, "transmission_ms", trip.transmission);
    }
}

fn encrypted(out: &mut dyn Fields, tls: Option<&Tls<'_>>) {
    if let Some(Tls { version, cipher }) = tls {
        out.text("tls", version);
        out.text("cipher", cipher);
    }
}

fn millis(out: &mut dyn Fields, key: &str, span: Duration) {
    out.number(key, envelope::millis(span));
}

pub(crate) fn optional<T: Display>(out: &mut dyn Fields, key: &str, value: Option<&T>) {
    if let Some(value) = value {
        out.text(key, value);
    }
}
