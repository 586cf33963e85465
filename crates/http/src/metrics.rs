//! `/metrics`: the status of the daemon in the text format of Prometheus. Nothing is counted for it that is not counted anyway.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};
use std::time::Duration;

use control::{Delays, ResultCount, SiteRow, Status};
use envelope::Timestamp;
use journal::OTHERS;
use parking_lot::Mutex;

/// Which sites have a label, and the counts of all others: a counter must never go back, whichever sites have most mail.
#[derive(Default)]
pub(crate) struct Shown(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    named: BTreeSet<String>,
    /// By site, result and class, as they were last time; of sites without a label.
    seen: BTreeMap<[String; 3], u64>,
    /// By result and class.
    others: BTreeMap<[String; 2], u64>,
}

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The whole page.
pub(crate) fn text(
    status: &Status,
    results: &[ResultCount],
    sites: &[SiteRow],
    shown: &Shown,
    wrong_tokens: u64,
) -> String {
    let mut page = Page::default();
    let mut shown = shown.0.lock();
    shown.update(results);
    queue(&mut page, status);
    mail(&mut page, status);
    page.begin("onward_delivery_total", "Results of legs");
    for row in results.iter().filter(|row| shown.named.contains(&row.site)) {
        page.result(&row.site, &row.result, &row.class, row.total);
    }
    for ([result, class], total) in &shown.others {
        page.result("other", result, class, *total);
    }
    page.begin("onward_site_up", "Whether a site takes connections");
    for row in sites {
        let is_up = row.state != "down";
        if !is_up || shown.named.contains(&row.site) {
            page.sample(&[("site", &row.site)], u8::from(is_up));
        }
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

fn mail(page: &mut Page, status: &Status) {
    page.begin("onward_received_total", "Messages taken");
    for row in &status.received {
        let labels = [("listener", &*row.listener), ("tls", &*row.tls)];
        page.sample(&labels, row.total);
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
    if let Some(issuing) = &status.issuing {
        let failed = status.events.get("certificate-failed").unwrap_or(&0);
        let about = "Orders of a certificate that failed";
        page.one("onward_acme_failures_total", about, failed);
        let (about, next) = ("When the next one is ordered", issuing.next.unix_secs());
        page.one("onward_acme_next_try_timestamp_seconds", about, next);
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

impl Counts {
    /// Half of the labels are for the first sites, the others for those with much mail. Who has one keeps it.
    fn update(&mut self, results: &[ResultCount]) {
        let mut totals = BTreeMap::<&str, u64>::new();
        for row in results.iter().filter(|row| row.site != OTHERS) {
            *totals.entry(&row.site).or_default() += row.total;
        }
        let all: u64 = totals.values().sum();
        let mut most: Vec<_> = totals.into_iter().collect();
        most.sort_by_key(|(_, total)| Reverse(*total));
        for (site, total) in most {
            let has_much = total >= MUCH && total * 100 >= all;
            if self.named.len() < if has_much { SITES_MAX } else { SITES_MAX / 2 } {
                self.named.insert(site.to_owned());
            }
        }
        let others = results.iter();
        for row in others.filter(|row| !self.named.contains(&row.site)) {
            let [site, result, class] = [&row.site, &row.result, &row.class].map(String::clone);
            let seen = self.seen.entry([site, result.clone(), class.clone()]);
            let seen = seen.or_default();
            let new = row.total.saturating_sub(std::mem::replace(seen, row.total));
            *self.others.entry([result, class]).or_default() += new;
        }
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

    fn result(&mut self, site: &str, result: &str, class: &str, total: u64) {
        self.sample(
            &[("site", site), ("result", result), ("class", class)],
            total,
        );
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
/// Legs, and one in a hundred: so much is much.
const MUCH: u64 = 100;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn results(results: &[(String, u64)]) -> Vec<ResultCount> {
        let row = |(site, total): &(String, u64)| json!({"site": site, "result": "delivered", "total": total, "minute": 0});
        let mut results: Vec<_> = results.iter().map(row).collect();
        let failed = json!({"site": "mx9.test", "result": "failed", "class": "blocked", "total": 6, "minute": 0});
        results.push(failed);
        serde_json::from_value(results.into()).unwrap()
    }

    fn status() -> Status {
        serde_json::from_value(json!({
            "version": "1.0", "hostname": "mx.test", "pid": 1, "listeners": [],
            "now": "2026-11-29T12:00:10.000Z", "started": "2026-11-29T12:00:00.000Z",
            "queue": {"waiting": 3, "active": 2, "held": 1, "oldest": "2026-11-29T12:00:00.000Z"},
            "frozen": 0, "events": {"received": 7, "certificate-failed": 2}, "minute": {},
            "issuing": {"domains": ["mx.test"], "next": "2026-11-29T11:00:00.000Z", "error": "late", "expires": null},
            "received": [{"listener": "[::1]:25", "tls": "", "total": 7}],
            "refused": [{"stage": "rcpt", "rule": "hosted-unknown", "total": 4, "minute": 0}],
            "results": [], "delays": {"p50_ms": 1500, "p99_ms": null}, "commits": {},
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
        let down = json!({"site": "mx8.test", "state": "down", "why": "", "connections": 0, "connections_max": 1,
            "per_minute": null, "queued": 1, "delivered": 0, "deferred": 0, "failed": 0});
        let down = [serde_json::from_value(down).unwrap()];
        let results = results(&sites(2, 1));
        let page = text(&status(), &results, &down, &Shown::default(), 9);
        for line in [
            "onward_queue_legs{state=\"held\"} 1",
            "onward_queue_oldest_seconds 10",
            "onward_received_total{listener=\"[::1]:25\",tls=\"\"} 7",
            "onward_delivery_total{site=\"mx9.test\",result=\"failed\",class=\"blocked\"} 6",
            "onward_reload_success 1",
            "onward_delivery_total{site=\"mx000.test\",result=\"delivered\",class=\"\"} 3",
            "onward_site_up{site=\"mx8.test\"} 0",
            "onward_refused_total{rule=\"hosted-unknown\",stage=\"rcpt\"} 4",
            "onward_delivery_seconds{quantile=\"0.5\"} 1.5",
            "onward_certificate_expiry_timestamp_seconds{name=\"a\\\"\\\\\\n\"} 1795950000",
            "onward_acme_failures_total 2",
            "onward_acme_next_try_timestamp_seconds 1795950000",
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
        let once: BTreeSet<_> = families.iter().collect();
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
        let page = |of: &[(String, u64)]| text(&status(), &results(of), &[], &shown, 0);
        let others = |page: &str| {
            let line = page
                .lines()
                .find(|line| line.contains("site=\"other\",result=\"delivered\""));
            let number = line.unwrap().rsplit(' ').next().unwrap();
            number.parse::<u64>().unwrap()
        };
        // Dead ones come first.
        let mut all = sites(60, 1);
        let first = page(&all);
        assert_eq!(
            first.matches("result=\"delivered\"").count(),
            SITES_MAX / 2 + 1
        );
        assert_eq!(others(&first), (2..=36).sum::<u64>());
        assert!(!first.contains("mx059.test"));
        // Then the largest of them takes mail: it gets a label, and nothing is counted twice from then on.
        all[59].1 = 10_000;
        let second = page(&all);
        let label =
            "onward_delivery_total{site=\"mx059.test\",result=\"delivered\",class=\"\"} 10000";
        assert!(second.contains(label), "{second}");
        assert_eq!(others(&second), others(&first));
        all[58].1 += 3;
        assert_eq!(others(&page(&all)), others(&first) + 3);
    }
}
