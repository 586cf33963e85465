//! `onward site …` and `onward drain`: what the running daemon knows of sites, and what it is to do about them.

use std::path::Path;
use std::time::Duration;

use control::ask::{self, SiteLimit, SiteList, SitePause, SiteResume, SiteShow};
use control::{Client, DrainState, Order, Ordered, SiteDetails, SiteRow};
use tokio::time::{Instant, sleep};

use crate::cli::{Drain, Site};
use crate::history_cli::silent;
use crate::print::{Printer, plural};
use crate::{Exit, Failure};

/// Runs one `site` command.
pub(crate) async fn run(socket: &Path, command: &Site, print: Printer) -> Result<Exit, Failure> {
    let mut client = Client::connect(socket).await?;
    let (ordered, what) = match command {
        Site::List => return list(client, print).await,
        Site::Show { site } => return show(client, site, print).await,
        Site::Pause { site, span, reason } => {
            let ask = SitePause {
                site: site.clone(),
                for_secs: span.map(|span| span.as_secs()),
                reason: reason.clone(),
            };
            (client.ask(ask).await?, "")
        }
        Site::Resume { site, reason } => {
            let (site, reason) = (site.clone(), reason.clone());
            (client.ask(SiteResume { site, reason }).await?, "paused")
        }
        Site::Limit(limit) => {
            let ask = SiteLimit {
                site: limit.site.clone(),
                connections: limit.connections,
                per_minute: limit.rate,
                reason: limit.reason.clone(),
            };
            (client.ask(ask).await?, "limited")
        }
    };
    print.value(&ordered, |print, Ordered { now, before }| {
        match (now, before) {
            (Some(order), _) => {
                print.line(in_words(order));
                print.line(match &order.sites[..] {
                    [] => "  no site that is known now; it holds from the first mail for one"
                        .to_owned(),
                    sites => format!("  sites: {}", sites.join(" ")),
                });
            }
            (None, Some(order)) => print.line(format_args!("ended: {}", in_words(order))),
            (None, None) => print.line(format_args!(
                "nothing is {what} by that name; `onward site list` shows what is"
            )),
        }
    });
    Ok(Exit::found(ordered != Ordered::default()))
}

async fn list(mut client: Client, print: Printer) -> Result<Exit, Failure> {
    let sites = client.ask(SiteList { own: false }).await?;
    print.value(&sites, |print, sites| {
        if sites.sites.is_empty() {
            print.line("no site is known: no mail went out lately");
        } else {
            let heads = [
                "site",
                "state",
                ">connections",
                ">queued",
                ">delivered",
                ">deferred",
                ">failed",
                "why",
            ];
            print.table(heads, sites.sites.iter().map(row));
            print.line("(delivered, deferred, failed: in the last minute)");
        }
        silent(print, &sites.silent_nodes);
        if sites.more > 0 {
            print.line(format_args!("and {}", plural(sites.more, "more site")));
        }
        print.lines(sites.orders.iter().map(in_words));
    });
    Ok(Exit::Fine)
}

fn row(row: &SiteRow) -> [String; 8] {
    [
        row.site.clone(),
        row.state.clone(),
        format!("{}/{}", row.connections, row.connections_max),
        row.queued.to_string(),
        row.delivered.to_string(),
        row.deferred.to_string(),
        row.failed.to_string(),
        row.why.clone(),
    ]
}

async fn show(mut client: Client, site: &str, print: Printer) -> Result<Exit, Failure> {
    let ask = SiteShow {
        site: site.to_owned(),
    };
    let sites = client.ask(ask).await?;
    print.value(&sites, |print, sites| {
        if sites.is_empty() {
            print.line("no site is known by that name: no mail went there lately");
        }
        sites.iter().for_each(|site| details(print, site));
    });
    Ok(Exit::found(!sites.is_empty()))
}

fn details(print: Printer, site: &SiteDetails) {
    let line = |name: &str, text: String| print.line(format_args!("  {name:<12} {text}"));
    let SiteDetails { row, .. } = site;
    // The reason begins with the state.
    let state = match row.why.is_empty() {
        true => &row.state,
        false => &row.why,
    };
    print.line(format_args!("{}: {state}", row.site));
    if !site.hosts.is_empty() {
        line("hosts", site.hosts.join(" "));
    }
    line("tls", site.tls.clone());
    if let Some(egress) = &site.egress {
        line("egress", egress.clone());
    }
    for (source, until) in &site.resting {
        line("rests", format!("{source} until {until}: blocked there"));
    }
    let domains = site.domains.join(" ");
    match site.domains_count - site.domains.len() as u64 {
        0 => line("mail for", domains),
        more => line("mail for", format!("{domains} and {more} more")),
    }
    let connections = format!("{} of {}", row.connections, row.connections_max);
    line("connections", connections);
    if !site.shape.is_empty() {
        line("at most", site.shape.clone());
    }
    line("queued", plural(row.queued, "leg"));
    let (delivered, deferred, failed) = (row.delivered, row.deferred, row.failed);
    let minute = format!("{delivered} delivered, {deferred} deferred, {failed} failed");
    line("last minute", minute);
    for (code, legs) in &site.codes {
        line("answers", format!("{code} × {legs}"));
    }
    for reply in &site.replies {
        line("reply", format!("{} {}", reply.at, reply.text));
    }
    for order in &site.orders {
        line("ordered", in_words(order));
    }
}

/// `pause of google since … until … by uid 0: they asked for it`.
fn in_words(order: &Order) -> String {
    let mut text = format!("{} of {}", order.order, order.site);
    if let Some(connections) = order.connections {
        text += &format!(", {},", plural(connections.into(), "connection"));
    }
    if let Some(messages) = order.per_minute {
        text += &format!(", {} a minute,", plural(messages.into(), "message"));
    }
    text += &format!(" since {}", order.since);
    if let Some(until) = order.until {
        text += &format!(" until {until}");
    }
    text += &format!(" by {}", order.by);
    if !order.reason.is_empty() {
        text += &format!(": {}", order.reason);
    }
    text
}

/// Runs `drain`.
pub(crate) async fn drain(socket: &Path, args: &Drain, print: Printer) -> Result<Exit, Failure> {
    let mut client = Client::connect(socket).await?;
    let ask = ask::Drain {
        on: !args.end,
        reason: args.reason.clone(),
    };
    let until = args.wait.map(|wait| Instant::now() + *wait);
    let (mut state, mut told) = (client.ask(ask).await?, None);
    while let Some(until) = until {
        if !print.json && told != Some(state) {
            print.line(progress(&state));
            told = Some(state);
        }
        if state.is_done() || !state.on || Instant::now() >= until {
            break;
        }
        sleep(LOOK_EVERY).await;
        state = client.ask(ask::Drained {}).await?;
    }
    print.value(&state, |print, state| print.line(summary(state)));
    Ok(Exit::problem_unless(
        args.end || until.is_none() || state.is_done(),
    ))
}

fn progress(state: &DrainState) -> String {
    let transactions = plural(state.transactions, "open transaction");
    let more = if state.due { ", more are due" } else { "" };
    format!(
        "{transactions}, {} at work{more}",
        plural(state.active, "leg")
    )
}

fn summary(state: &DrainState) -> String {
    let left = match (state.waiting, state.held) {
        (0, 0) => "nothing waits".to_owned(),
        (waiting, 0) => format!("{} for later", plural(waiting, "leg")),
        (waiting, held) => format!("{} for later, {held} held", plural(waiting, "leg")),
    };
    match (state.on, state.is_done()) {
        (false, _) => format!("mail is taken; {left}"),
        (true, true) => format!("drained: no mail is taken, nothing is at work; {left}"),
        (true, false) => format!(
            "not drained yet: no mail is taken; {}; {left}",
            progress(state)
        ),
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(500);
