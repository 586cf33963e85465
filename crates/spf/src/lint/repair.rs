//! Terms that cannot be read, and what was meant.

use super::walk::Walk;
use crate::macros::printable;
use crate::record::{Mechanism, Term};

/// The first of the usual mistakes that explains the term. A name is completed only if DNS knows the whole one.
pub(super) fn repair(walk: &mut Walk<'_>, term: &str, domain: &str) -> Option<(String, Term)> {
    let term = term.trim_matches(|c: char| ";,.\"'".contains(c) || !c.is_ascii());
    let plain = term.strip_prefix(['-', '~', '?', '+']).unwrap_or(term);
    let qualifier = &term[..term.len() - plain.len()];
    let (name, argument) = plain.split_once([':', '=']).unwrap_or(("a", plain));
    let guesses = [
        plain.to_owned(),
        format!("ip4:{plain}"),
        format!("ip6:{plain}"),
        format!("ip4:{argument}"),
        format!("ip6:{argument}"),
        format!("{name}:{argument}"),
        format!("{name}={argument}"),
        format!("{name}:{argument}.{domain}"),
    ];
    guesses.into_iter().find_map(|guess| {
        let words = format!("{qualifier}{guess}");
        let term = printable(words.as_bytes()).and_then(Term::parse).ok()?;
        let must_exist = guess.contains(argument) && (name == "a" || guess.ends_with(domain));
        let is_meant = match &term {
            Term::Unknown => false,
            Term::Directive(_, Mechanism::Network(..) | Mechanism::All) => true,
            Term::Directive(verdict, mechanism) if must_exist => {
                let node = walk.directive(&words, *verdict, mechanism, domain);
                node.fault.is_none_or(|fault| !fault.is_fatal())
            }
            _ => true,
        };
        is_meant.then_some((words, term))
    })
}
