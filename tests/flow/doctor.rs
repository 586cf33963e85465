//! `onward doctor` and `check --dns`: what the world must publish, with a daemon and without one.

use testkit::net::Net;

use crate::relay;

#[tokio::test]
async fn what_is_wrong_is_shown_with_what_to_publish() {
    let net = Net::new().await;
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .set("doctor.addresses", "['192.0.2.10', '2001:db8::10']")
        .set("doctor.every", "'0d'")
        .start()
        .await;
    let found = relay.setup().run(&["doctor", "--json"]).await;
    assert_eq!(found.code, Some(1), "{found}");
    let json: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    let hostname = relay.run_json(&["status"]).await["hostname"].clone();
    let hostname = hostname.as_str().expect("a name").to_owned();
    let rows = json.as_array().expect("findings");
    let of = |check: &str, of: &str| {
        let row = rows
            .iter()
            .find(|row| row["check"] == check && row["of"] == of);
        row.unwrap_or_else(|| panic!("{check} {of}: {json:#}"))
            .clone()
    };
    let pointer = of("ptr", "192.0.2.10");
    assert_eq!(pointer["status"], "bad");
    assert_eq!(
        pointer["publish"],
        format!("10.2.0.192.in-addr.arpa. IN PTR {hostname}.")
    );
    assert_eq!(of("clock", "")["check"], "clock");
    let text = relay.setup().run(&["doctor"]).await.stdout;
    assert!(text.starts_with("BAD "), "the worst comes first: {text}");
    assert!(
        text.contains(&format!("publish: {hostname}. IN AAAA 2001:db8::10")),
        "{text}"
    );

    // Without a daemon the same is found, and said to be found from here.
    let setup = relay.stop().await;
    let here = setup.run(&["doctor"]).await;
    assert_eq!(here.code, Some(1), "{here}");
    assert!(here.stderr.contains("looking from here"), "{here}");
    assert!(
        here.stdout
            .contains("publish: 10.2.0.192.in-addr.arpa. IN PTR "),
        "{here}"
    );
    let check = setup.run(&["check", "--dns"]).await;
    assert!(
        check
            .stdout
            .contains("publish: 10.2.0.192.in-addr.arpa. IN PTR "),
        "{check}"
    );
    assert!(!setup.run(&["check"]).await.stdout.contains("ptr "));
}
