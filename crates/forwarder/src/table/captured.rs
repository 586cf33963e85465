//! Hosted domains that take mail which lines of other domains send there: somebody may have entered `gmail.com` as his own.

use std::collections::{BTreeMap, BTreeSet};

use envelope::Domain;

use super::Table;
use super::line::{Action, Goal, Line};
use crate::fold::fold;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Which.
    pub domain: Domain,
    /// The file that hosts it.
    pub file: String,
    /// How many lines of other domains lead there.
    pub lines: usize,
}

impl Table {
    /// Domains to which lines of others lead for addresses that have no line of their own there: their mail is refused, or goes to a
    /// catch-all. The most lines come first.
    pub fn captured(&self) -> Vec<Captured> {
        self.led_to(|_, goal, domain| {
            let Goal::Address(address) = goal else {
                return false;
            };
            let local = fold(address.local_part().as_str());
            let plain = local.split_once('+').map_or(&*local, |(plain, _)| plain);
            let mut own = [&local, plain].into_iter();
            !own.any(|local| self.find_local(local, domain).is_some())
        })
    }

    /// Domains that `before` does not host, to which lines of domains lead that it does; by whatever line their mail goes on.
    pub fn captured_since(&self, before: &Self) -> Vec<Captured> {
        if self.domain_names().all(|domain| before.hosts(&domain)) {
            return Vec::new();
        }
        self.led_to(|line, _, domain| !before.hosts(domain) && before.hosts(&line.key.domain))
    }

    /// Hosted domains to which lines of others lead that count.
    fn led_to(&self, counts: impl Fn(&Line, &Goal, &Domain) -> bool) -> Vec<Captured> {
        let mut lines: BTreeMap<usize, usize> = BTreeMap::new();
        for (_, line) in self.all_lines() {
            let Action::Targets(goals) = &line.action else {
                continue;
            };
            let led = goals.iter().filter_map(|goal| {
                let domain = match goal {
                    Goal::Address(address) => address.domain()?,
                    Goal::SameLocalPart(domain) => domain,
                };
                let number = self.domain_number(domain)?;
                (*domain != line.key.domain && counts(&line, goal, domain)).then_some(number)
            });
            for number in led.collect::<BTreeSet<_>>() {
                *lines.entry(number).or_default() += 1;
            }
        }
        let captured = lines.into_iter().filter_map(|(number, lines)| {
            let at = self.domains[number].name_at as usize;
            Some(Captured {
                domain: self.name_of(&self.domains[number])?,
                file: self.part_of(at).name.to_string(),
                lines,
            })
        });
        let mut captured: Vec<_> = captured.collect();
        captured.sort_by_key(|one| std::cmp::Reverse(one.lines));
        captured
    }
}
