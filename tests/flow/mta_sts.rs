//! MTA-STS: what a domain has published decides who gets its mail, and outlives a restart.

use testkit::daemon::Setup;
use testkit::https::{self, Https};
use testkit::net::Net;
use testkit::sink::Sink;
use testkit::tls::Identity;

use crate::{origin_sends, relay};

/// A domain with a policy that names `mx.DOMAIN`.
struct Domain {
    policy: Https,
    sink: Sink,
    pem: String,
}

impl Domain {
    async fn new(net: &Net, domain: &str, mode: &str, shown: &Identity) -> Self {
        let sink = Sink::with_tls(net.address(), "", Some(shown)).await;
        net.publish(domain, sink.address());
        let identity = Identity::new(&format!("mta-sts.{domain}"));
        let text =
            format!("version: STSv1\r\nmode: {mode}\r\nmx: mx.{domain}\r\nmax_age: 86400\r\n");
        let policy = Https::start(net.address(), &identity, https::text(&text)).await;
        let ip = policy.address().ip();
        net.dns.add(&format!(
            "_mta-sts.{domain} TXT v=STSv1; id=1\nmta-sts.{domain} A {ip}"
        ));
        let pem = identity.certificate_pem;
        Self { policy, sink, pem }
    }
}

/// A relay that trusts these.
fn trusting(net: &Net, forwards: &str, pems: &[&str]) -> Setup {
    let setup = relay(net, forwards);
    setup.write("ca.pem", &pems.concat());
    setup
        .set("delivery.ca", "\"ca.pem\"")
        .set("delivery.mta_sts_port", &net.port().to_string())
}

#[tokio::test]
async fn a_policy_is_followed_and_outlives_a_restart() {
    let net = Net::new().await;
    let shown = Identity::new("mx.target.test");
    let domain = Domain::new(&net, "target.test", "enforce", &shown).await;
    let forwards = "alice@example.test alice@target.test\n";
    let pems = [&*domain.pem, &*shown.certificate_pem];
    let relay = trusting(&net, forwards, &pems).start().await;
    origin_sends(&relay, "alice@example.test", "one").await;
    assert!(domain.sink.message().await.tls);
    relay.wait_for("delivered verified=sts").await;
    assert_eq!(domain.policy.asked(), 1);
    let told = "TLS verified\n    MTA-STS policy: enforce: mx.target.test until ";
    let explain = ["explain", "--to", "alice@example.test"];
    let explained = relay.run(&explain).await;
    assert!(explained.contains(told), "{explained}");

    // Nobody has the policy any more, and somebody else has the address.
    let kept = relay.setup().path("spool/mta-sts");
    while !kept.exists() {
        tokio::task::yield_now().await;
    }
    let setup = relay.stop().await;
    drop(domain.policy);
    net.dns.remove("_mta-sts.target.test");
    net.dns.remove("mx.target.test");
    let other = Identity::new("mx.other.test");
    let sink = Sink::with_tls(net.address(), "", Some(&other)).await;
    let ip = sink.address().ip();
    net.dns.add(&format!("mx.target.test A {ip}"));
    let relay = setup.start().await;
    let explained = relay.run(&explain).await;
    assert!(explained.contains(told), "{explained}");
    origin_sends(&relay, "alice@example.test", "two").await;
    relay.wait_for("deferred").await;
    assert!(sink.received().is_empty() && sink.connections() > 0);
}

/// Another name, a time that is over, an issuer whom nobody trusts, a host that is not named; and one that only wants to be told.
#[tokio::test]
async fn what_does_not_keep_to_its_policy_gets_no_mail() {
    let net = Net::new().await;
    let wrong = Identity::new("other.test");
    let expired = Identity::expired("mx.expired.test");
    let stranger = Identity::new("mx.stranger.test");
    let unnamed = Identity::new("mx.unnamed.test");
    let domains = [
        Domain::new(&net, "wrong.test", "enforce", &wrong).await,
        Domain::new(&net, "expired.test", "enforce", &expired).await,
        Domain::new(&net, "stranger.test", "enforce", &stranger).await,
        Domain::new(&net, "unnamed.test", "enforce", &unnamed).await,
    ];
    let elsewhere = "version: STSv1\nmode: enforce\nmx: mx.elsewhere.test\nmax_age: 86400\n";
    domains[3].policy.says(https::text(elsewhere));
    let testing = Domain::new(&net, "testing.test", "testing", &wrong).await;
    let mut pems = vec![&*testing.pem, &*wrong.certificate_pem];
    pems.extend([&*expired.certificate_pem, &*unnamed.certificate_pem]);
    pems.extend(domains.iter().map(|domain| &*domain.pem));
    let names = ["wrong", "expired", "stranger", "unnamed", "testing"];
    let forward = |name: &&str| format!("{name}@example.test alice@{name}.test\n");
    let forwards: String = names.iter().map(forward).collect();
    let relay = trusting(&net, &forwards, &pems).start().await;
    for name in names {
        origin_sends(&relay, &format!("{name}@example.test"), name).await;
    }
    for name in ["wrong", "expired", "stranger", "unnamed"] {
        let pattern = format!("deferred to={name}@example.test status=4.7.5");
        relay.wait_for(&pattern).await;
    }
    assert!(testing.sink.message().await.tls);
    relay.wait_for("delivered verified=no").await;
    let told = relay.run(&["tls", "report", "testing.test"]).await;
    assert!(told.contains("certificate-host-mismatch"), "{told}");
    for domain in &domains {
        assert!(domain.sink.received().is_empty() && domain.policy.asked() == 1);
    }
}
