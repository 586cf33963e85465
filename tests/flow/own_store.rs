//! The own store of forwards: changed over HTTP and by commands while mail goes on, and there after a restart.

use std::time::{Duration, Instant, SystemTime};

use envelope::Timestamp;
use serde_json::{Value, json};
use testkit::daemon::Setup;
use testkit::net::Net;
use testkit::sender::Plain;

use crate::flow::http::{Answer, Api, token};
use crate::relay;

const FILE: &str = "alice@example.test alice@target.test\nexample.test :domain: srs=off\n";

fn setup(net: &Net) -> Setup {
    relay(net, FILE).set("forwards.store", "\"api\"")
}

async fn send(api: &Api, method: &str, path: &str, version: &str, body: Value) -> Answer {
    let (token, body) = (&api.token, body.to_string());
    let length = body.len();
    let request = format!(
        "{method} /api/v1/domains{path} HTTP/1.1\r\nHost: mx\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{version}Content-Length: {length}\r\n\r\n{body}"
    );
    api.raw(request.as_bytes()).await
}

async fn put(api: &Api, path: &str, body: Value) -> Answer {
    send(api, "PUT", path, "", body).await
}

/// What RCPT is answered, in a new transaction.
async fn rcpt(plain: &mut Plain, to: &str, expected: &str) {
    plain.expect("RSET", "250").await;
    plain.expect("MAIL FROM:<origin@sender.test>", "250").await;
    plain.expect(&format!("RCPT TO:<{to}>"), expected).await;
}

#[tokio::test]
async fn a_change_holds_at_once() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let api = Api::start(&net, setup(&net), "read,forwards").await;
    let plain = &mut Plain::hello(api.relay.address()).await;

    put(
        &api,
        "/own.test/forwards/ann",
        json!({"targets": ["a@target.test"]}),
    )
    .await
    .json(404);
    put(&api, "/own.test", json!({"options": {"srs": "offf"}}))
        .await
        .json(422);
    rcpt(plain, "ann@own.test", "550 5.7.1").await;
    let made = put(
        &api,
        "/Own.Test",
        json!({"options": {"srs": "off"}, "note": "a customer"}),
    )
    .await;
    let line = "own.test :domain: srs=off note=\"a customer\"";
    assert_eq!(
        made.json(200)["changes"],
        json!([{"before": null, "after": line}])
    );
    let ann = json!({"targets": ["a@target.test", "b@target.test"], "note": "\"the\" #1 = one"});
    let tried = put(&api, "/own.test/forwards/ann?dry_run=true", ann.clone()).await;
    assert_eq!(tried.json(200)["dry_run"], true);
    rcpt(plain, "ann@own.test", "550 5.1.1").await;
    put(&api, "/own.test/forwards/ann", ann).await.json(200);
    rcpt(plain, "ann@own.test", "250").await;
    let asked = api
        .relay
        .wait_for("operator-asked action=forward-put by=panel")
        .await;
    assert_eq!(asked.text("of"), "ann@own.test");
}

/// A store with a domain and a forward of it.
async fn started(net: &Net) -> Api {
    let api = Api::start(net, setup(net), "read,forwards").await;
    put(&api, "/own.test", json!({"options": {"srs": "off"}}))
        .await
        .json(200);
    let ann = json!({"targets": ["a@target.test"], "note": "\"the\" #1 = one"});
    put(&api, "/own.test/forwards/ann", ann).await.json(200);
    api
}

#[tokio::test]
async fn what_is_shown_can_be_put_back_unless_it_was_changed() {
    let net = Net::new().await;
    let api = started(&net).await;
    let plain = &mut Plain::hello(api.relay.address()).await;
    let shown = api.read("/domains/own.test/forwards/ANN").await;
    assert_eq!(shown["forward"]["note"], "\"the\" #1 = one");
    let place = shown["forward"]["place"].as_str().expect("a place");
    assert!(place.ends_with("forwards.d/own.test.fwd:2"), "{place}");
    let again = put(&api, "/own.test/forwards/ann", shown["forward"].clone())
        .await
        .json(200);
    assert_eq!(
        (&again["changes"], &again["etag"]),
        (&json!([]), &shown["etag"])
    );

    // A version that is not the one of now does nothing.
    let stale = "If-Match: \"0123456789abcdef\"\r\n";
    let body = json!({"targets": [":discard:"]});
    send(&api, "PUT", "/own.test/forwards/ann", stale, body.clone())
        .await
        .json(412);
    let fresh = format!("If-Match: {}\r\n", shown["etag"]);
    let catch_all = send(&api, "PUT", "/own.test/forwards/@", &fresh, body).await;
    assert!(
        catch_all.head.to_lowercase().contains("etag: \""),
        "{}",
        catch_all.head
    );
    rcpt(plain, "bob@own.test", "250").await;
}

#[tokio::test]
async fn what_is_over_is_not_caught_and_lists_show_it() {
    let net = Net::new().await;
    let api = started(&net).await;
    let plain = &mut Plain::hello(api.relay.address()).await;
    put(
        &api,
        "/own.test/forwards/@",
        json!({"targets": [":discard:"]}),
    )
    .await
    .json(200);

    // What has expired is not caught, and needs no reload for it.
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a time");
    let end = Timestamp::default()
        .plus(now + Duration::from_secs(2))
        .to_string();
    let short = json!({"targets": ["a@target.test"], "expires_at": end});
    put(&api, "/own.test/forwards/x7", short).await.json(200);
    rcpt(plain, "x7@own.test", "250").await;
    let off = json!({"targets": ["a@target.test"], "enabled": false});
    put(&api, "/own.test/forwards/off", off).await.json(200);
    rcpt(plain, "off@own.test", "550 5.1.1").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    rcpt(plain, "x7@own.test", "550 5.1.1").await;

    let domains = api.read("/domains").await;
    let is_own = |at: usize| {
        (
            domains["domains"][at]["domain"].clone(),
            domains["domains"][at]["is_own"].clone(),
        )
    };
    assert_eq!(is_own(0), (json!("example.test"), json!(false)));
    assert_eq!(is_own(1), (json!("own.test"), json!(true)));
    let domain = api.read("/domains/own.test").await;
    assert_eq!(
        (&domain["forwards"], &domain["options"]),
        (&json!(4), &json!({"srs": "off"}))
    );
    let page = api.read("/domains/own.test/forwards?limit=3").await;
    assert_eq!(
        (&page["forwards"][0]["local"], &page["next"]),
        (&json!("@"), &json!("off"))
    );
    let last = api.read("/domains/own.test/forwards?cursor=off").await;
    assert_eq!(last["forwards"][0]["local"], "x7");
    assert!(api.read("/domains/own.test/dns").await.is_array());
}

#[tokio::test]
async fn a_reload_and_a_restart_keep_it_and_all_is_put_at_once() {
    let net = Net::new().await;
    let api = started(&net).await;
    let plain = &mut Plain::hello(api.relay.address()).await;

    // A reload, and a restart.
    api.relay.run(&["reload"]).await;
    rcpt(plain, "ann@own.test", "250").await;
    let Api {
        relay,
        address,
        token,
    } = api;
    let setup = relay.stop().await;
    let left = setup.path("spool/forwards.d/.own.test.fwd.new");
    std::fs::write(&left, "ann@own.test wro").expect("a write that a crash cut off");
    let relay = setup.start().await;
    let api = Api {
        relay,
        address,
        token,
    };
    let plain = &mut Plain::hello(api.relay.address()).await;
    rcpt(plain, "ann@own.test", "250").await;

    // All of them at once, and what that changes.
    let all = json!({"forwards": [
        {"local": "ann", "targets": ["c@target.test"]},
        {"local": "tmp-*", "targets": [":reject: 550 5.1.6 gone"]},
    ]});
    let changed = put(&api, "/own.test/forwards", all).await.json(200);
    let changes = changed["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 2, "{changed}");
    assert_eq!(changes[0]["after"], "ann@own.test c@target.test");
    rcpt(plain, "tmp-1@own.test", "550 5.1.6 gone").await;
    let text = api.read("/domains/own.test/export").await;
    let lines = [
        "own.test :domain: srs=off",
        "ann@own.test c@target.test",
        "tmp-*@own.test :reject: 550 5.1.6 gone",
        "",
    ];
    assert_eq!(text, lines.join("\n"));

    send(&api, "DELETE", "/own.test/forwards/ann", "", json!({}))
        .await
        .json(200);
    send(&api, "DELETE", "/own.test/forwards/ann", "", json!({}))
        .await
        .json(404);
    rcpt(plain, "ann@own.test", "550 5.1.1").await;
    let gone = send(&api, "DELETE", "/own.test", "", json!({}))
        .await
        .json(200);
    assert_eq!(gone["etag"], Value::Null);
    rcpt(plain, "ann@own.test", "550 5.7.1").await;
    api.get("/api/v1/domains/own.test").await.json(404);
}

#[tokio::test]
async fn hostile_domains_are_refused() {
    let net = Net::new().await;
    let api = Api::start(&net, setup(&net), "read,forwards").await;
    for domain in [
        "..",
        "..%2f..%2fetc",
        "a%2fb.test",
        "own",
        "%00.test",
        "own.test%0a",
        "-.test",
    ] {
        let answer = put(&api, &format!("/{domain}"), json!({})).await;
        assert!(
            [400, 404, 422].contains(&answer.status),
            "{domain}: {}",
            answer.body
        );
    }
    let long = format!("{}.test", ["a".repeat(61).as_str(); 4].join("."));
    put(&api, &format!("/{long}"), json!({})).await.json(422);
    put(&api, "/b%C3%BCcher.test", json!({})).await.json(200);
    api.get("/api/v1/domains/xn--bcher-kva.test")
        .await
        .json(200);
}

#[tokio::test]
async fn hostile_forwards_are_refused() {
    let net = Net::new().await;
    let api = Api::start(&net, setup(&net), "read,forwards").await;
    put(&api, "/own.test", json!({})).await.json(200);
    let to = json!({"targets": ["a@target.test"]});
    let octets_65 = "l".repeat(65);
    for local in [
        "a%2Fb",
        "A.B",
        "..",
        "%22a%20b%22",
        "a%23b",
        "x*",
        &*octets_65,
        "%C3%BC",
    ] {
        put(&api, &format!("/own.test/forwards/{local}"), to.clone())
            .await
            .json(200);
        api.get(&format!("/api/v1/domains/own.test/forwards/{local}"))
            .await
            .json(200);
    }
    for local in [
        "a%20b",
        "a%0Ax",
        "%23",
        "*",
        "x@example.test%20y",
        "example.test%20x",
        "a%40",
        "%00",
    ] {
        let path = format!("/own.test/forwards/{local}");
        put(&api, &path, to.clone()).await.json(422);
        let shown = api.get(&format!("/api/v1/domains{path}")).await;
        assert!(
            [404, 422].contains(&shown.status),
            "{local}: {}",
            shown.body
        );
    }
    for body in [
        json!({"targets": []}),
        json!({"targets": ["a@target.test srs=off"]}),
        json!({"targets": ["a@target.test\nb@own.test c@target.test"]}),
        json!({"targets": ["a@target.test # more"]}),
        json!({"targets": [":domain:"]}),
        json!({"targets": [":discard:", "a@target.test"]}),
        json!({"targets": [":reject: no"], "note": "x"}),
        json!({"targets": ["a@target.test"], "options": {"srs=off x": "1"}}),
        json!({"targets": ["a@target.test"], "options": {"enabled": "no"}}),
        json!({"targets": ["a@target.test"], "options": {"nonsense": "1"}}),
        json!({"targets": ["a@target.test"], "note": "x".repeat(1001)}),
        json!({"targets": ["a@target.test"], "note": "a\nb"}),
    ] {
        put(&api, "/own.test/forwards/ann", body.clone())
            .await
            .json(422);
        put(
            &api,
            "/own.test/forwards",
            json!({"forwards": [{"local": "ann"}]}),
        )
        .await
        .json(400);
    }
}

#[tokio::test]
async fn hidden_double_and_unwritten_lines_change_nothing() {
    let net = Net::new().await;
    let api = started(&net).await;
    let to = json!({"targets": ["b@target.test"]});
    // A line of the file goes before one of the store, which would count for nothing.
    put(&api, "/example.test/forwards/bob", to.clone())
        .await
        .json(404);
    let hidden = put(&api, "/example.test", json!({})).await.json(422);
    let hint = hidden["hint"].as_str().expect("a hint");
    assert!(hint.contains("forwards:2 goes before it"), "{hidden}");
    let both = json!({"forwards": [{"local": "a", "targets": ["a@target.test"]}, {"local": "A", "targets": ["b@target.test"]}]});
    let twice = put(&api, "/own.test/forwards", both).await.json(422);
    assert_eq!(twice["line"], 3, "{twice}");
    assert_eq!(api.read("/domains/own.test").await["forwards"], 1);

    // A disk that takes nothing: all stays as it was.
    std::fs::create_dir_all(api.relay.setup().path("spool/forwards.d/.own.test.fwd.new"))
        .expect("in the way");
    let failed = put(&api, "/own.test/forwards/ann", to).await.json(422);
    assert!(
        failed.to_string().contains("nothing was changed"),
        "{failed}"
    );
    assert_eq!(api.read("/domains/own.test").await["forwards"], 1);
}

#[tokio::test]
async fn two_who_write_at_once_and_a_token_for_one_domain() {
    let net = Net::new().await;
    let mut api = Api::start(&net, setup(&net), "read,forwards").await;
    for domain in ["own.test", "other.test"] {
        put(&api, &format!("/{domain}"), json!({})).await.json(200);
    }
    let version = api.read("/domains/own.test").await;
    let version = format!("If-Match: {}\r\n", version["etag"]);
    let body = |target: &str| json!({"targets": [target]});
    let (one, two) = tokio::join!(
        send(
            &api,
            "PUT",
            "/own.test/forwards/a",
            &version,
            body("a@target.test")
        ),
        send(
            &api,
            "PUT",
            "/own.test/forwards/b",
            &version,
            body("b@target.test")
        ),
    );
    let mut both = [one.status, two.status];
    both.sort_unstable();
    assert_eq!(both, [200, 412]);

    let panel = std::mem::take(&mut api.token);
    api.token = token(api.relay.setup(), "customer", "forwards:own.test").await;
    api.relay.run(&["reload"]).await;
    put(&api, "/OWN.test/forwards/c", body("c@target.test"))
        .await
        .json(200);
    api.get("/api/v1/domains/own.test/forwards").await.json(200);
    put(&api, "/own.test", json!({"options": {"srs": "off"}}))
        .await
        .json(403);
    send(&api, "DELETE", "/own.test", "", json!({}))
        .await
        .json(403);
    put(&api, "/other.test/forwards/c", body("c@target.test"))
        .await
        .json(403);
    let sly = json!({"targets": ["c@target.test"], "domain": "other.test"});
    put(&api, "/own.test/forwards/d", sly).await;
    api.get("/api/v1/domains/other.test/forwards")
        .await
        .json(403);
    api.get("/api/v1/domains").await.json(403);
    api.get("/api/v1/status").await.json(403);
    api.token = panel;
    assert_eq!(api.read("/domains/other.test").await["forwards"], 0);
}

#[tokio::test]
async fn commands_do_the_same() {
    let net = Net::new().await;
    let relay = setup(&net).start().await;
    relay.run(&["domain", "set", "own.test", "srs=off"]).await;
    let set = [
        "forwards",
        "set",
        "ann@own.test",
        "a@target.test",
        "--note",
        "hers",
        "--dry-run",
    ];
    let said = relay.run(&set).await;
    assert!(
        said.contains("+ ann@own.test a@target.test note=\"hers\""),
        "{said}"
    );
    relay.run(&set[..6]).await;
    relay
        .run(&["forwards", "set", "@own.test", ":discard:"])
        .await;
    let listed = relay.run(&["forwards", "list", "own.test"]).await;
    assert!(
        listed.contains("a@target.test") && listed.contains("hers"),
        "{listed}"
    );
    let all = relay.run(&["forwards", "export"]).await;
    let own = "own.test :domain: srs=off\nann@own.test a@target.test note=\"hers\"\n@own.test :discard:\n";
    assert_eq!(all, format!("{FILE}{own}"));
    assert_eq!(relay.run(&["forwards", "export", "own.test"]).await, own);
    relay.run(&["forwards", "remove", "@own.test"]).await;
    let shown = relay
        .run(&["--json", "forwards", "show", "ann@own.test"])
        .await;
    assert!(shown.contains("\"local\": \"ann\""), "{shown}");
    let domains = relay.run(&["domain", "list"]).await;
    assert_eq!(domains, "example.test\nown.test\n");
    assert!(
        relay
            .run(&["domain", "show", "own.test"])
            .await
            .contains("srs=off")
    );
    relay.run(&["domain", "remove", "own.test"]).await;
    assert_eq!(relay.run(&["domain", "list"]).await, "example.test\n");
    let off = crate::relay(&net, FILE).start().await;
    off.setup()
        .run_into_error(
            &["domain", "set", "own.test"],
            &["no own store", "store = \"api\""],
        )
        .await;
}

#[tokio::test]
async fn a_change_does_not_take_mail_from_others() {
    let net = Net::new().await;
    let setup = relay(&net, "alice@example.test alice@target.test\n");
    let setup = setup.set("forwards.store", "\"api\"");
    let mut api = Api::start(&net, setup, "read,forwards").await;
    let own = json!({"options": {"srs_domain": "srs.own.test"}});
    put(&api, "/own.test", own).await.json(200);

    // Not an SRS domain that is somebody else's, nor a domain that others forward to and that would not have the address.
    let foreign = json!({"targets": ["a@b.test"], "options": {"srs_domain": "target.test"}});
    let refused = put(&api, "/own.test/forwards/x", foreign).await.json(422);
    let text = refused.to_string();
    assert!(text.contains("nor an SRS domain of ours"), "{text}");
    let refused = put(&api, "/target.test", json!({})).await.json(422);
    let text = refused.to_string();
    assert!(text.contains("forwards:1"), "{text}");
    let all = json!({"forwards": [{"local": "alice", "targets": ["a@elsewhere.test"]}]});
    put(&api, "/target.test/forwards", all).await.json(200);

    api.token = token(api.relay.setup(), "customer", "forwards:own.test").await;
    api.relay.run(&["reload"]).await;
    let path = "/own.test/forwards/x";
    let chosen =
        |name: &str, value: &str| json!({"targets": ["a@b.test"], "options": {name: value}});
    put(&api, path, chosen("srs", "off")).await.json(200);
    put(&api, path, chosen("spf", "off")).await.json(403);
    let mut one = chosen("egress", "main");
    one["local"] = json!("x");
    let all = json!({"forwards": [one]});
    put(&api, "/own.test/forwards", all).await.json(403);
}

/// Prints how long a change takes; a release build is what counts.
#[tokio::test]
#[ignore = "a measurement"]
async fn how_long_a_change_takes() {
    let most = if cfg!(debug_assertions) {
        20_000
    } else {
        500_000
    };
    for lines in [10_000, most] {
        let net = Net::new().await;
        let file: String = (0..lines)
            .map(|n| format!("user{n}@d{}.example  box{n}@target.example\n", n / 100))
            .collect();
        let setup = relay(&net, &file).set("forwards.store", "\"api\"");
        let api = Api::start(&net, setup, "read,forwards").await;
        put(&api, "/own.test", json!({})).await.json(200);
        let began = Instant::now();
        for n in 0..5 {
            put(
                &api,
                &format!("/own.test/forwards/u{n}"),
                json!({"targets": ["a@target.test"]}),
            )
            .await
            .json(200);
        }
        eprintln!("{lines} lines: {:?} a change", began.elapsed() / 5);
    }
}
