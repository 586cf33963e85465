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
    setup
        .run_into_error(&["queue", "list"], &["control.sock", "hint: "])
        .await;
    sink.script("");
    let relay = setup.start().await;
    let list = relay.run_json(&["queue", "list"]).await.to_string();
    assert!(list.contains("held"), "{list}");
    relay.run(&["queue", "release", "--all"]).await;
    sink.message().await;
}
