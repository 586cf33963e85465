//! What several nodes know of sites, as one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use control::{SiteDetails, SiteRow, Sites};

use super::{DETAILED_MAX, SITES_MAX, UP, sort};

/// Each node's.
pub(super) fn sites(said: impl Iterator<Item = Sites>) -> Sites {
    let (mut rows, mut whole) = (BTreeMap::<String, SiteRow>::new(), Sites::default());
    for one in said {
        for row in one.sites {
            match rows.get_mut(&row.site) {
                Some(found) => add(found, &row),
                None => drop(rows.insert(row.site.clone(), row)),
            }
        }
        whole.more = whole.more.max(one.more);
        // All nodes have the same; each knows some of the sites that they hold for.
        for order in one.orders {
            let is_same = |other: &&mut control::Order| {
                (&other.order, &other.site) == (&order.order, &order.site)
            };
            match whole.orders.iter_mut().find(is_same) {
                Some(found) => add_names(&mut found.sites, order.sites),
                None => whole.orders.push(order),
            }
        }
    }
    whole.sites = rows.into_values().collect();
    sort(&mut whole.sites);
    whole.more += whole.sites.len().saturating_sub(SITES_MAX) as u64;
    whole.sites.truncate(SITES_MAX);
    whole
}

/// Each node's.
pub(super) fn details(said: impl Iterator<Item = Vec<SiteDetails>>) -> Vec<SiteDetails> {
    let mut sites = Vec::<SiteDetails>::new();
    for one in said.flatten() {
        // Sites of one name may be several, as for TLS.
        let is_same = |other: &&mut SiteDetails| {
            let of = |it: &SiteDetails| {
                let row = &it.row;
                (
                    row.site.clone(),
                    it.hosts.clone(),
                    it.tls.clone(),
                    it.egress.clone(),
                )
            };
            of(other) == of(&one)
        };
        let Some(found) = sites.iter_mut().find(is_same) else {
            sites.push(one);
            continue;
        };
        add(&mut found.row, &one.row);
        found.resting.extend(one.resting);
        add_names(&mut found.domains, one.domains);
        found.domains_count = found.domains_count.max(one.domains_count);
        for (code, n) in one.codes {
            match found.codes.iter_mut().find(|(other, _)| *other == code) {
                Some((_, sum)) => *sum += n,
                None => found.codes.push((code, n)),
            }
        }
        found.codes.sort_by_key(|(_, n)| Reverse(*n));
        found.replies.extend(one.replies);
        found.replies.sort_by_key(|reply| Reverse(reply.at));
    }
    sites.sort_by_key(|site| Reverse(site.row.queued));
    sites.truncate(DETAILED_MAX);
    sites
}

/// The worst that a node knows of it; each has connections of its own.
fn add(row: &mut SiteRow, other: &SiteRow) {
    if row.state == UP {
        row.state.clone_from(&other.state);
        row.why.clone_from(&other.why);
    }
    row.connections += other.connections;
    row.connections_max += other.connections_max;
    row.queued = row.queued.max(other.queued);
    row.delivered += other.delivered;
    row.deferred += other.deferred;
    row.failed += other.failed;
}

fn add_names(names: &mut Vec<String>, more: Vec<String>) {
    names.extend(more);
    names.sort();
    names.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(site: &str, state: &str, connections: u64, queued: u64) -> SiteRow {
        SiteRow {
            site: site.to_owned(),
            state: state.to_owned(),
            why: String::new(),
            connections,
            connections_max: 5,
            per_minute: None,
            queued,
            delivered: 1,
            deferred: 2,
            failed: 3,
        }
    }

    #[test]
    fn sites_of_one_name_are_one() {
        let of = |sites: Vec<SiteRow>| Sites {
            sites,
            ..Sites::default()
        };
        let one = of(vec![row("a", "up", 2, 7), row("b", "up", 1, 0)]);
        let two = of(vec![row("a", "down", 0, 7), row("c", "up", 1, 9)]);
        let whole = sites([one, two].into_iter());
        let rows = whole.sites.iter();
        let shown = rows.map(|it| (&*it.site, &*it.state, it.connections, it.queued, it.failed));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                ("a", "down", 2, 7, 6),
                ("c", "up", 1, 9, 3),
                ("b", "up", 1, 0, 3)
            ]
        );
    }
}
