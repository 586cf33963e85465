//! Every refusal has a line in the mail log, with the rule that refused.

use counters::Of;
use envelope::Reply;
use journal::Event;
use policy::{Stage, Standing};
use smtp::server::Refusal;
use smtp_in::Client;
use spool::Spool;

use super::{Visit, hello};
use crate::counting::{client_keys, counts};
use crate::replies;

impl<S: Spool> Visit<S> {
    /// The protocol refused, and policy was not asked.
    pub(super) fn log_protocol(&mut self, client: &Client, refusal: Refusal) {
        let Refusal {
            stage,
            rule,
            typed,
            reply,
        } = refusal;
        let sender = self.case.transaction.reverse_path.as_ref();
        let sender = sender.map(ToString::to_string);
        let typed = Some(typed.into_string()).filter(|typed| !typed.is_empty());
        let (sender, recipient, command) = match stage {
            "mail" => (typed, None, None),
            "rcpt" => (sender, typed, None),
            _ => (sender, None, typed),
        };
        self.log_refused(Event::Refused {
            id: None,
            client: client.peer,
            client_name: self.name.known(),
            listener: client.local,
            hello: hello(client),
            stage,
            rule,
            sender,
            recipient,
            user: self.user(),
            command,
            reply,
        });
    }

    /// The spool failed: the client is told to try again later, the operator is told why.
    pub(super) fn not_stored(
        &mut self,
        stage: Stage,
        client: &Client,
        error: &spool::Error,
    ) -> Reply {
        tracing::error!(%error, "message not taken");
        let reply = match error {
            spool::Error::Full(_) => replies::spool_full(),
            _ => replies::spool_trouble(),
        };
        self.log_refusal(stage, client, "spool", &reply);
        reply
    }

    /// Policy refused.
    pub(super) fn log_refusal(
        &mut self,
        stage: Stage,
        client: &Client,
        rule: &'static str,
        reply: &Reply,
    ) {
        let transaction = &self.case.transaction;
        let recipient = match stage {
            Stage::Rcpt => self.case.recipient.path.as_ref(),
            // All of policy's rules here are about SRS addresses.
            Stage::Data if rule != "spool" => transaction.returns.first().map(|(path, _)| path),
            _ => None,
        };
        self.log_refused(Event::Refused {
            id: self.id,
            client: client.peer,
            client_name: self.name.known(),
            listener: client.local,
            hello: hello(client),
            stage: stage.name(),
            rule,
            sender: transaction.reverse_path.as_ref().map(ToString::to_string),
            recipient: recipient.map(ToString::to_string),
            user: self.user(),
            command: None,
            reply: reply.clone(),
        });
    }

    /// Who logged in, or tries to.
    fn user(&self) -> Option<String> {
        let user = self.case.client.user.as_ref().map(|user| &user.name);
        let name = self.case.login.name.as_ref().or(user);
        name.map(|name| name.to_string())
    }

    /// Counts what is refused for good, whoever has a line for it. What is only put off counts for nobody: it is trouble of ours,
    /// or follows from a limit, and a freeze would bring the next. Nor is a trusted client's address ever frozen: it sends for many.
    fn count_refusal(&self, refused: &Event) {
        let Event::Refused {
            client,
            user,
            reply,
            ..
        } = refused
        else {
            return;
        };
        let limits = &self.routing().limits;
        let is_counted = reply.code >= 500 && self.case.client.standing != Standing::Trusted;
        if is_counted && counts(limits, Of::Refusals) {
            let address = (!self.case.client.is_trusted).then(|| client.ip());
            let keys = client_keys(address, user.as_deref());
            let (counting, now) = (&self.inbound.counting, self.inbound.clock.now());
            counting.count(limits, Of::Refusals, &keys, 1, now);
        }
    }

    /// Whether it is a client of a flood that was refused before its greeting, and needs no line of its own.
    fn is_one_of_many(&self, refused: &Event) -> bool {
        match refused {
            Event::Refused {
                client,
                stage: "connect",
                rule,
                ..
            } => !self.inbound.turned_away.has_line(rule, client.ip()),
            _ => false,
        }
    }

    /// After [`REFUSALS_LOGGED_MAX`] lines, further refusals of a client are only counted, so that it cannot fill the disk.
    /// A message that was logged as received always gets a line.
    fn log_refused(&mut self, refused: Event) {
        self.count_refusal(&refused);
        if self.is_one_of_many(&refused) {
            return;
        }
        self.refusals += u64::from(self.id.is_none());
        if self.refusals <= REFUSALS_LOGGED_MAX || self.id.is_some() {
            self.inbound.journal.record(refused);
        }
    }
}

/// Refusals of one connection that have a line of their own. Those of 5xx end it long before.
pub(super) const REFUSALS_LOGGED_MAX: u64 = 100;
