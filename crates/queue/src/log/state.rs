//! What changes about a leg in its life: its state, as tagged fields.

use envelope::{Diagnosis, EnhancedStatus, Reply, Timestamp};

use crate::log::fields::{FieldReader, FieldWriter, Malformed, number, number32, text};
use crate::log::rows::decode_time;

/// What changes about a leg in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegState {
    pub(crate) due: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) warned: bool,
    pub(crate) held: bool,
    /// The operator wants it bounced.
    pub(crate) bounced: bool,
    /// Held because the message is damaged; `last` says how. Ends with the hold.
    pub(crate) damaged: bool,
    /// Of the last attempt.
    pub(crate) last: Option<Box<Diagnosis>>,
}

impl LegState {
    pub(super) fn write(&self, out: &mut FieldWriter) {
        out.number(STATE_DUE, self.due.unix_millis());
        let flags = [self.warned, self.held, self.bounced, self.damaged];
        let flags: u64 = (0u64..)
            .zip(flags)
            .map(|(n, bit)| u64::from(bit) << n)
            .sum();
        if self.attempts != 0 {
            out.number(STATE_ATTEMPTS, u64::from(self.attempts));
        }
        if flags != 0 {
            out.number(STATE_FLAGS, flags);
        }
        if let Some(last) = &self.last {
            out.nested(STATE_LAST, |out| write_diagnosis(out, last));
        }
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let (mut due, mut attempts, mut flags, mut last) = (None, 0, 0, None);
        for field in FieldReader(value) {
            match field? {
                (STATE_DUE, value) => due = Some(decode_time(value)?),
                (STATE_ATTEMPTS, value) => attempts = number32(value)?,
                (STATE_FLAGS, value) => flags = number(value)?,
                (STATE_WORDS, value) => last = Some(in_words(text(value)?)),
                (STATE_LAST, value) => last = Some(decode_diagnosis(value)?),
                _ => {}
            }
        }
        Ok(Self {
            due: due.ok_or(Malformed("state without a due time"))?,
            attempts,
            warned: flags & 1 != 0,
            held: flags & 2 != 0,
            bounced: flags & 4 != 0,
            damaged: flags & 8 != 0,
            last: last.map(Box::new),
        })
    }
}

fn write_diagnosis(out: &mut FieldWriter, last: &Diagnosis) {
    out.text(LAST_STATUS, &last.status.to_string());
    out.text(LAST_TEXT, &last.text);
    if let Some(host) = &last.host {
        out.text(LAST_HOST, host);
    }
    if let Some(reply) = &last.reply {
        out.number(LAST_CODE, u64::from(reply.code));
        if let Some(status) = reply.status {
            out.text(LAST_REPLY_STATUS, &status.to_string());
        }
        out.text(LAST_REPLY, &reply.text);
    }
}

fn decode_diagnosis(value: &[u8]) -> Result<Diagnosis, Malformed> {
    let mut last = Diagnosis::local(UNSAID, "");
    let (mut code, mut reply_status, mut reply) = (None, None, "");
    for field in FieldReader(value) {
        match field? {
            (LAST_STATUS, value) => last.status = decode_status(value)?,
            (LAST_TEXT, value) => last.text = text(value)?.to_owned(),
            (LAST_HOST, value) => last.host = Some(text(value)?.to_owned()),
            (LAST_CODE, value) => code = Some(number(value)?),
            (LAST_REPLY_STATUS, value) => reply_status = Some(decode_status(value)?),
            (LAST_REPLY, value) => reply = text(value)?,
            _ => {}
        }
    }
    if let Some(code) = code {
        last.reply = Some(Reply {
            code: u16::try_from(code).map_err(|_| Malformed("code of a reply"))?,
            status: reply_status,
            text: reply.to_owned(),
        });
    }
    Ok(last)
}

/// What an older Onward wrote: a line that began with the host, when one was talked to. Kept apart, because a sender may not
/// be told where a forward goes.
fn in_words(words: &str) -> Diagnosis {
    match words.split_once(": ") {
        Some((host, rest)) if !host.contains(' ') && host.contains('.') => Diagnosis {
            host: Some(host.to_owned()),
            ..Diagnosis::local(UNSAID, rest)
        },
        _ => Diagnosis::local(UNSAID, words),
    }
}

fn decode_status(value: &[u8]) -> Result<EnhancedStatus, Malformed> {
    text(value)?
        .parse()
        .map_err(|_| Malformed("not an enhanced status"))
}

const UNSAID: EnhancedStatus = EnhancedStatus::transient(0, 0);

const STATE_DUE: u8 = 1;
const STATE_ATTEMPTS: u8 = 2;
const STATE_FLAGS: u8 = 3;
/// Of an older Onward.
const STATE_WORDS: u8 = 4;
const STATE_LAST: u8 = 5;

const LAST_STATUS: u8 = 1;
const LAST_TEXT: u8 = 2;
const LAST_HOST: u8 = 3;
const LAST_CODE: u8 = 4;
const LAST_REPLY_STATUS: u8 = 5;
const LAST_REPLY: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &str, host: Option<&str>, text: &str) {
        let mut out = FieldWriter::default();
        out.number(STATE_DUE, 1);
        out.text(STATE_WORDS, words);
        let last = LegState::decode(&out.0).unwrap().last.unwrap();
        assert_eq!((last.host.as_deref(), last.text.as_str()), (host, text));
        assert_eq!((last.status, last.reply), (UNSAID, None));
    }

    #[test]
    fn words_of_an_older_onward() {
        let tail = "while sending RCPT TO: 450 later: x";
        let hosts = ["mx.test[192.0.2.1]:25", "[2001:db8::1.2.3.4]:25", "mx.test"];
        for host in hosts {
            check(&format!("{host}: {tail}"), Some(host), tail);
        }
        for words in ["cannot look up a.test: SERVFAIL", "damaged: checksum"] {
            check(words, None, words);
        }
    }
}
