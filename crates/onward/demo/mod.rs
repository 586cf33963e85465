//! `onward demo`: the real relay on loopback, with a destination and DNS of its own, and a story told as it happens.

mod destination;
mod story;
mod world;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use journal::{Format, Journal};
use queue::LogSpool;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::cli;
use crate::config::Resolved;
use crate::print::Printer;
use crate::wire::{self, Relay};

use destination::{Arrived, Destination};
use world::World;

/// Runs the demo: tells the story, and then, unless `--once`, goes on until Ctrl-C.
pub(crate) async fn run(args: &cli::Demo, print: Printer) -> Result<(), Failure> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let next_port = if args.port == 0 {
        0
    } else {
        args.port.saturating_add(1)
    };
    let (destination, mut arrivals) = Destination::bind(local(next_port))
        .map_err(|error| format!("{error}\n\nhint: `onward demo --port 0` takes any free ports"))?;
    let destination_address = destination.address;
    let world = World::make(local(args.port), destination_address, args.spool.clone())?;
    let journal = Journal::default();
    let resolved = Resolved::of(&world.config)?;
    let listeners = wire::bind(&resolved.settings)?;
    let spool = Arc::new(LogSpool::open(resolved.settings.spool.clone())?);
    let relay = Relay::open(
        &world.config,
        resolved,
        "demo".as_ref(),
        world.resolver.clone(),
        (journal.clone(), history::Desk::default()),
        listeners,
        (Arc::clone(&spool), spool.clock().clone()),
    )
    .await?;
    let relay_address = relay
        .addresses
        .first()
        .copied()
        .unwrap_or_else(|| local(args.port));
    let scene = story::Scene {
        relay: relay_address,
        destination: destination_address,
        spool: world.config.spool.clone(),
    };

    let shutdown = CancellationToken::new();
    let destination = tokio::spawn(destination.run(shutdown.clone()));
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    let told = async {
        story::tell(&scene, &mut arrivals, print).await?;
        if args.once {
            Ok(())
        } else {
            go_on(&scene, &mut arrivals, &journal, print).await
        }
    };
    let result = until_interrupted(told).await;
    shutdown.cancel();
    let (closed, _) = tokio::join!(relay, destination);
    result?;
    // A panic of the relay has been reported by the panic hook.
    closed.unwrap_or(Ok(()))
}

/// Ctrl-C ends the demo at any point, and is no error.
async fn until_interrupted(told: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        result = told => result,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| format!("cannot listen for Ctrl-C: {error}").into())
        }
    }
}

/// Shows each message that passes, until told to stop.
async fn go_on(
    scene: &story::Scene,
    arrivals: &mut UnboundedReceiver<Arrived>,
    journal: &Journal,
    print: Printer,
) -> Result<(), Failure> {
    let mut events = journal.subscribe();
    story::invite(scene, print);
    loop {
        tokio::select! {
            Some(Ok(entry)) = events.next() => print.line(entry.line(Format::Text).trim_end()),
            Some(arrived) = arrivals.recv() => story::show_arrived(&arrived, print),
            else => return Ok(()),
        }
    }
}
