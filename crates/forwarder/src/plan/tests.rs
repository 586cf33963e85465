//! Tests of planning: legs, reverse paths, tokens, trace lines, loops.

use envelope::{Envelope, Notify, OriginalRecipient};
use srs::Srs;

use super::*;
use crate::forwarder::Settings;

/// 21 November 2026, stamp `JK`.
const NOW: Timestamp = Timestamp::from_unix_millis(1_795_266_072_000);
const TABLE: &str = "\
alice@example.org  alice@mail.example.com
two@example.org    alice@mail.example.com, bob@mail.example.com
chain@example.org  alice@example.org, other@mail.example.com, none@example.org
plain@example.org  plain@mail.example.com srs=off
drop@example.org   :discard:
same@example.org   alice@mail.example.com srs=on
carol@cust.example carol@mail.example.com
cust.example       :domain: srs_domain=srs.cust.example
";

fn table() -> Table {
    Table::parse("forwards", TABLE.into()).unwrap()
}

fn forwarder() -> Forwarder {
    let settings = Settings {
        hostname: "mx1.example.net".parse().unwrap(),
        srs_domain: "fwd.example.net".parse().unwrap(),
        postmaster: Some("alice@example.org".parse().unwrap()),
        received_max: 50,
        more_srs_domains: Vec::new(),
        return_paths: crate::ReturnPaths::default(),
    };
    let srs = Srs::new(srs::Settings::new(["tops3cr3t"])).unwrap();
    Forwarder::new(srs, settings).unwrap()
}

fn envelope(sender: &str, recipients: &[&str]) -> Envelope {
    let mut envelope = Envelope::new(match sender {
        "" => ReversePath::Null,
        address => ReversePath::Mailbox(address.parse().unwrap()),
    });
    let path = |recipient: &&str| match *recipient {
        "postmaster" => ForwardPath::Postmaster,
        address => ForwardPath::Mailbox(address.parse().unwrap()),
    };
    envelope.recipients = recipients.iter().map(path).map(Recipient::new).collect();
    envelope
}

fn id(_: &Mailbox, _: Timestamp) -> Box<str> {
    "ID".into()
}

fn plan(sender: &str, recipients: &[&str]) -> Plan {
    plan_of(&envelope(sender, recipients), &mut id)
}

fn plan_of(envelope: &Envelope, token: &mut dyn FnMut(&Mailbox, Timestamp) -> Box<str>) -> Plan {
    let (forwarder, table) = (forwarder(), table());
    let routed = envelope.recipients.iter().map(|recipient| {
        let route = forwarder.route(&table, &recipient.forward_path, NOW);
        (recipient, route)
    });
    forwarder.plan(&table, &envelope.reverse_path, None, routed, NOW, token)
}

/// One line a leg: `<reverse path> → <target> for recipient`.
#[track_caller]
fn check(sender: &str, recipients: &[&str], expected: &[&str]) {
    let legs = plan(sender, recipients).into_legs();
    let shown: Vec<String> = legs
        .iter()
        .map(|leg| {
            format!(
                "{} → <{}> for {}",
                leg.reverse_path, leg.target, leg.recipient
            )
        })
        .collect();
    assert_eq!(shown, expected, "{sender} → {recipients:?}");
}

const REWRITTEN: &str = "<SRS0=FU0P=JK=b.example=a@fwd.example.net>";

#[test]
fn reverse_paths() {
    let to_alice = |path: &str| format!("{path} → <alice@mail.example.com> for alice@example.org");
    let alice = ["alice@example.org"];
    check("a@b.example", &alice, &[&to_alice(REWRITTEN)]);
    check("", &alice, &[&to_alice("<>")]);
    // Ours already: by the default domain, or by one of the table's.
    for ours in [
        "x@fwd.example.net",
        "SRS0=ASa2=JK=first.example=alice@srs.cust.example",
    ] {
        check(ours, &alice, &[&to_alice(&format!("<{ours}>"))]);
    }
    // SRS1 over SRS0 and over SRS1.
    check(
        "SRS0=opaque+string=x@first.example",
        &alice,
        &[&to_alice(
            "<SRS1=8LOR=first.example==opaque+string=x@fwd.example.net>",
        )],
    );
    check(
        "SRS1=XXXX=first.example==aB1c=XY=orig.example=user@second.example",
        &alice,
        &[&to_alice(
            "<SRS1=tMyi=first.example==aB1c=XY=orig.example=user@fwd.example.net>",
        )],
    );
    check(
        "a@b.example",
        &["plain@example.org"],
        &["<a@b.example> → <plain@mail.example.com> for plain@example.org"],
    );
    check(
        "a@b.example",
        &["carol@cust.example"],
        &[
            "<SRS0=FU0P=JK=b.example=a@srs.cust.example> → <carol@mail.example.com> for carol@cust.example",
        ],
    );
}

#[test]
fn relayed_mail_is_not_rewritten() {
    check(
        "a@b.example",
        &["x@elsewhere.example"],
        &["<a@b.example> → <x@elsewhere.example> for x@elsewhere.example"],
    );
    assert_eq!(
        &*plan("a@b.example", &["x@elsewhere.example"]).legs[0]
            .leg
            .trace,
        ""
    );
}

#[test]
fn returned_mail() {
    let srs0 = "SRS0=ASa2=JK=first.example=alice@fwd.example.net";
    check(
        "",
        &[srs0],
        &[&format!("<> → <alice@first.example> for {srs0}")],
    );
    // Not a bounce, if the policy lets it in: its sender is rewritten under the domain that it came by.
    let at_cust = "SRS0=ASa2=JK=first.example=alice@srs.cust.example";
    check(
        "a@b.example",
        &[at_cust],
        &[&format!(
            "<SRS0=FU0P=JK=b.example=a@srs.cust.example> → <alice@first.example> for {at_cust}"
        )],
    );
    assert_eq!(&*plan("", &[srs0]).legs[0].leg.trace, "");
}

#[test]
fn one_copy_a_target() {
    check(
        "",
        &[
            "alice@example.org",
            "two@example.org",
            "alice@example.org",
            "chain@example.org",
        ],
        &[
            "<> → <alice@mail.example.com> for alice@example.org",
            "<> → <bob@mail.example.com> for two@example.org",
            "<> → <other@mail.example.com> for chain@example.org",
        ],
    );
    // The others go with it, each once in the leg, as often as named in the log.
    let both = plan(
        "",
        &["alice@example.org", "two@example.org", "two@example.org"],
    );
    assert_eq!(both.legs[0].recipients().count(), 3);
    let legs = both.into_legs();
    let two = "two@example.org".parse().unwrap();
    assert_eq!(legs[0].merged, Merged::new(vec![two]));
    assert_eq!(legs[1].merged, Merged::default());
    // A target that was named itself does not tell who else leads there.
    let named = plan("", &["alice@mail.example.com", "alice@example.org"]);
    assert_eq!(named.legs.len(), 2);
    // Who wants to hear of it separately gets it separately.
    let mut twice = envelope("", &["alice@example.org", "two@example.org"]);
    twice.recipients[1].notify = Some(Notify::NEVER);
    let plan = plan_of(&twice, &mut id);
    assert_eq!(plan.legs.len(), 3);
    assert_eq!(plan.legs[1].leg.notify, Some(Notify::NEVER));
}

#[test]
fn dsn_wishes_go_with_the_legs() {
    let mut one = envelope("a@b.example", &["postmaster"]);
    let original = OriginalRecipient {
        kind: "rfc822".into(),
        address: "pm@example.com".into(),
    };
    one.recipients[0].original = Some(original.clone());
    let plan = plan_of(&one, &mut id);
    let leg = &plan.legs[0].leg;
    assert_eq!(leg.original.as_ref(), Some(&original));
    assert_eq!(leg.recipient.to_string(), "postmaster@mx1.example.net");
    assert_eq!(leg.target.to_string(), "alice@mail.example.com");
}

#[test]
fn trace_names_each_step() {
    let plan = plan("", &["chain@example.org"]);
    assert_eq!(
        &*plan.legs[0].leg.trace,
        "Delivered-To: alice@example.org\r\nDelivered-To: chain@example.org\r\n"
    );
    assert_eq!(
        &*plan.legs[1].leg.trace,
        "Delivered-To: chain@example.org\r\n"
    );
    assert_eq!(plan.broken.len(), 1);
    assert_eq!(plan.broken[0].address.to_string(), "none@example.org");
}

#[test]
fn discarded_and_nothing_else() {
    let plan = plan("", &["drop@example.org"]);
    assert!(plan.legs.is_empty());
    assert_eq!(plan.discarded[0].to_string(), "drop@example.org");
}

#[test]
fn senders_that_do_not_fit_get_a_token() {
    // The last one fits without its quotes (63 octets), but not with them.
    let quoted = format!("\"{} x\"@b.example", "l".repeat(38));
    for sender in [
        "bounces+subscriber=customer.example.org-1234567890@lists.example",
        "bounces+12345678-ab12-firstname.lastname=department.company-name.example@em1234.shop.example",
        &format!("{}@lists.example", "l".repeat(886)),
        "SRS0=aaaa=bb=somewhere.example.org=somebody-with-a-name-that-is-over-sixty-four@fwd.example",
        // What only SMTPUTF8 could carry must not depend on the next hop.
        "jürgen@b.example",
        "a@[192.0.2.1]",
        "SRS0=aaaa=bb=somewhere.example.org=somebody@a-rather-long-name.example",
        &quoted,
    ] {
        let mut kept = Vec::new();
        let mut keep = |sender: &Mailbox, until| {
            kept.push((sender.clone(), until));
            "ID".into()
        };
        let message = envelope(sender, &["alice@example.org", "two@example.org"]);
        let plan = plan_of(&message, &mut keep);
        // Once, until the end of the last day.
        let midnight = NOW.unix_secs() / 86_400 * 86_400;
        let until = Timestamp::from_unix_millis((midnight + 22 * 86_400) * 1000);
        let sender_again: Mailbox = sender.parse().unwrap();
        assert_eq!(kept, [(sender_again.clone(), until)]);
        let ReversePath::Mailbox(path) = &plan.legs[0].leg.reverse_path else {
            panic!("null");
        };
        assert!(path.local_part().written_octets() <= 64 && path.to_string() != sender);
        // Its bounce comes back.
        let bounce = ForwardPath::Mailbox(path.clone());
        let route = forwarder().route(&table(), &bounce, NOW);
        assert_eq!(route, Route::Token("ID".into()));
        let Route::Return { expansion, .. } =
            forwarder().route_return(&table(), path, sender_again, NOW)
        else {
            panic!("{path} does not lead back");
        };
        assert_eq!(expansion.targets[0].mailbox.to_string(), sender);
    }
}

/// Others wrote longer local parts with the same secret: they come back, too.
#[test]
fn an_srs_address_over_64_octets_comes_back() {
    let sender = "bounces+12345678-ab12-firstname.lastname=department.company-name.example@em1234.shop.example";
    let rewritten = "SRS0=-DU7=JK=em1234.shop.example=bounces+12345678-ab12-firstname.lastname=department.company-name.example@fwd.example.net";
    let plan = plan("", &[rewritten]);
    assert_eq!(plan.legs[0].leg.target.to_string(), sender);
    assert_eq!(plan.legs[0].leg.recipient.to_string(), rewritten);
}

#[test]
fn sixty_four_octets_with_quotes_still_fit() {
    let sender = format!("\"{} x\"@b.example", "l".repeat(37));
    let plan = plan(&sender, &["alice@example.org"]);
    let path = plan.legs[0].leg.reverse_path.mailbox().unwrap();
    assert_eq!(path.local_part().written_octets(), 64);
    assert!(path.to_string().starts_with("\"SRS0="), "{path}");
}

fn scan(header: &str) -> HeaderScan {
    let mut scan = HeaderScan::default();
    scan.feed(header.as_bytes());
    scan.feed(b"\r\n");
    scan
}

/// What is left, and what is left out for which address.
#[track_caller]
fn check_loop(recipients: &[&str], header: &str, left: &[&str], out: &[&str]) {
    let mut plan = plan("", recipients);
    let scan = scan(header);
    let loops: Vec<Mailbox> = plan.loops(&scan).cloned().collect();
    let looping = plan.remove_loops(&scan);
    assert!(looping.iter().all(|l| loops.contains(&l.passed)));
    assert_eq!(plan.loops(&scan).count(), 0);
    let target = |planned: &PlannedLeg| planned.leg.target.to_string();
    let targets: Vec<String> = plan.legs.iter().map(target).collect();
    assert_eq!(targets, left, "{recipients:?} {header:.80}");
    let shown = |l: &Looping| format!("{} → {}: {}", l.recipient, l.target, l.passed);
    let looping: Vec<String> = looping.iter().map(shown).collect();
    assert_eq!(looping, out, "{recipients:?} {header:.80}");
}

const PASSED: &str = "alice@example.org";

#[test]
fn loops() {
    let alice = ["alice@example.org"];
    let at_mail = "alice@mail.example.com";
    check_loop(
        &alice,
        "Delivered-To: alice@mail.example.com\r\n",
        &[at_mail],
        &[],
    );
    let to_alice = format!("alice@example.org → {at_mail}: {PASSED}");
    check_loop(
        &alice,
        "Delivered-To: Alice@Example.org\r\n",
        &[],
        &[&to_alice],
    );
    // The leg that loops is left out alone, and the step on its way is named.
    check_loop(
        &["plain@example.org", "chain@example.org"],
        "Delivered-To: alice@example.org\r\n",
        &["plain@mail.example.com", "other@mail.example.com"],
        &[&format!("chain@example.org → {at_mail}: {PASSED}")],
    );
    // Those that share the leg are told of, too.
    check_loop(
        &["alice@example.org", "two@example.org"],
        "Delivered-To: alice@example.org\r\n",
        &["bob@mail.example.com"],
        &[&to_alice, &format!("two@example.org → {at_mail}: {PASSED}")],
    );
    // Relayed mail knows no Delivered-To.
    let elsewhere = "Delivered-To: x@elsewhere.example\r\n";
    check_loop(
        &["x@elsewhere.example"],
        elsewhere,
        &["x@elsewhere.example"],
        &[],
    );
}

/// The options of each leg.
#[track_caller]
fn check_options(recipients: &[&str], expected: &[&str]) {
    let legs = plan("a@far.example", recipients).into_legs();
    let options: Vec<&str> = legs.iter().map(|leg| leg.options.as_str()).collect();
    assert_eq!(options, expected, "{recipients:?}");
}

#[test]
fn legs_keep_the_options_of_their_forward() {
    check_options(&["alice@example.org"], &[""]);
    check_options(&["plain@example.org"], &["srs=off"]);
    check_options(&["carol@cust.example"], &["srs_domain=srs.cust.example"]);
    check_options(&["elsewhere@relay.example"], &[""]);
    // One copy would have the options of one of them.
    check_options(&["alice@example.org", "same@example.org"], &["", "srs=on"]);
}

/// The reverse path of each leg of a user's mail with this return path.
#[track_caller]
fn check_return_path(return_path: &str, sender: &str, recipients: &[&str], expected: &[&str]) {
    let (forwarder, table) = (forwarder(), table());
    let envelope = envelope(sender, recipients);
    let routed = envelope.recipients.iter().map(|recipient| {
        let route = forwarder.route(&table, &recipient.forward_path, NOW);
        (recipient, route)
    });
    let path = return_path.parse().unwrap();
    let from = &envelope.reverse_path;
    let plan = forwarder.plan(&table, from, Some(&path), routed, NOW, &mut id);
    let shown: Vec<_> = plan
        .legs
        .iter()
        .map(|l| l.leg.reverse_path.to_string())
        .collect();
    assert_eq!(shown, expected, "{sender} under {return_path}");
}

#[test]
fn under_a_return_path() {
    let path = "Customer+{original}@service.example";
    let ann = "<customer+VQuL=JK=shop.example=ann@service.example>";
    // Foreign, forwarded, and forwarded without SRS alike.
    let to = [
        "x@foreign.example",
        "alice@example.org",
        "plain@example.org",
    ];
    check_return_path(path, "ann@shop.example", &to, &[ann; 3]);
    let to = ["x@foreign.example"];
    check_return_path(path, "", &to, &["<>"]);
    // Made by the user himself, or by us before.
    for own in ["customer+5@service.example", "CUSTOMER+x=y@service.example"] {
        check_return_path(path, own, &to, &[&*format!("<{own}>")]);
    }
    let other = "<customer+2h5x=JK=service.example=ann@service.example>";
    check_return_path(path, "ann@service.example", &to, &[other]);
    // What cannot be written gets a token.
    let token = "<customer+P8OY=JK=ID=t@service.example>";
    let long = format!("{}@shop.example", "a".repeat(50));
    for sender in [
        &long,
        "a@[192.0.2.1]",
        "\"a b\"@very-long-host-name-of-the-shop123.example",
    ] {
        check_return_path(path, sender, &to, &[token]);
    }
    check_return_path(path, "j\u{f6}rg@shop.example", &to, &[token]);
    check_return_path(
        path,
        "\"a b\"@c.example",
        &to,
        &["<\"customer+an_g=JK=c.example=a b\"@service.example>"],
    );
}
