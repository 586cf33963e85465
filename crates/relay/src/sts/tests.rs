//! What comes of a policy host's answers, over real HTTPS on loopback.

use dns::Fixed;
use testkit::https::{self, Https};
use testkit::net::Net;
use testkit::tls::Identity;

use super::*;

/// The policy host of `a.test`, and what a relay knows that asks it.
struct World {
    host: Https,
    settings: Settings,
    dns: Fixed,
}

impl World {
    async fn new(identity: Identity) -> Self {
        let address = Net::new().await.address();
        let host = Https::start(address, &identity, String::new()).await;
        let name: Domain = "mta-sts.a.test".parse().unwrap();
        let mut settings = Settings::new("mx.test".parse().unwrap());
        settings.allow_loopback = true;
        settings.mta_sts_port = address.port();
        settings.roots = vec![identity.der()];
        let dns = Fixed::new().with_address(name, address.ip());
        Self {
            host,
            settings,
            dns,
        }
    }

    async fn check(&self, says: &str, expected: &str) {
        self.host.says(says.to_owned());
        let client = make(
            Arc::new(self.settings.clone()),
            dns::Backend::Fixed(self.dns.clone()),
        );
        let got = text(&client.unwrap(), &"a.test".parse().unwrap()).await;
        let got = match got {
            Ok(text) => String::from_utf8(text).unwrap(),
            Err(Fault { failure, text }) => format!("{} {text}", failure.name()),
        };
        assert!(got.starts_with(expected) && !expected.is_empty(), "{got}");
    }
}

#[tokio::test]
async fn answers() {
    let world = World::new(Identity::new("mta-sts.a.test")).await;
    let good = https::text("version: STSv1\n");
    world.check(&good, "version: STSv1").await;
    world
        .check(
            &good.replace("text/plain; charset=utf-8", "Text/Plain"),
            "version",
        )
        .await;
    let html = good.replace("text/plain", "text/html");
    world
        .check(
            &html,
            "sts-policy-invalid it is not text/plain, but `text/html`",
        )
        .await;
    let bare = "HTTP/1.1 200 OK\r\n\r\nversion: STSv1\n";
    world
        .check(bare, "sts-policy-invalid it is not text/plain, but ``")
        .await;
    let moved = good.replace("200 OK", "301 Moved\r\nLocation: https://mta-sts.a.test/");
    world
        .check(&moved, "sts-policy-fetch-error it answers 301")
        .await;
    world
        .check(
            &good.replace("200", "404"),
            "sts-policy-fetch-error it answers 404",
        )
        .await;
    let long = https::text(&"a: b\n".repeat(14_000));
    world.check(&long, "sts-policy-invalid over 64 KiB").await;
    world
        .check(
            "nonsense\r\n\r\n",
            "sts-policy-fetch-error error sending request",
        )
        .await;
    world
        .check("", "sts-policy-fetch-error error sending request")
        .await;
}

#[tokio::test]
async fn certificates() {
    let bad = "sts-webpki-invalid error sending request: client error (Connect): invalid peer certificate";
    let good = https::text("version: STSv1\n");
    let mut world = World::new(Identity::new("mta-sts.a.test")).await;
    world.settings.roots.clear();
    world.check(&good, bad).await;
    let other = World::new(Identity::new("a.test")).await;
    other.check(&good, bad).await;
    let expired = World::new(Identity::expired("mta-sts.a.test")).await;
    expired.check(&good, bad).await;
}

/// DNS is a stranger's.
#[tokio::test]
async fn addresses() {
    let mut world = World::new(Identity::new("mta-sts.a.test")).await;
    world.settings.allow_loopback = false;
    let refused = "sts-policy-fetch-error error sending request: client error (Connect): dns error: error resolving DNS: it has no address of the Internet";
    world.check("", refused).await;
    assert_eq!(world.host.asked(), 0);
    world.dns = Fixed::new();
    let none = "sts-policy-fetch-error error sending request: client error (Connect): dns error: error resolving DNS: no such domain";
    world.check("", none).await;
}
