//! Where the certificate of an ACME server goes: to the holder that clients are shown it from, with news for the mail log and for
//! `status`. Nothing else is read again.

use std::sync::Arc;

use acme::{Issuer, News, Settings, Shows};
use control::Issuing;
use envelope::Timestamp;
use journal::{Event, Journal};
use parking_lot::Mutex;
use smtp_in::tls::{self, Holder};
use spool::Clock;

/// What `status` and the doctor know of it.
pub(crate) type State = Arc<Mutex<Issuing>>;

struct Shown {
    holder: Holder,
    state: State,
    journal: Journal,
    clock: Clock,
}

/// Shows what there is at once, and gives who will ask for more, if that is wanted.
pub(crate) fn open(
    settings: Option<Settings>,
    holder: &Option<Holder>,
    journal: &Journal,
    clock: &Clock,
) -> Result<(Option<Issuer>, Option<State>), String> {
    let (Some(settings), Some(holder)) = (settings, holder.clone()) else {
        return Ok((None, None));
    };
    let state = Arc::new(Mutex::new(Issuing {
        domains: settings.domains.clone(),
        next: clock.now(),
        error: None,
        expires: None,
    }));
    let shown = Shown {
        holder,
        state: Arc::clone(&state),
        journal: journal.clone(),
        clock: clock.clone(),
    };
    let issuer = Issuer::open(settings, Box::new(shown));
    let issuer = issuer.map_err(|error| format!("`tls.acme`: {error}"))?;
    Ok((Some(issuer), Some(state)))
}

impl Shows for Shown {
    fn show(&self, chain: &str, key: &str) -> Result<(), String> {
        let certificate = tls::load(chain.as_bytes(), key.as_bytes());
        self.holder
            .issue(certificate.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn tell(&self, news: News) {
        let mut state = self.state.lock();
        (state.next, state.expires) = (news.next, news.expires);
        if let Some(outcome) = news.outcome {
            state.error = outcome.err();
            let Issuing {
                domains,
                next,
                error,
                expires,
            } = state.clone();
            self.journal.record(Event::Certificate {
                domains,
                error,
                next,
                expires,
            });
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
