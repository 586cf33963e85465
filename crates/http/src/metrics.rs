//! `/metrics`: the status of the daemon in the text format of Prometheus. Nothing is counted for it that is not counted anyway.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::Duration;

use control::{Delays, SiteRow, Status};
use envelope::Timestamp;
use parking_lot::Mutex;

/// The sites that have a label, with their counts, and the counts of all others: a counter must never go back, whichever sites a
/// status happens to name.
#[derive(Default)]
pub(crate) struct Shown(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    sites: BTreeMap<String, Results>,
    others: Results,
}

/// Legs by result, and what that was about.
type Results = BTreeMap<(String, String), u64>;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole page.
pub(crate) fn text(status: &Status, sites: &[SiteRow], shown: &Shown, wrong_tokens: u64) -> String {
    let mut page = Page::default();
    let mut shown = shown.0.lock();
    shown.update(status);
    queue(&mut page, status);
    mail(&mut page, status, &shown);
    page.begin("onward_site_up", "Whether a site takes connections");
    for row in sites
        .iter()
        .filter(|row| shown.sites.contains_key(&row.site))
    {
        page.sample(&[("site", &row.site)], u8::from(row.state != "down"));
    }
    health(&mut page, status);
    page.one(
        "onward_http_wrong_tokens_total",
        "Tokens tried that are none",
        wrong_tokens,
    );
    page.text
}

fn queue(page: &mut Page, status: &Status) {
    let queue = &status.queue;
    page.begin("onward_queue_legs", "Legs in the queue");
    page.sample(&[("state", "waiting")], queue.waiting);
    page.sample(&[("state", "active")], queue.active);
    page.sample(&[("state", "held")], queue.held);
    let age = queue
        .oldest
        .map_or(0, |oldest| status.now.since(oldest).as_secs());
    page.one(
        "onward_queue_oldest_seconds",
        "Age of the oldest message",
        age,
    );
    page.one(
        "onward_frozen",
        "Keys that are frozen because they broke a limit",
        status.frozen,
    );
    page.one(
        "onward_drained",
        "Whether no mail is taken",
        u8::from(status.drained),
    );
}

fn mail(page: &mut Page, status: &Status, shown: &Counts) {
    page.begin("onward_received_total", "Messages taken");
    for row in &status.received {
        let labels = [("listener", &*row.listener), ("tls", &*row.tls)];
        page.sample(&labels, row.total);
    }
    page.begin("onward_delivery_total", "Results of legs");
    for (site, results) in shown.rows() {
        for ((result, class), count) in results {
            let labels = [("site", site), ("result", result), ("class", class)];
            page.sample(&labels, count);
        }
    }
    page.begin(
        "onward_refused_total",
        "Transactions and connections refused",
    );
    for row in &status.refused {
        page.sample(&[("rule", &row.rule), ("stage", &row.stage)], row.total);
    }
    page.begin(
        "onward_delivery_seconds",
        "From arrival to delivery, of the last thousand",
    );
    page.quantiles(&status.delays);
    page.begin(
        "onward_commit_seconds",
        "From a message's end to its 250, of the last thousand",
    );
    page.quantiles(&status.commits);
}

fn health(page: &mut Page, status: &Status) {
    let open = &status.connections;
    page.begin("onward_connections", "Connections open");
    page.sample(&[("direction", "in")], open.incoming);
    page.sample(&[("direction", "out")], open.outgoing);
    page.begin("onward_connections_max", "Connections that may be open");
    page.sample(&[("direction", "in")], open.incoming_max);
    page.sample(&[("direction", "out")], open.outgoing_max);
    let about = "Sites that are down, paused or put all mail off";
    page.one("onward_sites_in_trouble", about, status.sites_in_trouble);
    if let Some(free) = status.disk.free {
        page.one(
            "onward_spool_free_bytes",
            "Free space where the spool is",
            free,
        );
    }
    let about = "Below so much, mail is put off";
    page.one("onward_spool_free_min_bytes", about, status.disk.free_min);
    let reload = status.reload.as_ref();
    let failed = reload.is_some_and(|reload| reload.error.is_some());
    let about = "Whether the last reload, or the start, went well";
    page.one("onward_reload_success", about, u8::from(!failed));
    let at = reload.map_or(status.started, |reload| reload.at);
    let about = "When the last reload was, or the start";
    page.one("onward_reload_timestamp_seconds", about, at.unix_secs());
    let about = "When a certificate expires";
    page.begin("onward_certificate_expiry_timestamp_seconds", about);
    let mut ends = BTreeMap::<&str, Timestamp>::new();
    for end in &status.certificates {
        // Of two for one name (RSA and ECDSA), the first to expire.
        let first = ends.entry(&end.name).or_insert(end.expires);
        *first = end.expires.min(*first);
    }
    for (name, expires) in ends {
        page.sample(&[("name", name)], expires.unix_secs());
    }
    page.one(
        "onward_forwards",
        "Lines of the forwards",
        status.forwards.lines,
    );
    let about = "Lines that the mail log has lost";
    page.one("onward_journal_dropped_total", about, status.log_lines_lost);
    page.begin(
        "onward_start_timestamp_seconds",
        "When the daemon was started",
    );
    page.sample(&[("version", &status.version)], status.started.unix_secs());
}

fn total(status: &Status, event: &str) -> u64 {
    status.events.get(event).copied().unwrap_or_default()
}

impl Counts {
    /// The first [`SITES_MAX`] get labels, those with most mail before the others.
    fn update(&mut self, status: &Status) {
        let mut rows: Vec<_> = status.results.iter().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.total));
        for row in rows {
            if !self.sites.contains_key(&row.site) && self.sites.len() >= SITES_MAX {
                continue;
            }
            let results = self.sites.entry(row.site.clone()).or_default();
            results.insert((row.result.clone(), row.class.clone()), row.total);
        }
        for result in RESULTS {
            let named = self.sites.values().flatten();
            let named = named.filter(|((of, _), _)| of == result);
            let named = named.map(|(_, count)| count).sum();
            let others = total(status, result).saturating_sub(named);
            let key = (result.to_owned(), String::new());
            let before = self.others.entry(key).or_default();
            *before = others.max(*before);
        }
    }

    fn rows(&self) -> impl Iterator<Item = (&str, &Results)> {
        let sites = self.sites.iter().map(|(site, results)| (&**site, results));
        sites.chain([("other", &self.others)])
    }
}

/// What is written so far, and the name of the family that samples are of.
#[derive(Default)]
struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    /// A family with one sample.
    fn one(&mut self, name: &'static str, about: &str, value: impl Display) {
        self.begin(name, about);
        self.sample(&[], value);
    }

    fn begin(&mut self, name: &'static str, about: &str) {
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        self.family = name;
        self.put(format_args!(
            "# HELP {name} {about}\n# TYPE {name} {kind}\n"
        ));
    }

    fn quantiles(&mut self, delays: &Delays) {
        for (quantile, millis) in [("0.5", delays.p50_ms), ("0.99", delays.p99_ms)] {
            if let Some(millis) = millis {
                let secs = Duration::from_millis(millis).as_secs_f64();
                self.sample(&[("quantile", quantile)], secs);
            }
        }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.family);
        for (at, (name, value)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let value = value
                .replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', r"\n");
            self.put(format_args!("{before}{name}=\"{value}\""));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{end} {value}\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = self.text.write_fmt(text);
    }
}

const SITES_MAX: usize = 50;
const RESULTS: [&str; 3] = ["delivered", "deferred", "failed"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(results: &[(String, u64)]) -> Status {
        let total: u64 = results.iter().map(|(_, total)| total).sum();
        let row = |(site, total): &(String, u64)| json!({"site": site, "result": "delivered", "total": total, "minute": 0});
        let mut results: Vec<_> = results.iter().map(row).collect();
        let failed = json!({"site": "mx9.test", "result": "failed", "class": "blocked", "total": 6, "minute": 0});
        results.push(failed);
        serde_json::from_value(json!({
            "version": "1.0", "hostname": "mx.test", "pid": 1, "listeners": [],
            "now": "2026-11-29T12:00:10.000Z", "started": "2026-11-29T12:00:00.000Z",
            "queue": {"waiting": 3, "active": 2, "held": 1, "oldest": "2026-11-29T12:00:00.000Z"},
            "frozen": 0, "events": {"received": 7, "delivered": total + 1}, "minute": {},
            "received": [{"listener": "[::1]:25", "tls": "", "total": 7}],
            "refused": [{"stage": "rcpt", "rule": "hosted-unknown", "total": 4, "minute": 0}],
            "results": results, "delays": {"p50_ms": 1500, "p99_ms": null}, "commits": {},
            "connections": {"incoming": 1, "incoming_max": 9, "outgoing": 0, "outgoing_max": 9},
            "sites": [], "sites_in_trouble": 0, "disk": {"free": 5, "free_min": 1},
            "certificates": [
                {"name": "a\"\\\n", "expires": "2026-11-29T12:00:00.000Z"},
                {"name": "a\"\\\n", "expires": "2026-11-29T11:00:00.000Z"},
            ],
            "forwards": {"lines": 2, "domains": 1, "digest": ""}, "srs_secrets": 1, "reload": null,
            "log_lines_lost": 0, "events_missed": 0, "blocklists": {}, "filters": {},
        }))
        .unwrap()
    }

    fn sites(count: u64, each: u64) -> Vec<(String, u64)> {
        let site = |number| (format!("mx{number:03}.test"), each + count - number);
        (0..count).map(site).collect()
    }

    #[test]
    fn each_name_once_and_samples_below_it() {
        let page = text(&status(&sites(2, 1)), &[], &Shown::default(), 9);
        for line in [
            "onward_queue_legs{state=\"held\"} 1",
            "onward_queue_oldest_seconds 10",
            "onward_received_total{listener=\"[::1]:25\",tls=\"\"} 7",
            "onward_delivery_total{site=\"mx9.test\",result=\"failed\",class=\"blocked\"} 6",
            "onward_reload_success 1",
            "onward_delivery_total{site=\"mx000.test\",result=\"delivered\",class=\"\"} 3",
            "onward_delivery_total{site=\"other\",result=\"delivered\",class=\"\"} 1",
            "onward_refused_total{rule=\"hosted-unknown\",stage=\"rcpt\"} 4",
            "onward_delivery_seconds{quantile=\"0.5\"} 1.5",
            "onward_certificate_expiry_timestamp_seconds{name=\"a\\\"\\\\\\n\"} 1795950000",
            "onward_http_wrong_tokens_total 9",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        let mut families = Vec::new();
        for line in page.lines() {
            match line.strip_prefix("# HELP ") {
                Some(rest) => families.push(rest.split(' ').next().unwrap()),
                None => assert!(line.contains(families[families.len() - 1]), "{line}"),
            }
        }
        let once: std::collections::BTreeSet<_> = families.iter().collect();
        assert_eq!(once.len(), families.len());
        // What is drawn, and what alerts, is one of them.
        for file in [
            include_str!("../../../etc/grafana/onward.json"),
            include_str!("../../../etc/prometheus/alerts.yml"),
        ] {
            let names = file.split("onward_").skip(1).map(|rest| {
                let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
                format!("onward_{}", &rest[..rest.find(|c| !is_name(c)).unwrap()])
            });
            let unknown: Vec<_> = names.filter(|name| !once.contains(&&**name)).collect();
            assert_eq!(unknown, [""; 0]);
        }
    }

    #[test]
    fn labels_are_capped_and_counters_never_go_back() {
        let shown = Shown::default();
        let others = |page: &str| {
            let line = page.lines().find(|line| line.contains("site=\"other\""));
            let number = line.unwrap().rsplit(' ').next().unwrap();
            number.parse::<u64>().unwrap()
        };
        let page = text(&status(&sites(60, 10)), &[], &shown, 0);
        assert_eq!(page.matches("result=\"delivered\"").count(), SITES_MAX + 1);
        let before = others(&page);
        // Others are named than before: who had a label keeps it, and its count.
        let page = text(&status(&sites(60, 10)[50..]), &[], &shown, 0);
        assert!(page.contains(
            "onward_delivery_total{site=\"mx000.test\",result=\"delivered\",class=\"\"} 70"
        ));
        assert!(!page.contains("mx055.test") && others(&page) >= before);
    }
}
