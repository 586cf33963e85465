//! The operator looks into the queue: list, show, cat.

use testkit::mail;
use testkit::net::Net;

use crate::waiting;

#[tokio::test]
async fn looking() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 450 4.2.1 busy").await;
    let (relay, ids) = waiting(&net, &["one", "two"]).await;
    let list = relay.run(&["queue", "list"]).await;
    assert!(
        ids.iter().all(|id| list.contains(id)) && list.contains("alice@example.test"),
        "{list}"
    );
    let json = relay.run_json(&["queue", "list"]).await;
    let text = json.to_string();
    assert!(
        text.contains("450 4.2.1 busy") && text.contains("\"attempts\":1"),
        "{text}"
    );
    let show = relay.run(&["queue", "show", &ids[0]]).await;
    assert!(
        show.contains("origin@sender.test") && show.contains("alice@target.test"),
        "{show}"
    );
    let cat = relay.run(&["queue", "cat", &ids[0]]).await;
    assert!(
        cat.ends_with(&String::from_utf8_lossy(&mail::short("one")).into_owned()),
        "{cat}"
    );
    let missing = &["queue", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"];
    let missing = relay.setup().run(missing).await;
    assert_eq!(missing.code, Some(3), "{missing}");
}
