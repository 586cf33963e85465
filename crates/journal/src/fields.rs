//! What the line of each event shows, and in which order.

use envelope::{Diagnosis, PeerTls, Tls};

use crate::attempt::Attempt;
use crate::event::Event;
use crate::line::Fields;

/// Shows the fields of most events by a table, a row for each: `Event { how "key" field, … }`, in the words of [`Fields`]. Those
/// of which more is to be said follow as arms.
macro_rules! lines {
    ($event:ident, $out:ident: $($variant:ident { $($how:ident $key:literal $field:ident),+ })+; $($more:tt)+) => {
        match $event {
            $(Self::$variant { $($field,)+ .. } => { $($out.$how($key, $field);)+ })+
            $($more)+
        }
    };
}

impl Event {
    /// Shows every field.
    #[expect(
        clippy::too_many_lines,
        reason = "a table: one arm a variant, nothing but its fields"
    )]
    pub(super) fn fields(&self, out: &mut dyn Fields) {
        lines! { self, out:
            Stopping { text "reason" reason }
            Reloaded {
                count "forwards" forwards, count "added" added, count "removed" removed, count "changed" changed,
                list "applied" applied, list "needs_restart" restart
            }
            ForwardsKeptOut { text "error" error, count "forwards" forwards }
            ReloadFailed { text "error" error }
            Certificate { list "domains" domains, optional "error" error, text "next" next, optional "expires" expires }
            TurnedAway { text "rule" rule, text "network" network, count "connections" connections }
            Refused {
                text "client" client, optional "client_name" client_name, text "listener" listener, optional "hello" hello,
                text "stage" stage, text "rule" rule, optional "from" sender, optional "to" recipient, optional "user" user,
                optional "command" command, text "reply" reply
            }
            Login { text "client" client, optional "hello" hello, text "user" user, text "mechanism" mechanism }
            Answered { if_any "reason" reason, millis "took_ms" took }
            Forwarded { leg "leg" id, text "to" recipient, text "target" target, text "sender" sender, optional "tier" tier }
            Filtered {
                text "filter" filter, text "opinion" opinion, optional "score" score, optional "symbols" symbols,
                optional "remarks" remarks, optional "error" error, millis "took_ms" took
            }
            Held { leg "leg" id, text "to" recipient, text "target" target, text "reason" reason }
            Discarded { text "to" recipient }
            Looped { text "to" recipient, text "target" target, text "passed" passed }
            DeadEnd { text "target" target, text "reason" reason }
            Bounced { text "kind" kind, text "bounce" bounce, text "to" to }
            NotBounced { text "reason" reason }
            OperatorAsked { text "action" action, by "uid" by, if_any "of" of, if_any "reason" reason }
            Operator {
                leg "leg" id, text "action" action, text "outcome" outcome, by "uid" by, text "to" recipient,
                text "target" target, if_any "reason" reason
            }
            SiteDown { text "site" site, optional "source" source, text "error" error, secs "probe_in_secs" probe_in }
            SiteUp { text "site" site, secs "down_secs" down_for }
            SiteTakesMail { text "site" site, count "legs" legs }
            SiteOrdered {
                text "site" site, optional "until" until, count_if "connections" connections, count_if "per_minute" per_minute,
                by_if "uid" by, if_any "reason" reason, if_any "sites" sites
            }
            Drained { by "uid" by, if_any "reason" reason }
            DnsblDown { text "dnsbl" name, text "error" error }
            DnsblUp { text "dnsbl" name, count "failed" failed }
            FilterDown { text "filter" name, text "error" error }
            FilterUp { text "filter" name, count "failed" failed }
            Source { text "source" name, optional "error" error }
            Frozen { text "key" key, text "limit" limit }
            Doctor { text "status" status, text "of" of, text "text" text }
            FreezeLifted { text "key" key, text "limit" limit, text "since" since, count "hits" hits, by "uid" by }
            QueueLength { count "legs" legs }
            ForwardFails { text "to" recipient, text "target" target, count "failed" failed, text "code" code }
            DovecotDown { text "error" error }
            DovecotUp { count "failed" failed }
            Dropped { count "lines" lines };

            Self::Ready { listeners, queued } => {
                let addresses: Vec<String> = listeners.iter().map(ToString::to_string).collect();
                out.text("listener", &addresses.join(","));
                out.number("queued", *queued);
            }
            Self::ConnectionClosed {
                client,
                reason,
                open,
            } => {
                out.text("client", client);
                out.text("reason", reason);
                if let Some(open) = open {
                    out.optional("hello", &open.hello);
                    out.text("from", &open.sender);
                    out.number("recipients", open.recipients as u64);
                    out.count_if("size", &open.size);
                }
            }
            Self::Callout {
                sender, diagnosis, ..
            } => {
                out.text("sender", sender);
                out.optional("host", &diagnosis.host);
                out.optional("reply", &diagnosis.reply);
                out.text("reason", &diagnosis.text);
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
                out.optional("client_name", client_name);
                out.text("listener", listener);
                out.text("hello", hello);
                encrypted(out, tls.as_ref());
                out.optional("user", user);
                out.text("from", sender);
                out.number("recipients", *recipients as u64);
                out.optional("message_id", message_id);
                out.number("size", *size);
                out.millis("before_queue_ms", before_queue);
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
                    out.optional(name, found);
                }
                out.text("origin", &origin.name());
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
            Self::Alerted { to, of, number, .. } => {
                out.text("to", to);
                out.number(of, *number);
            }
        }
    }
}

fn attempt(out: &mut dyn Fields, leg: &Attempt, diagnosis: &Diagnosis) {
    out.leg("leg", &leg.id);
    out.text("to", &leg.recipient);
    out.text("target", &leg.target);
    let trip = &leg.trip;
    out.optional("site", &trip.site);
    out.optional("host", &diagnosis.host);
    if let Some((egress, source)) = &trip.egress {
        out.text("egress", egress);
        out.text("source", source);
    }
    encrypted(out, trip.tls.as_ref().map(|PeerTls { tls, .. }| tls));
    if let Some(PeerTls { proof, .. }) = trip.tls {
        out.text("verified", &proof.name());
    }
    out.text("status", &diagnosis.status);
    out.optional("reply", &diagnosis.reply);
    out.count("attempt", &leg.attempt);
    out.millis("delay_ms", &leg.delay);
    if trip.site.is_some() {
        out.millis("queued_ms", &leg.queued());
        out.millis("connect_ms", &trip.connect);
        out.millis("transmission_ms", &trip.transmission);
    }
}

fn encrypted(out: &mut dyn Fields, tls: Option<&Tls<'_>>) {
    if let Some(Tls { version, cipher }) = tls {
        out.text("tls", version);
        out.text("cipher", cipher);
    }
}
