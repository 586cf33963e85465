//! Which keys differ between two readings of the configuration, by what was typed.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// The keys, dotted and sorted: `queue.expire`. A table that can appear several times (`listener`) is one key.
pub(crate) fn changed_keys(old: &Table, new: &Table) -> Vec<String> {
    let (old, new) = (flat(old), flat(new));
    let mut keys: Vec<String> = old
        .iter()
        .filter(|(key, value)| new.get(*key) != Some(*value))
        .map(|(key, _)| key.clone())
        .chain(new.keys().filter(|key| !old.contains_key(*key)).cloned())
        .collect();
    keys.sort_unstable();
    keys
}

/// Whether a change of this key holds from a reload on. All others wait for a restart.
pub(crate) fn is_reloadable(key: &str) -> bool {
    match key.split_once('.') {
        // Who asks for certificates goes on asking for the same.
        Some(("tls", name)) if name.starts_with("acme") => false,
        Some(("forwards" | "policy" | "connect" | "tls" | "bounce" | "alerts" | "shaping", _)) => {
            true
        }
        Some(("srs", name)) => !matches!(name, "accept_nonnull" | "bounces_per_day"),
        _ => matches!(
            key,
            "tls"
                | "profile"
                | "limit"
                | "list"
                | "dnsbl"
                | "filter"
                | "tier"
                | "dkim"
                | "auth.users"
                | "auth.profile"
                | "auth.hide_client"
                | "limits.received_headers"
        ),
    }
}

/// All keys, dotted, with their values.
pub(crate) fn flat(table: &Table) -> BTreeMap<String, &Value> {
    let mut keys = BTreeMap::new();
    for (key, value) in table {
        match value {
            Value::Table(below) => {
                let below = flat(below).into_iter();
                keys.extend(below.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            _ => {
                keys.insert(key.clone(), value);
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_came_went_and_changed() {
        let old =
            "hostname = 'a'\n[queue]\nexpire = '5d'\nretry = ['1m']\n[[listener]]\nbind = 'a'";
        let new = "hostname = 'a'\n[queue]\nexpire = '4d'\n[log]\nformat = 'json'\n[[listener]]\nbind = 'b'";
        let (old, new): (Table, Table) = (old.parse().unwrap(), new.parse().unwrap());
        let expected = ["listener", "log.format", "queue.expire", "queue.retry"];
        assert_eq!(changed_keys(&old, &new), expected);
        assert!(changed_keys(&old, &old).is_empty());
    }
}
