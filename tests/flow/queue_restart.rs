//! What the operator did survives a restart, and a daemon that does not run is said.

use testkit::net::Net;

use crate::waiting;

#[tokio::test]
async fn a_hold_survives_a_restart_and_a_stopped_daemon_is_said() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let (relay, ids) = waiting(&net, &["one"]).await;
    relay.run(&["queue", "hold", &ids[0]]).await;
    let setup = relay.stop().await;
    let said = setup.run(&["queue", "list"]).await.success();
    assert!(said.stderr.starts_with("no relay is running: "), "{said}");
    assert!(
        said.stdout.contains(&ids[0]) && said.stdout.contains("held"),
        "{said}"
    );
    let said = setup
        .run(&["queue", "summary", "--by", "domain"])
        .await
        .success();
    assert!(said.stdout.contains("target.test"), "{said}");
    let said = setup.run(&["queue", "show", &ids[0]]).await.success();
    assert!(said.stdout.contains("subject  one"), "{said}");
    let said = setup.run(&["queue", "cat", &ids[0][..20]]).await.success();
    assert!(
        said.stdout.starts_with("Received: ") && said.stdout.contains("Subject: one"),
        "{said}"
    );
    let none = setup.run(&["queue", "list", "--to", "else.test"]).await;
    assert_eq!(none.code, Some(3), "{none}");
    let wanted = ["only a running one can release", "hint: "];
    setup
        .run_into_error(&["queue", "release", "--all"], &wanted)
        .await;
    sink.script("");
    let relay = setup.start().await;
    let list = relay.run_json(&["queue", "list"]).await.to_string();
    assert!(list.contains("held"), "{list}");
    relay.run(&["queue", "release", "--all"]).await;
    sink.message().await;
}
