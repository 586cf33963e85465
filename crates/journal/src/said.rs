//! What sites answered, for operators who ask why mail to one is slow. Bounded: peers choose their codes and words.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use envelope::{Class, Diagnosis, EnhancedStatus, Timestamp};

/// The answers of one site since the start.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Legs by the code of their reply, 0 without one, and the enhanced status.
    codes: HashMap<(u16, EnhancedStatus), u64>,
    /// The last ones that were not 2xx, the newest first.
    pub last: VecDeque<(Timestamp, Diagnosis)>,
}

impl Said {
    pub(crate) fn add(&mut self, at: Timestamp, diagnosis: &Diagnosis) {
        let reply = diagnosis.reply.as_ref();
        let code = (reply.map_or(0, |reply| reply.code), diagnosis.status);
        if self.codes.len() < CODES_MAX || self.codes.contains_key(&code) {
            *self.codes.entry(code).or_default() += 1;
        }
        if diagnosis.status.class != Class::Success {
            let diagnosis = diagnosis.clone().clipped(WORDS_OCTETS);
            self.last.push_front((at, diagnosis));
            self.last.truncate(LAST_KEPT);
        }
    }

    /// Legs by code, most first: `451 4.7.1`; without a reply, what it came to: `4.4.2`.
    pub fn codes(&self) -> Vec<(String, u64)> {
        let mut codes: Vec<_> = self.codes.iter().collect();
        codes.sort_by_key(|(code, legs)| (Reverse(**legs), code.0));
        let named = |((code, status), legs): (&(u16, EnhancedStatus), &u64)| match code {
            0 => (status.to_string(), *legs),
            code => (format!("{code} {status}"), *legs),
        };
        codes.into_iter().map(named).collect()
    }
}

const CODES_MAX: usize = 40;
const LAST_KEPT: usize = 5;
/// Octets of each text.
const WORDS_OCTETS: usize = 256;

#[cfg(test)]
mod tests {
    use envelope::Reply;

    use super::*;

    #[test]
    fn counted_and_bounded() {
        let mut said = Said::default();
        for n in 0..1000u16 {
            let status = EnhancedStatus::transient(7, n);
            let reply = Some(Reply::new(451, status, "x".repeat(1000)));
            let deferred = Diagnosis {
                reply,
                ..Diagnosis::local(status, "later")
            };
            let at = Timestamp::from_unix_millis(n.into());
            said.add(at, &deferred);
            said.add(at, &Diagnosis::local(EnhancedStatus::success(0, 0), ""));
        }
        let codes = said.codes();
        assert_eq!((codes.len(), said.last.len()), (CODES_MAX, LAST_KEPT));
        assert_eq!(codes[0], ("2.0.0".to_owned(), 1000));
        assert!(codes.contains(&("451 4.7.1".to_owned(), 1)));
        let (at, last) = &said.last[0];
        assert!(at.unix_millis() == 999 && last.to_string().len() < 1000);
    }
}
