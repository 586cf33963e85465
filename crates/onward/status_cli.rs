//! `onward status`: the running daemon on one screen. What calls for somebody is marked with `!`.

use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use control::{Client, LastReload, Status, ask};

use crate::cli;
use crate::config::Config;
use crate::print::{Printer, plural, span};
use crate::status_check::{self, Conditions};
use crate::{Exit, Failure};

/// Runs `status`.
pub(crate) async fn run(
    config: &Path,
    args: &cli::Status,
    print: Printer,
) -> Result<Exit, Failure> {
    if args.check.is_some() || args.warn.is_some() {
        let typed = |conditions: &Option<Conditions>| conditions.clone().unwrap_or_default();
        let (critical, warn) = (typed(&args.check), typed(&args.warn));
        return Ok(status_check::run(config, &critical, &warn, print).await);
    }
    let socket = Config::load(config)?.control.socket;
    let ask = async { Client::connect(&socket).await?.ask(ask::Status {}).await };
    let status = ask.await?;
    print.value(&status, |print, status| {
        print.lines(lines(status));
    });
    Ok(Exit::Fine)
}

/// The screen.
pub(crate) fn lines(status: &Status) -> Vec<String> {
    let mut screen = Screen(Vec::new());
    head(&mut screen, status);
    mail(&mut screen, status);
    health(&mut screen, status);
    services(&mut screen, status);
    screen.0
}

struct Screen(Vec<String>);

impl Screen {
    fn line(&mut self, name: &str, text: impl std::fmt::Display) {
        self.marked(false, name, text);
    }

    fn marked(&mut self, trouble: bool, name: &str, text: impl std::fmt::Display) {
        let mark = if trouble { '!' } else { ' ' };
        self.0.push(format!("{mark} {name:<12} {text}"));
    }
}

fn head(screen: &mut Screen, status: &Status) {
    let (hostname, version, pid) = (&status.hostname, &status.version, status.pid);
    let up = span_of(status.now.since(status.started));
    let on = status.listeners.join(", ");
    let head = format!("{hostname}: onward {version}, process {pid}, up {up}, on {on}");
    screen.0.push(head);
    let (waiting, active, held) = (status.queue.waiting, status.queue.active, status.queue.held);
    let ago = |at| format!("; the oldest for {}", span_of(status.now.since(at)));
    let oldest = status.queue.oldest.map(ago).unwrap_or_default();
    let queue = format!("{waiting} waiting, {active} active, {held} held{oldest}");
    screen.line("queue", queue);
}

fn mail(screen: &mut Screen, status: &Status) {
    let count = |counts: &std::collections::BTreeMap<String, u64>, name: &str| {
        counts.get(name).copied().unwrap_or_default()
    };
    for name in ["received", "delivered", "deferred", "failed", "refused"] {
        let (total, minute) = (count(&status.events, name), count(&status.minute, name));
        screen.line(name, format_args!("{total:>10} {minute:>8}/min"));
    }
    for row in status.refused.iter().take(RULES_SHOWN) {
        let (total, minute, rule, stage) = (row.total, row.minute, &row.rule, &row.stage);
        let text = format!("{total:>10} {minute:>8}/min  {rule} ({stage})");
        screen.line("", text);
    }
    let spans = [
        ("delay", " from 250 to delivery", status.delays),
        ("commit", "", status.commits),
    ];
    for (name, what, took) in spans {
        if let (Some(p50), Some(p99)) = (took.p50_ms, took.p99_ms) {
            let text = format!("{}{what}, 99 % within {}", span(p50), span(p99));
            screen.line(name, text);
        }
    }
    if status.events_missed > 0 {
        screen.marked(true, "not counted", plural(status.events_missed, "event"));
    }
}

fn health(screen: &mut Screen, status: &Status) {
    let open = status.connections;
    let full = open.incoming >= open.incoming_max;
    let incoming = format!("{} of {} in", open.incoming, open.incoming_max);
    let outgoing = format!("{} of {} out", open.outgoing, open.outgoing_max);
    screen.marked(full, "connections", format!("{incoming}, {outgoing}"));
    let size = |octets| ByteSize(octets).display().iec();
    let least = size(status.disk.free_min);
    match status.disk.free {
        Some(free) => screen.marked(
            free < status.disk.free_min,
            "disk",
            format_args!("{} free; new mail is put off below {least}", size(free)),
        ),
        None => screen.marked(true, "disk", "its room cannot be read"),
    }
    for end in &status.certificates {
        let left = end.expires.since(status.now).as_secs() / DAY_SECS;
        let text = format_args!("{} for {}", end.name, plural(left, "day"));
        screen.marked(left < CERTIFICATE_DAYS_MIN, "certificate", text);
    }
    if let Some(issuing) = &status.issuing {
        let (next, error) = (issuing.next, issuing.error.as_deref().unwrap_or_default());
        let next = format!("the next certificate is asked for at {next}");
        let text = [error.lines().next().unwrap_or_default(), &next].join("; ");
        screen.marked(!error.is_empty(), "acme", text.trim_start_matches("; "));
    }
    let forwards = &status.forwards;
    let (lines, digest) = (plural(forwards.lines, "line"), &forwards.digest);
    let domains = plural(forwards.domains, "domain");
    let forwards = format!("{lines} for {domains}, digest {digest}");
    screen.line("forwards", forwards);
    for down in &status.forwards.sources_down {
        let error = down.error.lines().next().unwrap_or_default();
        let ago = span_of(status.now.since(down.since));
        let text = format_args!("{}: {error} (since {ago})", down.name);
        screen.marked(true, "source", text);
    }
    screen.line("srs", plural(status.srs_secrets, "secret"));
    if let Some(LastReload { at, error }) = &status.reload {
        let ago = span_of(status.now.since(*at));
        match error {
            None => screen.line("reload", format_args!("{ago} ago")),
            Some(error) => {
                let error = error.lines().next().unwrap_or_default();
                screen.marked(true, "reload", format_args!("failed {ago} ago: {error}"));
            }
        }
    }
    if status.log_lines_lost > 0 {
        let lost = plural(status.log_lines_lost, "line") + " lost";
        screen.marked(true, "mail log", lost);
    }
}

fn services(screen: &mut Screen, status: &Status) {
    if status.drained {
        screen.marked(true, "drained", "no mail is taken; `onward drain --end`");
    }
    for site in status.sites.iter().take(SITES_SHOWN) {
        let (queued, why) = (plural(site.queued, "leg"), &site.why);
        screen.marked(true, "site", format_args!("{} {why}; {queued}", site.site));
    }
    match status.sites_in_trouble.saturating_sub(SITES_SHOWN as u64) {
        0 => {}
        more => screen.marked(true, "", format_args!("{more} more: `onward site list`")),
    }
    if status.frozen > 0 {
        screen.marked(true, "frozen", plural(status.frozen, "key"));
    }
    let history = &status.history;
    if history.is_on {
        let why = history.trouble.as_ref().map(|why| format!(": {why}"));
        let why = why.unwrap_or_default();
        let reach = |at| status.now.since(at).as_secs() / DAY_SECS;
        let days = plural(history.oldest.map_or(0, reach), "day");
        let size = ByteSize(history.octets).display().iec();
        let missed = plural(history.events_missed, "event");
        let errors = plural(history.errors, "error");
        let is_bad = history.events_missed + history.errors > 0 || !why.is_empty();
        let text = format!("{days}, {size}, {missed} missed, {errors}{why}");
        screen.marked(is_bad, "history", text);
    }
    for (name, counts) in &status.blocklists {
        let (asked, listed, failed) = (counts.asked, counts.listed, counts.failed);
        let text = format!("{name}: {asked} asked, {listed} listed, {failed} failed");
        screen.line("dnsbl", text);
    }
    for (name, counts) in &status.filters {
        let (asked, refused, failed) = (counts.asked, counts.refused, counts.failed);
        let is_down = counts.failing > 0;
        let down = if is_down { ", down" } else { "" };
        let text = format!("{name}: {asked} asked, {refused} refused, {failed} failed{down}");
        screen.marked(is_down, "filter", text);
    }
}

fn span_of(duration: Duration) -> String {
    span(envelope::millis(duration))
}

const DAY_SECS: u64 = 86_400;
/// Whatever renews a certificate has done so long before.
const CERTIFICATE_DAYS_MIN: u64 = 7;
/// Of those in trouble.
const SITES_SHOWN: usize = 5;
/// Rules that refuse most; `--json` has all.
const RULES_SHOWN: usize = 5;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A relay with something of everything.
    pub(crate) fn status() -> Status {
        serde_json::from_str(include_str!("status_cli/status.json")).unwrap()
    }

    #[test]
    fn one_screen() {
        let expected = include_str!("status_cli/status.txt");
        assert_eq!(lines(&status()).join("\n") + "\n", expected);
    }
}
