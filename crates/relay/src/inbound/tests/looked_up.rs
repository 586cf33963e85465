//! Recipients that a web service knows.

use std::time::Duration;

use testkit::lookup::Lookup;

use super::*;
use crate::tests::routing_by;

const UNDECIDED: &str = "451 4.3.0 recipient cannot be looked up now, try again later";
const DENIED: &str = "550 5.7.1 relaying denied";
const UNKNOWN: &str = "550 5.1.1 no such address here";

fn world(service: &Lookup, forwards: &str) -> World {
    World::with(routing_by(service, forwards), 0)
}

/// What was said to RCPT.
async fn rcpt(world: &World, to: &str) -> String {
    let mut talk = world.talk("origin@sender.test");
    talk.mail().await;
    talk.rcpt(to).await
}

/// The targets of a message to this recipient.
async fn targets(world: &mut World, to: &str) -> Vec<String> {
    let mut talk = world.talk("origin@sender.test");
    talk.mail().await;
    assert_eq!(talk.rcpt(to).await, "ok", "{to}");
    assert_eq!(talk.data().await, "ok");
    talk.body("Subject: x\r\n\r\nx\r\n").await;
    targets_of(world)
}

fn targets_of(world: &mut World) -> Vec<String> {
    let lines = world.lines();
    let targets = lines
        .iter()
        .filter_map(|line| line.split(" target=").nth(1));
    let targets = targets.filter_map(|rest| rest.split(' ').next());
    targets.map(str::to_owned).collect()
}

#[tokio::test]
async fn what_is_not_in_the_table_is_looked_up() {
    let service = Lookup::start().await;
    service.forwards("alice@hosted.test", "alice@next.test");
    service.forwards("bob@example.test", "never@asked.test");
    let mut world = world(&service, "bob@example.test bob@next.test\n");
    assert_eq!(
        targets(&mut world, "bob@example.test").await,
        ["bob@next.test"]
    );
    assert!(
        !service
            .asked()
            .contains(&"address=bob@example.test".to_owned())
    );
    assert_eq!(
        targets(&mut world, "Alice+x@hosted.test").await,
        ["alice@next.test"]
    );
    assert_eq!(rcpt(&world, "nobody@hosted.test").await, UNKNOWN);
    assert_eq!(rcpt(&world, "nobody@example.test").await, UNKNOWN);
    assert!(rcpt(&world, "a@foreign.test").await.starts_with(DENIED));
}

#[tokio::test]
async fn while_it_is_down_nothing_is_refused_for_good_or_relayed() {
    let service = Lookup::start().await;
    service.forwards("alice@hosted.test", "alice@next.test");
    let mut world = world(&service, "bob@example.test bob@next.test\n");
    assert_eq!(
        targets(&mut world, "bob@example.test").await,
        ["bob@next.test"]
    );
    service.fails(Some("503 Service Unavailable"));
    for to in ["alice@hosted.test", "nobody@example.test", "a@foreign.test"] {
        assert_eq!(rcpt(&world, to).await, UNDECIDED, "{to}");
    }
    let lines = world.lines();
    let down = lines
        .iter()
        .filter(|line| line.contains("source-down source=service"));
    assert_eq!(down.count(), 1, "{lines:?}");
    // What goes on to a domain that is known not to be in it, goes on.
    assert_eq!(
        targets(&mut world, "bob@example.test").await,
        ["bob@next.test"]
    );
    service.fails(None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rcpt(&world, "alice@hosted.test").await, "ok");
    assert!(
        world
            .lines()
            .iter()
            .any(|line| line.contains("source-up source=service"))
    );
}

#[tokio::test]
async fn a_250_keeps_what_was_looked_up() {
    let service = Lookup::start().await;
    service.forwards("alice@hosted.test", "alice@old.test");
    let mut world = world(&service, "");
    let mut talk = world.talk("origin@sender.test");
    talk.mail().await;
    assert_eq!(talk.rcpt("alice@hosted.test").await, "ok");
    service.forwards("alice@hosted.test", "alice@new.test");
    service.asked();
    assert_eq!(talk.data().await, "ok");
    talk.body("Subject: x\r\n\r\nx\r\n").await;
    assert_eq!(targets_of(&mut world), ["alice@old.test"]);
    assert_eq!(service.asked(), [""; 0]);
}

#[tokio::test]
async fn targets_are_looked_up_in_turn_and_loops_end() {
    let service = Lookup::start().await;
    service.forwards("a@one.test", "b@two.test");
    service.forwards("b@two.test", "c@table.test");
    service.forwards("x@one.test", "y@two.test");
    service.forwards("y@two.test", "x@one.test");
    service.forwards("@catch.test", "@one.test");
    for hop in 0..20 {
        service.forwards(
            &format!("{hop}@deep.test"),
            &format!("{}@deep.test", hop + 1),
        );
    }
    service.forwards("20@deep.test", "z@next.test");
    let mut world = world(
        &service,
        "c@table.test d@next.test\ne@table.test a@one.test\n",
    );
    for to in ["a@one.test", "b@two.test", "e@table.test", "a@catch.test"] {
        assert_eq!(targets(&mut world, to).await, ["d@next.test"], "{to}");
    }
    assert_eq!(targets(&mut world, "18@deep.test").await, ["z@next.test"]);
    let refused = rcpt(&world, "x@one.test").await;
    assert!(
        refused.starts_with("5") && refused.contains("leads back"),
        "{refused}"
    );
    let refused = rcpt(&world, "0@deep.test").await;
    assert!(refused.starts_with("5"), "{refused}");
    assert!(service.asked().len() < 100);
    // A domain of senders must be known for ours when the answers come.
    service.says(
        "address=s@one.test",
        r#"{"targets":["a@next.test"],"options":{"srs_domain":"other.test"}}"#,
    );
    assert_eq!(rcpt(&world, "s@one.test").await, UNDECIDED);
}

#[tokio::test]
async fn what_is_known_to_be_elsewhere_goes_there_while_it_is_down() {
    let service = Lookup::start().await;
    let world = world(&service, "bob@example.test bob@next.test\n");
    let routing = Routing {
        trusted: ["192.0.2.8/32".parse().unwrap()].into_iter().collect(),
        ..Routing::clone(&world.inbound.routing.load())
    };
    let today = srs::Day::from_unix_secs(now().unix_secs());
    let srs0 = routing.forwarder.srs().forward("ann", "sender.test", today);
    let back = format!("{}@fwd.test", srs0.unwrap());
    world.inbound.routing.store(Arc::new(routing));
    let check = async |from: &str, client: &str, to: &str, expected: &str| {
        let mut talk = world.talk(from);
        talk.client.peer = format!("{client}:4000").parse().unwrap();
        talk.mail().await;
        assert_eq!(talk.rcpt(to).await, expected, "{to}");
    };
    check("", "192.0.2.7", &back, "ok").await;
    check("a@sender.test", "192.0.2.8", "a@foreign.test", "ok").await;
    service.fails(Some("503 Service Unavailable"));
    check("", "192.0.2.7", &back, "ok").await;
    check("a@sender.test", "192.0.2.8", "a@foreign.test", "ok").await;
    // A stranger would be refused for good, and what is hosted may have come to the service.
    check("a@sender.test", "192.0.2.7", "a@foreign.test", UNDECIDED).await;
    check("a@sender.test", "192.0.2.8", "b@example.test", UNDECIDED).await;
    check("a@sender.test", "192.0.2.8", "a@other.test", UNDECIDED).await;
}
