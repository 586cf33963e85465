//! Systems that are told to check senders do: of signed mail from where it may come from, they tell that all passed.

use std::sync::Arc;

use super::tools::{all_well, load, run, sink};
use crate::scenario::checks::World;
use crate::sink::Script;
use crate::system::{Setup, System};

#[test]
fn what_passes_is_told() {
    let world = World::make().unwrap();
    for system in [System::Onward, System::Postfix] {
        let folder = tempfile::tempdir().unwrap();
        let sink = sink(Script::default());
        let setup = Setup {
            folder: folder.path().to_owned(),
            forwards: vec![("@in.example".to_owned(), "box@out.example".to_owned())],
            routes: vec![("*".to_owned(), sink.addresses()[0])],
            connections_in: 10,
            connections_out: 5,
            message_size: 1 << 20,
            retry_quickly: true,
            tls: None,
            checks: Some(world.resolver()),
            extra: "",
        };
        if system == System::Postfix && world.resolver().port() != 53 {
            println!("skipped: {system}: port 53 is not to be had");
            continue;
        }
        let started = system.find().map_err(|missing| missing.reason);
        let running = match started.and_then(|_| system.start(&setup).map_err(|e| e.to_string())) {
            Ok(running) => running,
            Err(why) if why.contains("missing") || why.contains("not installed") => {
                println!("skipped: {system}: {why}");
                continue;
            }
            Err(why) => panic!("{why}"),
        };
        let mut load = load(running.address(), 20);
        load.recipients = "box{n}@in.example".parse().unwrap();
        load.senders = world.senders().unwrap();
        load.signer = Some(Arc::clone(&world.signer));
        let received = all_well(&sink, &run(&load));
        assert_eq!(received.proved, received.distinct, "{system}: {received:?}");
        running.stop().unwrap();
    }
}
