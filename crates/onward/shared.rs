//! The spool in PostgreSQL that several nodes share: opened, looked at, and its nodes listed.

use std::sync::Arc;

use control::Finding;
use control::Health::{Bad, Good, Risky};
use humantime::format_duration;
use queue_pg::{Cluster, Finding as Promise, PgSpool, Settings};
use serde::Serialize;
use spool::Lifetime;

use crate::cli;
use crate::config::{Config, StoreCheck};
use crate::print::Printer;
use crate::serve::{Start, make_folder, serve_on};
use crate::spool_cli::HALVED;
pub(crate) use crate::spool_shared::run as spool;
use crate::{Exit, Failure};

/// What the configuration says of it.
pub(crate) fn settings(config: &Config) -> Settings {
    let queue = &config.queue;
    let node = match queue.node.is_empty() {
        true => &config.hostname,
        false => &queue.node,
    };
    Settings {
        lifetime: Lifetime {
            warn_after: queue.warn_after.0,
            expire: queue.expire.0,
        },
        accept_risk: queue.store_check == StoreCheck::Warn,
        ..Settings::new(&queue.store, node)
    }
}

/// As it is worked on beside the nodes, under a name of its own.
pub(crate) fn aside(config: &Config) -> Settings {
    let own = settings(config);
    Settings {
        node: format!("{} (spool)", own.node),
        ..own
    }
}

/// Does something with the spool that is opened [`aside`], and leaves it again.
pub(crate) async fn open_aside<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Arc<PgSpool>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let spool = Arc::new(PgSpool::open(settings.clone()).await?);
    let result = work(&spool).await;
    spool.close().await;
    if let Ok(cluster) = Cluster::new(settings) {
        // Nobody waits for it: this only takes it from the list of nodes.
        let _ = cluster.forget(&settings.node).await;
    }
    result
}

/// Nobody must work on what is moved away, or comes in.
pub(crate) async fn nobody_works(cluster: &Cluster, aside: &Settings) -> Result<(), Failure> {
    let mut nodes = cluster.nodes().await?;
    nodes.retain(|node| node.alive && node.name != aside.node);
    let Some(node) = nodes.first() else {
        return Ok(());
    };
    let text = format!(
        "node `{}` is at work on the shared spool\n\nhint: stop all nodes first; `onward node list` shows them, and one that died counts until it was silent for some seconds",
        node.name
    );
    Err(text.into())
}

/// Runs as one of the nodes.
pub(crate) async fn serve(mut start: Start<'_>) -> Result<(), Failure> {
    make_folder(&start.config.spool)?;
    let settings = settings(start.config);
    let opening = PgSpool::open(settings);
    let Some(opened) = start.unless_stopped(opening).await else {
        return Ok(());
    };
    let spool = Arc::new(opened?);
    let clock = spool.clock().clone();
    // A move that begins after this finds the node at work.
    let result = match spool.cluster().is_moving().await? {
        true => Err(format!("`queue.store`: {HALVED}").into()),
        false => serve_on(start, Arc::clone(&spool), clock).await,
    };
    spool.close().await;
    result
}

/// What `check` and the doctor say of it.
pub(crate) async fn examine(config: &Config) -> Vec<Finding> {
    let settings = settings(config);
    let found = async {
        let cluster = Cluster::new(&settings)?;
        let found = cluster.findings().await.map_err(|error| {
            format!("cannot use the database of `queue.store`: {error}\n\nhint: `serve` does not start without it")
        })?;
        // Not so before its tables are made.
        match cluster.is_moving().await {
            Ok(true) => Err(Failure::from(format!("`queue.store`: {HALVED}"))),
            _ => Ok(found),
        }
    };
    let finding = |health, text: String| Finding::new(health, "spool", "", text);
    let promise = |it: Promise| match it.breaks && !settings.accept_risk {
        true => finding(Bad, it.to_string()),
        false => finding(Risky, it.to_string()),
    };
    match found.await {
        Err(error) => vec![finding(Bad, error.to_string())],
        Ok(promises) if promises.is_empty() => vec![finding(Good, KEEPS.to_owned())],
        Ok(promises) => promises.into_iter().map(promise).collect(),
    }
}

/// One row of `onward node list`.
#[derive(Debug, Serialize)]
struct Node {
    name: String,
    state: &'static str,
    /// Legs that it works on.
    legs: u64,
    up_seconds: u64,
    silent_seconds: u64,
    version: String,
}

/// Runs one `node` command.
pub(crate) async fn node(
    config: &Config,
    command: &cli::Node,
    print: Printer,
) -> Result<Exit, Failure> {
    if !config.queue.is_shared() {
        return Err(ALONE.into());
    }
    let cluster = Cluster::new(&settings(config))?;
    match command {
        cli::Node::List => list(&cluster, print).await,
        cli::Node::Drain(args) => drain(&cluster, args, print).await,
        cli::Node::Forget { name } => forget(&cluster, name, print).await,
    }
}

async fn list(cluster: &Cluster, print: Printer) -> Result<Exit, Failure> {
    let row = |node: queue_pg::Node| Node {
        state: match (node.alive, node.draining) {
            (false, _) => "gone",
            (true, true) => "draining",
            (true, false) => "working",
        },
        legs: node.legs,
        up_seconds: node.up.as_secs(),
        silent_seconds: node.silent.as_secs(),
        name: node.name,
        version: node.version,
    };
    let nodes: Vec<Node> = cluster.nodes().await?.into_iter().map(row).collect();
    print.value(&nodes, |print, nodes| {
        let span = |seconds| format_duration(std::time::Duration::from_secs(seconds)).to_string();
        let rows = nodes.iter().map(|node| {
            let (up, silent) = (span(node.up_seconds), span(node.silent_seconds));
            let (legs, version) = (node.legs.to_string(), node.version.clone());
            [
                node.name.clone(),
                node.state.to_owned(),
                legs,
                up,
                silent,
                version,
            ]
        });
        print.table(
            [
                "node",
                "state",
                ">working on",
                "up",
                "last heard",
                "version",
            ],
            rows,
        );
    });
    Ok(Exit::Fine)
}

async fn drain(cluster: &Cluster, args: &cli::Drained, print: Printer) -> Result<Exit, Failure> {
    let name = &args.name;
    if !cluster.drain(name, !args.end).await? {
        return Err(
            format!("no node is named `{name}`\n\nhint: `onward node list` names them").into(),
        );
    }
    print.value(&(name, !args.end), |print, _| match args.end {
        true => print.line(format_args!("{name} takes work again")),
        false => print.line(format_args!(
            "{name} takes no more work; `onward node list` shows what it has not ended yet"
        )),
    });
    Ok(Exit::Fine)
}

async fn forget(cluster: &Cluster, name: &str, print: Printer) -> Result<Exit, Failure> {
    if !cluster.forget(name).await? {
        return Err(format!(
            "no node named `{name}` is gone\n\nhint: `onward node list` says which are; one that died is so when it was silent for some seconds"
        )
        .into());
    }
    print.value(&name, |print, name| {
        print.line(format_args!("{name} is forgotten"));
    });
    Ok(Exit::Fine)
}

const KEEPS: &str = "in PostgreSQL, which keeps what it has committed";
const ALONE: &str = "`queue.store` is empty: the spool is on this machine, and has no other nodes\n\nhint: docs/several-nodes.md tells when several pay";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keys: &str, node: &str, accept_risk: bool) {
        let text = format!(
            "hostname = 'mx.example.net'\nqueue.expire = '3d'\nqueue.store = 'postgres://x'\n{keys}"
        );
        let settings = settings(&Config::parse(&text).unwrap());
        assert_eq!((&*settings.url, &*settings.node), ("postgres://x", node));
        assert_eq!(settings.accept_risk, accept_risk);
        assert_eq!(settings.lifetime.expire.as_secs(), 3 * 24 * 3600);
    }

    #[test]
    fn a_node_is_named_by_its_host_or_by_a_key() {
        check("", "mx.example.net", false);
        check("queue.node = 'a'\nqueue.store_check = 'warn'", "a", true);
    }
}
