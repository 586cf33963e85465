//! Tests of routing: SRS addresses of ours, postmasters, hosted and foreign recipients.

use super::*;
use crate::table::Table;

/// 21 November 2026, stamp `JK`.
const NOW: Timestamp = Timestamp::from_unix_millis(1_795_266_072_000);
const TABLE: &str = "\
alice@example.org  alice@mail.example.com
gone@example.org   :reject: 550 5.1.6 moved
drop@example.org   :discard:
@catch.example     all@mail.example.com
catch.example      :domain: srs_domain=srs.catch.example
post@example.org   postbox@mail.example.com
own.example        :domain:
postmaster@own.example  me@mail.example.com
";

fn table() -> Table {
    Table::parse("forwards", TABLE.into()).unwrap()
}

fn forwarder(postmaster: Option<&str>) -> Forwarder {
    let settings = Settings {
        hostname: "mx1.example.net".parse().unwrap(),
        srs_domain: "fwd.example.net".parse().unwrap(),
        postmaster: postmaster.map(|address| address.parse().unwrap()),
        received_max: 50,
        more_srs_domains: Vec::new(),
        return_paths: return_paths(),
    };
    let srs = Srs::new(srs::Settings::new(["tops3cr3t"])).unwrap();
    Forwarder::new(srs, settings).unwrap()
}

fn return_paths() -> ReturnPaths {
    let texts = [
        "customer+{original}@service.example",
        "customer+a+{original}@service.example",
        "all+{original}@catch.example",
        "verp-{original}@fwd.example.net",
    ];
    let mut paths = ReturnPaths::default();
    paths.extend(texts.map(|text| text.parse().unwrap()));
    paths
}

fn shown(route: Route) -> String {
    let targets = |expansion: Expansion| {
        let targets = expansion.targets.iter().map(|target| {
            let via: Vec<String> = target.via.iter().map(ToString::to_string).collect();
            format!("{} via [{}]", target.mailbox, via.join(", "))
        });
        targets.collect::<Vec<_>>().join(", ")
    };
    match route {
        Route::Forward(expansion) => targets(expansion),
        Route::Return { sender, expansion } => format!("back to {sender}: {}", targets(expansion)),
        Route::Token(_) => "token".into(),
        Route::Discard(_) => "discard".into(),
        Route::Refused(reply) => reply.to_string(),
        Route::SrsRefused(refusal) => refusal.to_string(),
        Route::Unknown => "unknown".into(),
        Route::NotHosted => "not hosted".into(),
    }
}

#[track_caller]
fn check(forwarder: &Forwarder, recipient: &str, expected: &str) {
    let path = match recipient {
        "postmaster" => ForwardPath::Postmaster,
        address => ForwardPath::Mailbox(address.parse().unwrap()),
    };
    let route = forwarder.route(&table(), &path, NOW);
    assert_eq!(shown(route), expected, "{recipient}");
}

#[test]
fn hosted_and_foreign() {
    let forwarder = forwarder(None);
    check(
        &forwarder,
        "alice@example.org",
        "alice@mail.example.com via [alice@example.org]",
    );
    check(
        &forwarder,
        "any@catch.example",
        "all@mail.example.com via [any@catch.example]",
    );
    check(&forwarder, "gone@example.org", "550 5.1.6 moved");
    check(&forwarder, "drop@example.org", "discard");
    check(&forwarder, "nobody@example.org", "unknown");
    check(&forwarder, "nobody@elsewhere.example", "not hosted");
    check(&forwarder, "nobody@[192.0.2.1]", "not hosted");
    // SRS domains are ours, and nobody else lives there.
    check(&forwarder, "nobody@fwd.example.net", "unknown");
    check(&forwarder, "nobody@srs.catch.example", "unknown");
}

#[test]
fn srs_addresses_of_ours() {
    let forwarder = forwarder(None);
    let back = "back to Bob@first.example: Bob@first.example via []";
    let bob = forwarder
        .srs
        .forward("Bob", "first.example", Day::from_unix_secs(NOW.unix_secs()))
        .unwrap();
    // In any SRS domain of ours, folded or not.
    check(&forwarder, &format!("{bob}@fwd.example.net"), back);
    check(&forwarder, &format!("{bob}@srs.catch.example"), back);
    check(
        &forwarder,
        &format!("{}@FWD.example.net", bob.to_lowercase()),
        &back.replace("Bob", "bob"),
    );
    // Elsewhere it is an address like others.
    check(
        &forwarder,
        &format!("{bob}@catch.example"),
        &format!("all@mail.example.com via [{bob}@catch.example]"),
    );
    check(
        &forwarder,
        &format!("{bob}@elsewhere.example"),
        "not hosted",
    );
    // From a published vector: SRS1 goes to the first forwarder.
    check(
        &forwarder,
        "SRS1=8LOR=first.example==opaque+string=x@fwd.example.net",
        "back to SRS0=opaque+string=x@first.example: SRS0=opaque+string=x@first.example via []",
    );
    // What needed quotes needs them again.
    let john = forwarder
        .srs
        .forward(
            "John Doe",
            "first.example",
            Day::from_unix_secs(NOW.unix_secs()),
        )
        .unwrap();
    check(
        &forwarder,
        &format!("\"{john}\"@fwd.example.net"),
        "back to \"John Doe\"@first.example: \"John Doe\"@first.example via []",
    );
}

#[test]
fn srs_addresses_that_are_refused() {
    let forwarder = forwarder(Some("post@example.org"));
    for (address, expected) in [
        (
            "SRS0=AAAA=JK=first.example=bob@fwd.example.net",
            "SRS address not signed by us",
        ),
        (
            "SRS0=ASa2=JK=first.example=bob@srs.catch.example",
            "SRS address not signed by us",
        ),
        ("SRS0=rubbish@fwd.example.net", "malformed SRS address"),
        (
            "SRS1=8LOR=other.example==opaque+string=x@fwd.example.net",
            "SRS address not signed by us",
        ),
    ] {
        check(&forwarder, address, expected);
    }
    let old = Day::from_unix_secs(NOW.unix_secs() - 22 * 86_400);
    let expired = forwarder.srs.forward("bob", "first.example", old).unwrap();
    check(
        &forwarder,
        &format!("{expired}@fwd.example.net"),
        "SRS address expired: 22 days old",
    );
    let early = Day::from_unix_secs(NOW.unix_secs() + 2 * 86_400);
    let early = forwarder
        .srs
        .forward("bob", "first.example", early)
        .unwrap();
    check(
        &forwarder,
        &format!("{early}@fwd.example.net"),
        "SRS address from the future",
    );
    let strange = forwarder
        .srs
        .forward("bob", "a..b", Day::from_unix_secs(NOW.unix_secs()))
        .unwrap();
    check(
        &forwarder,
        &format!("\"{strange}\"@fwd.example.net"),
        "SRS address without a sender in it",
    );
}

/// Mail of a hosted sender to a hosted recipient comes back through the sender's own forward.
#[test]
fn back_to_a_hosted_sender() {
    let forwarder = forwarder(None);
    let today = Day::from_unix_secs(NOW.unix_secs());
    let alice = forwarder
        .srs
        .forward("alice", "example.org", today)
        .unwrap();
    check(
        &forwarder,
        &format!("{alice}@fwd.example.net"),
        "back to alice@example.org: alice@mail.example.com via [alice@example.org]",
    );
    let nobody = forwarder
        .srs
        .forward("nobody", "example.org", today)
        .unwrap();
    check(&forwarder, &format!("{nobody}@fwd.example.net"), "unknown");
}

/// A postmaster without a line of his own has sent mail, too.
#[test]
fn back_to_a_hosted_postmaster() {
    let forwarder = forwarder(Some("admin@else.example"));
    let today = Day::from_unix_secs(NOW.unix_secs());
    let rewritten = forwarder
        .srs
        .forward("postmaster", "example.org", today)
        .unwrap();
    check(
        &forwarder,
        &format!("{rewritten}@fwd.example.net"),
        "back to postmaster@example.org: admin@else.example via [postmaster@example.org]",
    );
}

/// Us, another forwarder, us again: all of our own layers are taken off.
#[test]
fn our_own_address_within_our_own() {
    let forwarder = forwarder(None);
    let today = Day::from_unix_secs(NOW.unix_secs());
    let inner = forwarder.srs.forward("b", "c.example", today).unwrap();
    let outer = forwarder
        .srs
        .forward(&inner, "fwd.example.net", today)
        .unwrap();
    check(
        &forwarder,
        &format!("{outer}@srs.catch.example"),
        "back to b@c.example: b@c.example via []",
    );
}

#[test]
fn tokens_are_recalled_by_the_caller() {
    let forwarder = forwarder(None);
    let today = Day::from_unix_secs(NOW.unix_secs());
    let address = format!("{}@fwd.example.net", forwarder.srs.token("ID", today));
    check(&forwarder, &address, "token");
    let sender = "Long@first.example".parse().unwrap();
    let route = forwarder.route_return(&table(), &address.parse().unwrap(), sender, NOW);
    assert_eq!(
        shown(route),
        "back to Long@first.example: Long@first.example via []"
    );
}

#[test]
fn postmasters() {
    let forwarder = forwarder(Some("post@example.org"));
    let mail = "postbox@mail.example.com via";
    check(
        &forwarder,
        "postmaster",
        &format!("{mail} [postmaster@mx1.example.net, post@example.org]"),
    );
    check(
        &forwarder,
        "PostMaster@example.org",
        &format!("{mail} [PostMaster@example.org, post@example.org]"),
    );
    // A catch-all is no line of its own.
    check(
        &forwarder,
        "postmaster@catch.example",
        &format!("{mail} [postmaster@catch.example, post@example.org]"),
    );
    check(
        &forwarder,
        "postmaster@fwd.example.net",
        &format!("{mail} [postmaster@fwd.example.net, post@example.org]"),
    );
    check(
        &forwarder,
        "postmaster@own.example",
        "me@mail.example.com via [postmaster@own.example]",
    );
    check(&forwarder, "postmaster@elsewhere.example", "not hosted");
}

#[test]
fn postmasters_outside_or_nowhere() {
    check(
        &forwarder(Some("root@far.example")),
        "postmaster",
        "root@far.example via [postmaster@mx1.example.net]",
    );
    let none = forwarder(None);
    check(&none, "postmaster@example.org", "unknown");
    check(
        &none,
        "postmaster@catch.example",
        "all@mail.example.com via [postmaster@catch.example]",
    );
}

#[test]
fn srs_domain_with_room_for_a_local_part() {
    let long = format!("{0}.{0}.{0}", "a".repeat(63));
    let settings = Settings {
        srs_domain: long.parse().unwrap(),
        ..forwarder(None).settings
    };
    let srs = Srs::new(srs::Settings::new(["x"])).unwrap();
    assert_eq!(
        Forwarder::new(srs, settings).err(),
        Some(SettingsError::SrsDomainTooLong)
    );
}

/// An SRS domain may be hosted too: what looks like SRS never gets to its catch-all.
#[test]
fn a_catch_all_in_an_srs_domain() {
    let forwarder = forwarder(None);
    let table = Table::parse("f", b"@fwd.example.net all@mail.example.com\n".to_vec()).unwrap();
    for (address, expected) in [
        (
            "any@fwd.example.net",
            "all@mail.example.com via [any@fwd.example.net]",
        ),
        ("SRS0=x@fwd.example.net", "malformed SRS address"),
        (
            "srs1+AAAA=a.example==x@fwd.example.net",
            "SRS address not signed by us",
        ),
        (
            "SRS0=ASa2=JK=first.example=alice@fwd.example.net",
            "back to alice@first.example: alice@first.example via []",
        ),
    ] {
        let path = ForwardPath::Mailbox(address.parse().unwrap());
        let route = forwarder.route(&table, &path, NOW);
        assert_eq!(shown(route), expected, "{address}");
    }
}

#[test]
fn addresses_of_return_paths() {
    let forwarder = forwarder(None);
    let made = |face: &str, days: u64| {
        let day = Day::from_unix_secs(NOW.unix_secs() - days * 86_400);
        let face = srs::Face::new(face).unwrap();
        let srs = &forwarder.srs;
        let local = srs
            .forward_as(Some(&face), "Bob", "first.example", day)
            .unwrap();
        (local, srs.token_as(Some(&face), "ID", day))
    };
    for (face, domain) in [
        ("customer+", "service.example"),
        ("customer+", "SERVICE.example"),
        ("customer+a+", "service.example"),
        ("all+", "catch.example"),
        ("verp-", "fwd.example.net"),
    ] {
        let (bob, token) = made(face, 0);
        let back = "back to Bob@first.example: Bob@first.example via []";
        check(&forwarder, &format!("{bob}@{domain}"), back);
        check(
            &forwarder,
            &format!("{}@{domain}", bob.to_lowercase()),
            &back.replace("Bob", "bob"),
        );
        check(&forwarder, &format!("{token}@{domain}"), "token");
        let forged = bob.replace("Bob", "eve");
        check(
            &forwarder,
            &format!("{forged}@{domain}"),
            "SRS address not signed by us",
        );
        let (old, _) = made(face, 22);
        check(
            &forwarder,
            &format!("{old}@{domain}"),
            "SRS address expired: 22 days old",
        );
    }
    // A domain where it was not made, and a face of another's.
    let (bob, _) = made("customer+", 0);
    check(
        &forwarder,
        &format!("{bob}@elsewhere.example"),
        "not hosted",
    );
    check(&forwarder, &format!("{bob}@fwd.example.net"), "unknown");
    check(
        &forwarder,
        &format!("{}@catch.example", bob.replace("customer+", "all+")),
        "SRS address not signed by us",
    );
    // Others may live beside them.
    check(
        &forwarder,
        "all+news@catch.example",
        "all@mail.example.com via [all+news@catch.example]",
    );
    check(&forwarder, "customer+news@service.example", "not hosted");
}

#[test]
fn a_return_path_inside_of_srs() {
    let forwarder = forwarder(None);
    let today = Day::from_unix_secs(NOW.unix_secs());
    let face = srs::Face::new("customer+").unwrap();
    let inner = forwarder
        .srs
        .forward_as(Some(&face), "b", "x.example", today)
        .unwrap();
    let outer = forwarder
        .srs
        .forward(&inner, "service.example", today)
        .unwrap();
    check(
        &forwarder,
        &format!("{outer}@fwd.example.net"),
        "back to b@x.example: b@x.example via []",
    );
}
