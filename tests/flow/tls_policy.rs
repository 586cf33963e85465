//! How much TLS is asked of destinations, by the operator and by senders; what was found of it is told.

use testkit::daemon::{Relay, Setup};
use testkit::mail;
use testkit::net::Net;
use testkit::sender::{Plain, send};
use testkit::sink::Sink;
use testkit::tls::Identity;

use crate::relay;

/// A destination for `domain` whose certificate is for `name`, and a root of `setup` like the others.
async fn sink(net: &Net, setup: &Setup, domain: &str, name: &str, script: &str) -> Sink {
    let identity = Identity::new(name);
    let known = std::fs::read_to_string(setup.path("ca.pem")).unwrap_or_default();
    setup.write("ca.pem", &(known + &identity.certificate_pem));
    let sink = Sink::with_tls(net.address(), script, Some(&identity)).await;
    net.publish(domain, sink.address());
    sink
}

fn setup(net: &Net, forwards: &str) -> Setup {
    relay(net, forwards)
        .with_tls()
        .set("delivery.ca", "\"ca.pem\"")
}

/// Sends over TLS with a parameter of MAIL.
async fn send_private(relay: &Relay, parameter: &str, to: &str) {
    let mut plain = Plain::hello(relay.address()).await.start_tls().await;
    plain.expect("EHLO client.test", "250").await;
    let from = format!("<origin@sender.test> {parameter}");
    let (_, end) = plain.transaction(&from, &[to], &mail::short("one")).await;
    assert!(end.starts_with("250"), "{end}");
}

#[tokio::test]
async fn tls_is_demanded_and_verified_where_a_forward_asks_for_it() {
    let net = Net::new().await;
    let setup = setup(
        &net,
        "any@example.test any@clear.test\ntls@example.test tls@clear.test tls=required\n\
         good@example.test good@good.test tls=verified\nother@example.test other@other.test tls=verified\n",
    );
    let good = sink(&net, &setup, "good.test", "mx.good.test", "").await;
    let other = sink(&net, &setup, "other.test", "mx.elsewhere.test", "").await;
    let clear = net.sink("clear.test", "").await;
    let relay = setup.start().await;
    for local in ["any", "tls", "good", "other"] {
        let to = format!("{local}@example.test");
        send(relay.address(), "", &[&to], &mail::short(local)).await;
    }
    relay
        .wait_for("delivered target=good@good.test verified=pkix cipher=TLS_")
        .await;
    assert!(good.message().await.tls);
    relay.wait_for("delivered target=any@clear.test").await;
    assert!(!clear.message().await.tls);
    let refused = "deferred target=tls@clear.test status=4.7.5";
    let refused = relay.wait_for(refused).await;
    let reason = refused.text("reason");
    assert!(reason.ends_with("starttls-not-supported"), "{reason}");
    let deferred = relay
        .wait_for("deferred target=other@other.test status=4.7.5")
        .await;
    // A sender may read this.
    let reason = deferred.text("reason");
    assert_eq!(reason, "no TLS: certificate-host-mismatch");
    assert_eq!((clear.received().len(), other.received().len()), (1, 0));
    let report = relay.run_json(&["tls", "report", "other.test"]).await;
    let row = &report["policies"][0];
    assert_eq!(row["policy"]["policy-type"], "no-policy-found");
    let failure = &row["failure-details"][0];
    assert_eq!(failure["result-type"], "certificate-host-mismatch");
    assert_eq!(failure["receiving-mx-hostname"], "mx.other.test");
    let table = relay.run(&["tls", "report", "good.test"]).await;
    assert!(
        table.contains("no-policy-found") && table.contains("good.test"),
        "{table}"
    );
    let none = relay.run(&["tls", "report", "nobody.test"]).await;
    assert_eq!(none, "no TLS session was tried today\n");
    // A restart forgets nothing.
    let relay = relay.stop().await.start().await;
    let report = relay.run_json(&["tls", "report", "good.test"]).await;
    assert_eq!(
        report["policies"][0]["summary"]["total-successful-session-count"],
        1
    );
}

#[tokio::test]
async fn requiretls_goes_on_or_the_mail_comes_back() {
    let net = Net::new().await;
    let setup = setup(
        &net,
        "good@example.test good@good.test\nold@example.test old@old.test\n\
         bad@example.test bad@bad.test\nopen@example.test open@open.test\n",
    );
    // An order of the operator's; that of `open.test` comes from DNS, where nothing proves it.
    let routes = ["good", "old", "bad", "sender"]
        .map(|name| format!("{{ domain = \"{name}.test\", host = \"mx.{name}.test\" }}"));
    let setup = setup.set("delivery.route", &format!("[{}]", routes.join(", ")));
    let offers = "offer: REQUIRETLS";
    let good = sink(&net, &setup, "good.test", "mx.good.test", offers).await;
    let old = sink(&net, &setup, "old.test", "mx.old.test", "").await;
    let bad = sink(&net, &setup, "bad.test", "mx.elsewhere.test", offers).await;
    let open = sink(&net, &setup, "open.test", "mx.open.test", offers).await;
    let origin = sink(&net, &setup, "sender.test", "mx.sender.test", offers).await;
    let relay = setup.start().await;
    send_private(&relay, "REQUIRETLS", "<good@example.test>").await;
    let got = good.message().await;
    assert!(
        got.tls && got.from_parameters.contains(&"REQUIRETLS".to_owned()),
        "{got:?}"
    );
    for to in ["old", "bad", "open"] {
        send_private(&relay, "REQUIRETLS", &format!("<{to}@example.test>")).await;
        relay
            .wait_for(&format!("failed to={to}@example.test status=5.7.30"))
            .await;
        let notice = origin.message().await;
        assert!(
            notice.tls && notice.from_parameters.contains(&"REQUIRETLS".to_owned()),
            "{notice:?}"
        );
        assert!(
            notice.text().contains("Status: 5.7.30"),
            "{}",
            notice.text()
        );
        let private = [format!("{to}.test"), "elsewhere.test".to_owned()];
        assert!(
            !private.iter().any(|name| notice.text().contains(name)),
            "{}",
            notice.text()
        );
    }
    for sink in [&old, &bad, &open] {
        assert!(sink.received().is_empty());
    }
    // Without it the same hosts do.
    send_private(&relay, "", "<bad@example.test>").await;
    let got = bad.message().await;
    assert!(
        !got.from_parameters.contains(&"REQUIRETLS".to_owned()),
        "{got:?}"
    );
}
