//! The pressure on [`Sites`], and on mailboxes there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use envelope::{Claim, Destination, Mailbox};

use super::{SiteId, Sites};
use crate::pressure::{Pressure, Sign};

impl Sites {
    /// What became of legs of this site.
    pub(crate) fn learn_pressure<'a>(
        &mut self,
        id: SiteId,
        signs: impl Iterator<Item = (&'a Claim, Sign)>,
        now: Instant,
    ) {
        let Some(site) = self.sites.get_mut(&id) else {
            return;
        };
        for (claim, sign) in signs {
            let target = &claim.leg.target;
            let pressure = match sign {
                Sign::SiteThrottled => site.pressure.get_or_insert_with(|| Pressure::new(now)),
                Sign::MailboxFull => {
                    if self.full.len() >= FULL_MAX && !self.full.contains_key(target) {
                        continue;
                    }
                    let full = self.full.entry(target.clone());
                    full.or_insert_with(|| Pressure::new(now))
                }
                Sign::Ended => {
                    site.pressure.take_if(|of| of.ended(claim, now));
                    if self
                        .full
                        .get_mut(target)
                        .is_some_and(|of| of.ended(claim, now))
                    {
                        self.full.remove(target);
                    }
                    continue;
                }
                Sign::None => continue,
            };
            pressure.put_off(claim, now);
            self.pressed.store(true, Ordering::Relaxed);
        }
    }

    /// See [`Dispatcher::pressure`](crate::Dispatcher::pressure).
    pub(crate) fn pressure(
        &mut self,
        target: &Mailbox,
        to: &Destination,
        messages: f64,
        now: Instant,
    ) -> u8 {
        let site = self.known(to).and_then(|id| self.sites.get_mut(&id));
        let of_site = site.and_then(|site| site.pressure.as_mut());
        let both = of_site.into_iter().chain(self.full.get_mut(target));
        let shares = both.map(|pressure| {
            pressure.asked(messages, now);
            pressure.share(now)
        });
        shares.max().unwrap_or(0)
    }

    /// See [`Dispatcher::pressed`](crate::Dispatcher::pressed).
    pub(crate) fn pressed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pressed)
    }

    /// Forgets what is too old to say anything.
    pub(super) fn sweep_pressure(&mut self, now: Instant) {
        let mut pressed = false;
        for site in self.sites.values_mut() {
            site.pressure.take_if(|pressure| pressure.is_stale(now));
            pressed |= site.pressure.is_some();
        }
        self.full.retain(|_, pressure| !pressure.is_stale(now));
        pressed |= !self.full.is_empty();
        self.pressed.store(pressed, Ordering::Relaxed);
    }
}

/// Mailboxes that are remembered at once; mail for more of them is not put off.
const FULL_MAX: usize = 10_000;
