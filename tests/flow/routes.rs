//! Destinations without an MX: implicit MX, alias, static route.

use testkit::net::Net;
use testkit::sink::Sink;

use crate::{origin_sends, relay};

#[tokio::test]
async fn implicit_mx_alias_and_route() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let routed = Sink::start("127.0.0.1:0".parse().expect("an address"), "").await;
    net.dns.add(&format!(
        "bare.test A {}\nalias.test CNAME target.test",
        sink.address().ip()
    ));
    let forwards =
        "b@example.test b@bare.test\na@example.test a@alias.test\nr@example.test r@routed.test\n";
    let route = format!(
        "[{{ domain = \"routed.test\", host = \"{}\" }}]",
        routed.address()
    );
    let relay = relay(&net, forwards)
        .set("delivery.route", &route)
        .start()
        .await;
    for to in ["b@example.test", "a@example.test", "r@example.test"] {
        origin_sends(&relay, to, "one").await;
    }
    let got = sink.messages(2).await;
    let mut to: Vec<_> = got.iter().flat_map(|got| got.to()).collect();
    to.sort_unstable();
    assert_eq!(to, ["a@alias.test", "b@bare.test"]);
    assert_eq!(routed.message().await.to(), ["r@routed.test"]);
    assert_eq!(net.dns.asked("routed.test", "MX"), 0);
}
