//! `onward status`: the running daemon on one screen. What calls for somebody is marked with `!`.

use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use control::{
    BlocklistCounts, Client, FilterCounts, HistoryHealth, LastReload, QueueCounts, Status, ask,
};

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
        lines(status).into_iter().for_each(|line| print.line(line));
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
    let Status {
        hostname,
        version,
        pid,
        listeners,
        ..
    } = status;
    let up = span_of(status.now.since(status.started));
    screen.0.push(format!(
        "{hostname}: onward {version}, process {pid}, up {up}, on {}",
        listeners.join(", ")
    ));
    let QueueCounts {
        waiting,
        active,
        held,
        oldest,
    } = status.queue;
    let oldest = oldest.map(|at| format!("; the oldest for {}", span_of(status.now.since(at))));
    let oldest = oldest.unwrap_or_default();
    screen.line(
        "queue",
        format_args!("{waiting} waiting, {active} active, {held} held{oldest}"),
    );
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
        let (total, minute) = (row.total, row.minute);
        screen.line(
            "",
            format_args!("{total:>10} {minute:>8}/min  {} ({})", row.rule, row.stage),
        );
    }
    if let (Some(p50), Some(p99)) = (status.delays.p50_ms, status.delays.p99_ms) {
        let (p50, p99) = (span(p50), span(p99));
        screen.line(
            "delay",
            format_args!("{p50} from 250 to delivery, 99 % within {p99}"),
        );
    }
    if let (Some(p50), Some(p99)) = (status.commits.p50_ms, status.commits.p99_ms) {
        screen.line(
            "commit",
            format_args!("{}, 99 % within {}", span(p50), span(p99)),
        );
    }
    if status.events_missed > 0 {
        screen.marked(true, "not counted", plural(status.events_missed, "event"));
    }
}

fn health(screen: &mut Screen, status: &Status) {
    let open = status.connections;
    let full = open.incoming >= open.incoming_max;
    let of = |open, max| format!("{open} of {max}");
    screen.marked(
        full,
        "connections",
        format_args!(
            "{} in, {} out",
            of(open.incoming, open.incoming_max),
            of(open.outgoing, open.outgoing_max)
        ),
    );
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
    let forwards = &status.forwards;
    screen.line(
        "forwards",
        format_args!(
            "{} for {}, digest {}",
            plural(forwards.lines, "line"),
            plural(forwards.domains, "domain"),
            forwards.digest
        ),
    );
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
        screen.marked(
            true,
            "mail log",
            format_args!("{} lost", plural(status.log_lines_lost, "line")),
        );
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
    let HistoryHealth {
        is_on,
        oldest,
        octets,
        events_missed,
        errors,
        trouble,
    } = &status.history;
    if *is_on {
        let trouble = trouble
            .as_ref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        let days = oldest.map_or(0, |at| status.now.since(at).as_secs() / DAY_SECS);
        let (days, size) = (plural(days, "day"), ByteSize(*octets).display().iec());
        screen.marked(
            events_missed + errors > 0 || !trouble.is_empty(),
            "history",
            format_args!(
                "{days}, {size}, {} missed, {}{trouble}",
                plural(*events_missed, "event"),
                plural(*errors, "error")
            ),
        );
    }
    for (name, counts) in &status.blocklists {
        let BlocklistCounts {
            asked,
            listed,
            failed,
        } = counts;
        screen.line(
            "dnsbl",
            format_args!("{name}: {asked} asked, {listed} listed, {failed} failed"),
        );
    }
    for (name, counts) in &status.filters {
        let FilterCounts {
            asked,
            refused,
            failed,
            failing,
        } = counts;
        let state = if *failing > 0 { ", down" } else { "" };
        screen.marked(
            *failing > 0,
            "filter",
            format_args!("{name}: {asked} asked, {refused} refused, {failed} failed{state}"),
        );
    }
}

fn span_of(duration: Duration) -> String {
    span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
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
