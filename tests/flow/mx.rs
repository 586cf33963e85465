//! Which host gets the mail: preference, the next one on trouble, null MX, no MX, no such domain, DNS trouble, routes.

use testkit::mail;
use testkit::net::Net;
use testkit::sender::send;
use testkit::sink::Sink;

use crate::relay;

#[tokio::test]
async fn next_host_when_the_best_is_away_or_busy() {
    let net = Net::new().await;
    let busy = net
        .sink("busy.target.test", "greeting: 421 4.3.2 busy")
        .await;
    let good = net.sink("good.target.test", "").await;
    net.dns
        .add(&format!("away.target.test A {}", net.address().ip()));
    net.dns.add(
        "target.test MX 30 mx.good.target.test\ntarget.test MX 20 mx.busy.target.test\n\
         target.test MX 10 away.target.test",
    );
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .start()
        .await;
    send(
        relay.address(),
        "origin@sender.test",
        &["alice@example.test"],
        &mail::short("one"),
    )
    .await;
    good.message().await;
    assert_eq!(busy.connections(), 1);
    relay
        .wait_for("delivered attempt=1 host=mx.good.target.test")
        .await;
}

#[tokio::test]
async fn domains_without_a_way() {
    let net = Net::new().await;
    let origin = net.sink("sender.test", "").await;
    net.dns
        .add("null.test MX 0 .\nbroken.test SERVFAIL\nnobody.test TXT nothing else");
    let forwards = "n@example.test n@null.test\nm@example.test m@missing.test\n\
                    b@example.test b@broken.test\ne@example.test e@nobody.test\n";
    let relay = relay(&net, forwards).start().await;
    let to = [
        "n@example.test",
        "m@example.test",
        "b@example.test",
        "e@example.test",
    ];
    send(
        relay.address(),
        "origin@sender.test",
        &to,
        &mail::short("one"),
    )
    .await;
    relay
        .wait_for("failed to=n@example.test status=5.1.10")
        .await;
    relay
        .wait_for("failed to=m@example.test status=5.1.2")
        .await;
    relay
        .wait_for("deferred to=b@example.test status=4.4.3")
        .await;
    relay.wait_for("failed to=e@example.test status=5.").await;
    let text = origin.message().await.text();
    assert!(
        text.contains("Action: failed") && !text.contains("null.test"),
        "{text}"
    );
    net.dns.remove("broken.test");
    let late = net.sink("broken.test", "").await;
    assert_eq!(late.message().await.to(), ["b@broken.test"]);
}

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
        send(
            relay.address(),
            "origin@sender.test",
            &[to],
            &mail::short("one"),
        )
        .await;
    }
    let got = sink.messages(2).await;
    let mut to: Vec<_> = got.iter().flat_map(|got| got.to()).collect();
    to.sort_unstable();
    assert_eq!(to, ["a@alias.test", "b@bare.test"]);
    assert_eq!(routed.message().await.to(), ["r@routed.test"]);
    assert_eq!(net.dns.asked("routed.test", "MX"), 0);
}

#[tokio::test]
async fn mail_that_would_come_back_to_us_fails() {
    let net = Net::new().await;
    let address = net.address();
    net.publish("loop.test", address);
    let setup =
        relay(&net, "l@example.test l@loop.test\n").listener(&format!("bind = \"{address}\""));
    let relay = setup.start().await;
    send(
        relay.address(),
        "",
        &["l@example.test"],
        &mail::short("one"),
    )
    .await;
    relay
        .wait_for("failed target=l@loop.test status=5.4.6")
        .await;
}
