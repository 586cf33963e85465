//! What is worth a line in the mail log. One variant is one line; the order of its fields is fixed here.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use envelope::{Diagnosis, LegId, Mailbox, MessageId, Reply, ReversePath, Timestamp};
use forwarder::Looping;

use forwarder::table::{Broken, Difference, Table};

use super::line::Fields;

/// An event of the mail log.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The daemon takes connections.
    Ready {
        listeners: Vec<SocketAddr>,
        queued: u64,
    },
    /// The daemon takes no more connections and finishes what runs.
    Stopping { reason: &'static str },
    /// Configuration, forwards and certificate were read again.
    Reloaded {
        forwards: u64,
        changes: Difference,
        /// Keys of the configuration that wait for a restart.
        restart: Vec<String>,
    },
    /// They could not be, and the old ones stay.
    ReloadFailed { error: String },
    /// The daemon starts with the last good forwards, for the file is bad.
    ForwardsKeptOut { error: String, forwards: u64 },
    /// A connection that was cut short, by us or by trouble.
    ConnectionClosed {
        client: SocketAddr,
        reason: String,
        open: Option<Unfinished>,
    },
    /// A command or a message was refused.
    Refused {
        id: Option<MessageId>,
        client: SocketAddr,
        hello: Option<String>,
        stage: &'static str,
        rule: &'static str,
        /// As typed, where no path could be read.
        sender: Option<String>,
        recipient: Option<String>,
        /// The verb, where neither of them is to blame.
        command: Option<String>,
        reply: Reply,
    },
    /// A message came in whole. It is answered 250 as soon as it is on stable storage; if that fails, a `refused` with
    /// its id follows.
    Received {
        id: MessageId,
        client: SocketAddr,
        hello: String,
        tls: Option<String>,
        sender: ReversePath,
        recipients: usize,
        size: u64,
        /// Bare CR and LF in it that became CRLF.
        normalized: u64,
        /// Parameters of MAIL and RCPT that were left out, with commas between.
        dropped: String,
    },
    /// One recipient became one target, under this sender.
    Forwarded {
        id: LegId,
        recipient: Mailbox,
        target: Mailbox,
        sender: ReversePath,
    },
    /// One recipient's mail was dropped, as its `:discard:` says.
    Discarded { id: MessageId, recipient: Mailbox },
    /// One target of a recipient was left out: the mail would have gone round.
    Looped { id: MessageId, looping: Looping },
    /// One target in a hosted domain was left out: it leads nowhere.
    DeadEnd { id: MessageId, broken: Broken },
    /// The next hop has it.
    Delivered { leg: Attempt, diagnosis: Diagnosis },
    /// It stays for another try.
    Deferred {
        leg: Attempt,
        diagnosis: Diagnosis,
        next: Timestamp,
    },
    /// It will not be tried again.
    Failed { leg: Attempt, diagnosis: Diagnosis },
    /// A notification is queued for the sender.
    Bounced {
        id: MessageId,
        kind: &'static str,
        bounce: MessageId,
        to: ReversePath,
    },
    /// No notification is sent, and why.
    NotBounced { id: MessageId, reason: &'static str },
    /// An operator did something to a leg.
    Operator {
        id: LegId,
        action: &'static str,
        /// `done`; or `pending`, for an attempt runs.
        outcome: &'static str,
        /// The user who asked.
        uid: u32,
        recipient: Mailbox,
        target: Mailbox,
    },
    /// No host of a site can be reached.
    SiteDown {
        site: String,
        error: String,
        probe_in: Duration,
    },
    /// It can again.
    SiteUp { site: String, down_for: Duration },
    /// It takes mail again, after it put all off for some time: these legs are tried now, and not only later.
    SiteTakesMail { site: String, legs: u64 },
    /// Lines of this log that were dropped because its reader is too slow.
    Dropped { lines: u64 },
}

/// A transaction that was lost with its connection.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    pub(crate) hello: Option<String>,
    pub(crate) sender: ReversePath,
    pub(crate) recipients: usize,
    /// Of what had come of the body; none before DATA.
    pub(crate) size: Option<u64>,
}

/// What the lines of a delivery attempt have in common.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) id: LegId,
    pub(crate) recipient: Mailbox,
    pub(crate) target: Mailbox,
    pub(crate) attempt: u32,
    /// Since the message came in.
    pub(crate) delay: Duration,
}

impl Event {
    /// What is loud in the mail log is loud on standard error, too.
    pub(crate) fn forwards_kept_out(error: &dyn Display, instead: &Table) -> Self {
        tracing::error!(%error, "starting with the last good forwards");
        Self::ForwardsKeptOut {
            error: error.to_string(),
            forwards: instead.stats().lines as u64,
        }
    }

    /// The event's name in the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Stopping { .. } => "stopping",
            Self::Reloaded { .. } => "reloaded",
            Self::ReloadFailed { .. } => "reload-failed",
            Self::ForwardsKeptOut { .. } => "forwards-kept-out",
            Self::ConnectionClosed { .. } => "connection-closed",
            Self::Refused { .. } => "refused",
            Self::Received { .. } => "received",
            Self::Forwarded { .. } => "forwarded",
            Self::Discarded { .. } => "discarded",
            Self::Looped { .. } => "looped",
            Self::DeadEnd { .. } => "dead-end",
            Self::Delivered { .. } => "delivered",
            Self::Deferred { .. } => "deferred",
            Self::Failed { .. } => "failed",
            Self::Bounced { .. } => "bounced",
            Self::NotBounced { .. } => "not-bounced",
            Self::Operator { .. } => "operator",
            Self::SiteDown { .. } => "site-down",
            Self::SiteUp { .. } => "site-up",
            Self::SiteTakesMail { .. } => "site-takes-mail",
            Self::Dropped { .. } => "dropped",
        }
    }

    /// The message it is about.
    pub(crate) fn message(&self) -> Option<MessageId> {
        match self {
            Self::Received { id, .. }
            | Self::Discarded { id, .. }
            | Self::Looped { id, .. }
            | Self::DeadEnd { id, .. }
            | Self::Bounced { id, .. }
            | Self::NotBounced { id, .. } => Some(*id),
            Self::Refused { id, .. } => *id,
            Self::Forwarded { id, .. } | Self::Operator { id, .. } => Some(id.message),
            Self::Delivered { leg, .. } | Self::Deferred { leg, .. } | Self::Failed { leg, .. } => {
                Some(leg.id.message)
            }
            _ => None,
        }
    }

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
                changes,
                restart,
            } => {
                out.number("forwards", *forwards);
                out.number("added", changes.added as u64);
                out.number("removed", changes.removed as u64);
                out.number("changed", changes.changed as u64);
                let restart = (!restart.is_empty()).then(|| restart.join(","));
                optional(out, "needs_restart", restart.as_ref());
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
            Self::Refused {
                client,
                hello,
                stage,
                rule,
                sender,
                recipient,
                command,
                reply,
                ..
            } => {
                out.text("client", client);
                optional(out, "hello", hello.as_ref());
                out.text("stage", stage);
                out.text("rule", rule);
                optional(out, "from", sender.as_ref());
                optional(out, "to", recipient.as_ref());
                optional(out, "command", command.as_ref());
                out.text("reply", reply);
            }
            Self::Received {
                client,
                hello,
                tls,
                sender,
                recipients,
                size,
                normalized,
                dropped,
                ..
            } => {
                out.text("client", client);
                out.text("hello", hello);
                optional(out, "tls", tls.as_ref());
                out.text("from", sender);
                out.number("recipients", *recipients as u64);
                out.number("size", *size);
                if *normalized > 0 {
                    out.number("normalized", *normalized);
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
            Self::Discarded { recipient, .. } => out.text("to", recipient),
            Self::Looped { looping, .. } => {
                out.text("to", &looping.recipient);
                out.text("target", &looping.target);
                out.text("passed", &looping.passed);
            }
            Self::DeadEnd { broken, .. } => {
                out.text("target", &broken.address);
                out.text("reason", &broken.fault.reply());
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
            Self::Operator {
                id,
                action,
                outcome,
                uid,
                recipient,
                target,
            } => {
                out.number("leg", u64::from(id.number));
                out.text("action", action);
                out.text("outcome", outcome);
                out.number("uid", u64::from(*uid));
                out.text("to", recipient);
                out.text("target", target);
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
            Self::Dropped { lines } => out.number("lines", *lines),
        }
    }
}

fn attempt(out: &mut dyn Fields, leg: &Attempt, diagnosis: &Diagnosis) {
    out.number("leg", u64::from(leg.id.number));
    out.text("to", &leg.recipient);
    out.text("target", &leg.target);
    optional(out, "host", diagnosis.host.as_ref());
    out.text("status", &diagnosis.status);
    optional(out, "reply", diagnosis.reply.as_ref());
    out.number("attempt", u64::from(leg.attempt));
    out.number(
        "delay_ms",
        u64::try_from(leg.delay.as_millis()).unwrap_or(u64::MAX),
    );
}

fn optional<T: Display>(out: &mut dyn Fields, key: &str, value: Option<&T>) {
    if let Some(value) = value {
        out.text(key, value);
    }
}
