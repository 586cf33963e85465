//! `onward spf lint` and `onward spf build`: the records of the field, and the one to publish.

use serde_json::Value;
use testkit::net::Net;
use testkit::program;

use crate::relay;

const ONWARD: &str = env!("CARGO_BIN_EXE_onward");

#[tokio::test]
async fn lint_shows_the_place_and_the_right_record() {
    let net = Net::new().await;
    net.dns.add(
        "host.test TXT v=spf1 mx a:ironport a:sandberg
         host.test MX 10 mx.host.test
         mx.host.test A 192.0.2.7
         sandberg.host.test A 192.0.2.8
         well.test TXT v=spf1 ip4:192.0.2.7 ip6:2001:db8::7 -all
         ill.test SERVFAIL",
    );
    let server = net.dns.address().to_string();
    let lint = async |domain: &str, more: &[&str]| {
        let arguments = [&["spf", "lint", domain, "--server", &server], more].concat();
        program::run(ONWARD, &arguments, b"").await
    };
    let found = lint("host.test", &[]).await;
    assert_eq!(found.code, Some(1), "{found}");
    for expected in [
        "v=spf1 mx a:ironport a:sandberg\nhost.test: 2 look-ups of 10, without a result 0 (IPv4) and 1 (IPv6) of 2\n",
        "\n    1 mx  (no IPv6 address here: mx.host.test)\n",
        "\nerror: `ironport` is not a full domain name\n  v=spf1 mx a:ironport a:sandberg\n              ^^^^^^^^\n  SPF completes no names, ",
        "\nnote: no IPv6 address may send\n",
        "\nto publish:\nhost.test. IN TXT \"v=spf1 mx a:sandberg.host.test ~all\"\n",
    ] {
        assert!(found.stdout.contains(expected), "{expected}\n{found}");
    }
    let json = lint("host.test", &["--json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let place = serde_json::json!({ "record": 0, "at": 12, "term": "ironport" });
    let relative = json["findings"].as_array().expect("findings");
    let relative = relative
        .iter()
        .find(|finding| finding["fault"] == "relative-name");
    assert_eq!(relative.expect("it is found")["place"], place);
    assert_eq!(json["tree"][0]["lookups"], 1);

    let well = lint("well.test", &[]).await.success();
    assert!(!well.stdout.contains("publish"), "{well}");
    let ill = lint("ill.test", &[]).await;
    assert_eq!(ill.code, Some(1), "{ill}");
    assert!(ill.stdout.contains("warning: no answer: "), "{ill}");
}

#[tokio::test]
async fn build_adds_what_we_send_from() {
    let net = Net::new().await;
    net.dns.add(
        "fwd.test TXT v=spf1 include:_spf.other.test ip4:192.0.2.0/28 -all
         _spf.other.test TXT v=spf1 ip4:203.0.113.9 ~all
         ill.test SERVFAIL",
    );
    let forwards = "example.test :domain: srs_domain=srs.example.test\n";
    let relay = relay(&net, forwards).set("delivery.bind", "['192.0.2.1', '2001:db8::1']");
    let built = relay.run(&["spf", "build"]).await.success();
    let expected = "; fwd.test: 2001:db8::1, from which mail is sent, may not send\n\
        fwd.test. IN TXT \"v=spf1 ip6:2001:db8::1 include:_spf.other.test ip4:192.0.2.0/28 -all\"\n\
        ; srs.example.test: there is no SPF record\n\
        ; srs.example.test: 192.0.2.1, from which mail is sent, may not send\n\
        ; srs.example.test: 2001:db8::1, from which mail is sent, may not send\n\
        srs.example.test. IN TXT \"v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 ~all\"\n";
    assert_eq!(built.stdout, expected);
    let relay = relay.set("doctor.addresses", "['192.0.2.2']");
    let seen = relay.run(&["spf", "build", "srs.example.test"]).await;
    let seen = seen.success();
    assert!(
        seen.stdout.ends_with("\"v=spf1 ip4:192.0.2.2 ~all\"\n"),
        "{seen}"
    );
    let same = relay
        .run(&["spf", "build", "fwd.test", "--address", "192.0.2.3"])
        .await
        .success();
    assert_eq!(same.stdout, "; fwd.test: nothing to change\n");
    // What is published there is not known: it must not be replaced.
    let ill = relay.run(&["spf", "build", "ill.test"]).await;
    assert_eq!(ill.code, Some(1), "{ill}");
    assert!(!ill.stdout.contains("IN TXT"), "{ill}");
    let hidden = ["spf", "build", "fwd.test", "--address", "10.0.0.1"];
    relay
        .run_into_error(&hidden, &["10.0.0.1", "hint: give the public ones"])
        .await;
}
