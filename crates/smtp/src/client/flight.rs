//! A transaction in flight: two indices, sent and answered, walk over one list of steps, and neither ever goes back.
//!
//! The steps are MAIL, one RCPT for each recipient that can go at all, then DATA and the dot, unless nothing but the
//! replies to RCPT is wanted. With LMTP there is a dot for each recipient whose RCPT was accepted: sent once, answered once for
//! each (RFC 2033 §4.2). With PIPELINING, `sent` runs ahead as far as the next thing that must be waited for (RFC 2920 §3.1): MAIL, all RCPT and
//! DATA leave in one group. Without it, each step waits for the reply to the one before.
//!
//! A reply always belongs to the oldest unanswered step. An outcome, once set, stays: the first thing that decides a
//! recipient is the true reason. It does not know the connection: greeting, EHLO and RSET are the session's.

use envelope::{BodyKind, Diagnosis, Outcome, Reply};

use super::phases::Phase;
use super::{Settings, Transaction, commands, outcomes};
use crate::dot::{BareNewline, Encoder};
use crate::extensions::Capabilities;

/// What is known of a running transaction.
#[derive(Debug)]
pub(super) struct Flight {
    transaction: Transaction,
    /// One for each recipient; `None` is undecided.
    outcomes: Vec<Option<Outcome>>,
    /// The recipients that have a RCPT step.
    rcpts: Vec<usize>,
    /// With LMTP, those whose RCPT was accepted: each gets a reply to the body.
    accepted: Option<Vec<usize>>,
    smtputf8: bool,
    pipelining: bool,
    dsn: bool,
    sent: usize,
    answered: usize,
    mail_accepted: bool,
    body: Body,
}

/// How far the body is.
#[derive(Debug)]
enum Body {
    /// Not asked for.
    NotYet,
    /// Going out.
    Dotted(Encoder),
    /// All sent.
    Sent,
}

/// What the session does after a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Waits on.
    Wait,
    /// Asks for the body.
    WantBody,
    /// The transaction is over and nothing is left behind at the peer.
    Over,
    /// The transaction is over, and RSET is needed before the next.
    OverAndReset,
    /// The transaction is over, and the connection with it.
    Close(Diagnosis),
}

impl Flight {
    /// Decides at once what the peer cannot take; see [`Flight::is_decided`].
    pub(super) fn new(
        transaction: Transaction,
        peer: &Capabilities,
        settings: &Settings,
        lmtp: bool,
    ) -> Self {
        let reason = reason_against(&transaction, peer, settings);
        let decide = |target: &envelope::Mailbox| match &reason {
            Some(reason) => Some(Outcome::Failed(reason.clone())),
            None if target.is_ascii() || peer.smtputf8 => None,
            None => Some(Outcome::Failed(outcomes::peer_lacks_smtputf8())),
        };
        let outcomes: Vec<_> = transaction
            .recipients
            .iter()
            .map(|r| decide(&r.target))
            .collect();
        let rcpts = (0..outcomes.len())
            .filter(|at| outcomes[*at].is_none())
            .collect();
        let recipients_ascii = transaction.recipients.iter().all(|r| r.target.is_ascii());
        let smtputf8 = peer.smtputf8 && (needs_smtputf8(&transaction) || !recipients_ascii);
        Self {
            outcomes,
            rcpts,
            accepted: lmtp.then(Vec::new),
            smtputf8,
            pipelining: peer.pipelining,
            dsn: peer.dsn,
            sent: 0,
            answered: 0,
            mail_accepted: false,
            body: Body::NotYet,
            transaction,
        }
    }

    /// Whether every recipient has its outcome.
    pub(super) fn is_decided(&self) -> bool {
        self.outcomes.iter().all(Option::is_some)
    }

    /// What is waited for.
    pub(super) fn phase(&self) -> Phase {
        if self.answered < self.sent {
            self.step(self.answered)
        } else {
            Phase::Body
        }
    }

    /// Whether this reply to the oldest command may be about the connection, or about us, and not about the message. A
    /// refused MAIL says nothing of a recipient that was only asked about.
    pub(super) fn is_turned_away_by(&self, code: u16) -> bool {
        let phase = self.phase();
        let unasked = self.transaction.rcpt_only && phase == Phase::Mail && code >= 400;
        unasked || phase.is_turned_away_by(code)
    }

    /// Writes the commands that may go now.
    pub(super) fn pump(&mut self, peer: &Capabilities, out: &mut Vec<u8>) {
        while self.pipelining || self.sent == self.answered {
            match self.step(self.sent) {
                Phase::Mail => commands::mail(&self.transaction, peer, self.smtputf8, out),
                Phase::Rcpt(number) => {
                    let recipient = &self.transaction.recipients[self.rcpts[number]];
                    commands::rcpt(recipient, peer, self.smtputf8, out);
                }
                Phase::Data => commands::end("DATA", out),
                _ => return,
            }
            self.sent += 1;
        }
    }

    /// Takes the reply to the oldest command that has none.
    pub(super) fn reply(&mut self, reply: &Reply, peer: &Capabilities, out: &mut Vec<u8>) -> Next {
        if self.answered == self.sent {
            return self.unasked(reply);
        }
        let phase = self.step(self.answered);
        self.answered += 1;
        if reply.code == 421 {
            // The peer closes, whatever else was sent (RFC 5321 §3.8).
            let diagnosis = outcomes::diagnosis(reply, phase);
            self.decide_rest(&Outcome::Deferred(diagnosis.clone()));
            return Next::Close(diagnosis);
        }
        match phase {
            Phase::Mail => self.mail_reply(reply),
            Phase::Rcpt(number) => self.rcpt_reply(reply, number),
            Phase::Data => return self.data_reply(reply, out),
            _ => return self.dot_reply(&outcomes::from_reply(reply, phase)),
        }
        self.after_group(peer, out)
    }

    /// Sends a piece of the body. On an error nothing of it that could end the body early was sent.
    pub(super) fn send_body(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), BareNewline> {
        match &mut self.body {
            Body::Dotted(encoder) => encoder.encode(chunk, out),
            Body::NotYet | Body::Sent => Ok(()),
        }
    }

    /// Ends the body.
    pub(super) fn finish_body(&mut self, out: &mut Vec<u8>) -> Result<(), BareNewline> {
        match std::mem::replace(&mut self.body, Body::Sent) {
            Body::Dotted(encoder) => {
                encoder.finish(out)?;
                self.sent += self.accepted.as_ref().map_or(1, Vec::len);
            }
            other => self.body = other,
        }
        Ok(())
    }

    /// Whether more of the body may come.
    pub(super) fn wants_body(&self) -> bool {
        matches!(self.body, Body::Dotted(_))
    }

    /// Gives every undecided recipient this outcome.
    pub(super) fn decide_rest(&mut self, outcome: &Outcome) {
        for slot in self.outcomes.iter_mut().filter(|slot| slot.is_none()) {
            *slot = Some(outcome.clone());
        }
        self.body = Body::Sent;
    }

    /// One outcome for each recipient, in order.
    pub(super) fn into_outcomes(self) -> Vec<Outcome> {
        let recipients = self.transaction.recipients.iter();
        let decided = recipients.zip(self.outcomes).map(|(recipient, outcome)| {
            let mut outcome = outcome.unwrap_or_else(|| {
                unreachable!("a transaction ends only when every recipient is decided")
            });
            if let Outcome::Delivered(diagnosis) = &mut outcome {
                diagnosis.dsn_relayed = self.dsn && recipient.notify.is_some();
            }
            outcome
        });
        decided.collect()
    }

    /// The list of steps: MAIL, the RCPTs, DATA, the dot.
    fn step(&self, index: usize) -> Phase {
        let rcpts_end = 1 + self.rcpts.len();
        match index {
            0 => Phase::Mail,
            _ if index < rcpts_end => Phase::Rcpt(index - 1),
            _ if index == rcpts_end && !self.transaction.rcpt_only => Phase::Data,
            _ => match self.body {
                Body::NotYet | Body::Dotted(_) => Phase::Body,
                _ => Phase::Dot,
            },
        }
    }

    /// A refused MAIL decides everybody; the replies to what was pipelined behind it are read over.
    fn mail_reply(&mut self, reply: &Reply) {
        if reply.is_success() {
            self.mail_accepted = true;
        } else {
            self.decide_rest(&outcomes::from_reply(reply, Phase::Mail));
        }
    }

    /// A 2xx decides nothing yet: the reply to the end of the body does, where there is one.
    fn rcpt_reply(&mut self, reply: &Reply, number: usize) {
        let recipient = self.rcpts[number];
        if let Some(accepted) = self.accepted.as_mut().filter(|_| reply.is_success()) {
            accepted.push(recipient);
        }
        let slot = &mut self.outcomes[recipient];
        let decides = !reply.is_success() || self.transaction.rcpt_only;
        if slot.is_none() && decides {
            *slot = Some(outcomes::from_reply(reply, Phase::Rcpt(number)));
        }
    }

    /// The dot ends the transaction, whatever the reply; with LMTP the reply for the last recipient does.
    fn dot_reply(&mut self, outcome: &Outcome) -> Next {
        if let Some(accepted) = &self.accepted {
            let dot = accepted.len() - 1 - (self.sent - self.answered);
            self.outcomes[accepted[dot]].get_or_insert_with(|| outcome.clone());
            if self.answered < self.sent {
                return Next::Wait;
            }
        }
        self.decide_rest(outcome);
        Next::Over
    }

    /// Behind MAIL and each RCPT: send on, or end when there is nobody left.
    fn after_group(&mut self, peer: &Capabilities, out: &mut Vec<u8>) -> Next {
        if self.answered < self.sent {
            return Next::Wait;
        }
        if self.is_decided() {
            return self.over();
        }
        self.pump(peer, out);
        Next::Wait
    }

    fn data_reply(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Next {
        if !matches!(reply.code, 300..=399) {
            // A 2xx to DATA makes no sense; nothing was delivered.
            let outcome = match outcomes::from_reply(reply, Phase::Data) {
                Outcome::Delivered(_) => {
                    let diagnosis = outcomes::protocol_error("2xx to DATA", Phase::Data);
                    self.decide_rest(&Outcome::Deferred(diagnosis.clone()));
                    return Next::Close(diagnosis);
                }
                other => other,
            };
            self.decide_rest(&outcome);
            return self.over();
        }
        if self.is_decided() {
            if self.accepted.is_some() {
                // Whether it answers an empty message, to nobody, is not known (RFC 2033 §4.2): no reply must be taken for another.
                let what = "3xx to DATA without recipients";
                return Next::Close(outcomes::protocol_error(what, Phase::Data));
            }
            // A 354 though nobody is left: an empty message ends it, and its reply changes nothing (RFC 2920 §3.1).
            out.extend_from_slice(b".\r\n");
            self.body = Body::Sent;
            self.sent += 1;
            return Next::Wait;
        }
        self.body = Body::Dotted(Encoder::default());
        Next::WantBody
    }

    /// The end without a body. An accepted MAIL is still open at the peer (RFC 5321 §4.1.1.5).
    fn over(&self) -> Next {
        if self.mail_accepted {
            Next::OverAndReset
        } else {
            Next::Over
        }
    }

    /// A reply in the middle of our body. A refusal is believed, but a body cannot be broken off.
    fn unasked(&mut self, reply: &Reply) -> Next {
        let diagnosis = outcomes::diagnosis(reply, Phase::Body);
        let (outcome, reason) = match reply.code {
            400..=499 => (Outcome::Deferred(diagnosis.clone()), diagnosis),
            500..=599 => (Outcome::Failed(diagnosis.clone()), diagnosis),
            _ => {
                let reason = outcomes::protocol_error("a reply without a command", Phase::Body);
                (Outcome::Deferred(reason.clone()), reason)
            }
        };
        self.decide_rest(&outcome);
        Next::Close(reason)
    }
}

/// Why the peer cannot take this message for anybody.
fn reason_against(
    transaction: &Transaction,
    peer: &Capabilities,
    settings: &Settings,
) -> Option<Diagnosis> {
    if let Some(limit) = peer.size.filter(|limit| transaction.size > *limit) {
        return Some(outcomes::over_peer_size(transaction.size, limit));
    }
    if needs_smtputf8(transaction) && !peer.smtputf8 {
        return Some(outcomes::peer_lacks_smtputf8());
    }
    if transaction.require_tls && !peer.require_tls {
        return Some(outcomes::peer_lacks_require_tls());
    }
    let eight_bit = transaction.body == BodyKind::EightBitMime;
    if eight_bit && !peer.eight_bit_mime && !settings.eight_bit_anyway {
        return Some(outcomes::peer_lacks_eight_bit());
    }
    None
}

fn needs_smtputf8(transaction: &Transaction) -> bool {
    let reverse = transaction.reverse_path.mailbox();
    transaction.smtputf8 || reverse.is_some_and(|mailbox| !mailbox.is_ascii())
}
