//! The dashboard: pages for people, over the same questions as the API, whoever wrote what is on them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use testkit::net::Net;
use testkit::{mail, sender};

use super::http::{Answer, Api, hourly, token};
use crate::origin_sends;

/// All pages.
const PAGES: [&str; 10] = [
    "/",
    "/find",
    "/find?what=target.test",
    "/destinations",
    "/destinations?site=mx.target.test",
    "/queue",
    "/queue?to=target.test",
    "/customers?domain=example.test",
    "/abuse",
    "/changes",
];
const SCRIPT: &str = "<script>alert(1)</script>";

/// Somebody who is logged in.
pub(crate) struct Browser {
    pub(crate) api: Api,
    pub(crate) cookie: String,
}

impl Browser {
    pub(crate) async fn log_in(api: Api) -> Self {
        let form = format!("token={}&back=%2F", api.token);
        let answer = send(&api, "POST", "/login", "", &form).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = header(&answer, "set-cookie").expect("a cookie");
        assert!(
            cookie.contains("; HttpOnly; SameSite=Strict; Max-Age=43200"),
            "{cookie}"
        );
        let cookie = cookie.split(';').next().expect("a cookie").to_owned();
        Self { api, cookie }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(&self.api, "GET", path, &self.cookie, "").await
    }

    /// A page as it is when all of it was counted.
    async fn page(&self, path: &str) -> String {
        loop {
            let answer = self.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            let is_counting = answer.body.contains("http-equiv=\"refresh\"");
            if !is_counting && !answer.body.contains("no history was written yet") {
                return answer.body;
            }
        }
    }

    async fn post(&self, path: &str, form: &str) -> Answer {
        send(&self.api, "POST", path, &self.cookie, form).await
    }

    /// What a form of a page has, so that it is taken.
    async fn csrf(&self) -> String {
        let page = self.page("/").await;
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form");
        format!("csrf={}", rest.split('"').next().expect("its value"))
    }
}

async fn send(api: &Api, method: &str, path: &str, cookie: &str, form: &str) -> Answer {
    send_with(api, method, path, &format!("Cookie: {cookie}\r\n"), form).await
}

async fn send_with(api: &Api, method: &str, path: &str, head: &str, form: &str) -> Answer {
    let length = form.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: mx\r\n{head}Content-Length: {length}\r\n\r\n{form}"
    );
    api.raw(request.as_bytes()).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.head.lines().find_map(|line| {
        let (is, value) = line.split_once(": ")?;
        is.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[tokio::test]
async fn who_comes_in_and_for_how_long() {
    let net = Net::new().await;
    let api = Api::start(&net, hourly(&net), "read").await;
    let away = send(&api, "GET", "/queue?error=4.7", "", "").await;
    assert_eq!(away.status, 303);
    assert_eq!(
        header(&away, "location"),
        Some("/login?back=%2Fqueue%3Ferror%3D4.7")
    );
    let form = send(&api, "GET", "/login?back=%2Fqueue%3Ferror%3D4.7", "", "").await;
    assert!(
        form.body.contains("value=\"/queue?error=4.7\""),
        "{}",
        form.body
    );
    let evil = send(&api, "GET", "/login?back=%2F%2Fevil.test", "", "").await;
    assert!(!evil.body.contains("evil.test"), "{}", evil.body);
    let wrong = send(&api, "POST", "/login", "", "token=onward_wrong").await;
    assert!(
        wrong.status == 401 && wrong.body.ends_with("</html>"),
        "{}",
        wrong.body
    );
    assert_eq!(header(&wrong, "set-cookie"), None);
    let elsewhere = "Origin: http://evil.test\r\n";
    let login = format!("token={}", api.token);
    let elsewhere = send_with(&api, "POST", "/login", elsewhere, &login).await;
    assert_eq!(elsewhere.status, 403, "{}", elsewhere.body);
    let guessed = send(&api, "GET", "/", "onward=AAAA", "").await;
    assert_eq!(guessed.status, 303);

    let browser = Browser::log_in(api).await;
    let page = browser.get("/").await;
    assert_eq!(page.status, 200);
    let policy = header(&page, "content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self';"));
    assert_eq!(header(&page, "cache-control"), Some("no-store"));
    for file in ["/style.css", "/script.js"] {
        let file = send(&browser.api, "GET", file, "", "").await;
        assert_eq!(file.status, 200);
        assert_eq!(header(&file, "cache-control"), Some("max-age=300"));
    }
    // It is no key to the API.
    assert_eq!(browser.get("/api/v1/status").await.status, 401);
    let other = Browser::log_in(browser.api).await;
    let csrf = other.csrf().await;
    let (first, browser) = (browser.cookie, other);
    assert_eq!(browser.post("/logout", "csrf=guessed").await.status, 403);
    assert_eq!(browser.post("/logout", &csrf).await.status, 303);
    assert_eq!(browser.get("/").await.status, 303);

    // A session ends with its token.
    let api = browser.api;
    assert_eq!(send(&api, "GET", "/", &first, "").await.status, 200);
    let file = api.relay.setup().path("api.token");
    std::fs::write(file, "").unwrap();
    api.relay.run(&["reload"]).await;
    assert_eq!(send(&api, "GET", "/", &first, "").await.status, 303);
}

#[tokio::test]
async fn every_page_is_whole_and_shows_what_strangers_wrote_as_text() {
    let net = Net::new().await;
    let reply = format!("rcpt: 451 4.7.1 {SCRIPT} \"'><img src=x onerror=alert(2)> turn\u{202e}ed");
    let _sink = net.sink("target.test", &reply).await;
    let browser = Browser::log_in(Api::start(&net, hourly(&net), "read,queue,admin").await).await;
    let relay = &browser.api.relay;
    let from = format!("\"{SCRIPT}\"@sender.test");
    let subject = format!("{SCRIPT}\r\nMessage-ID: <{SCRIPT}@sender.test>");
    sender::send(
        relay.address(),
        &from,
        &["alice@example.test"],
        &mail::short(&subject),
    )
    .await;
    relay.wait_for("deferred").await;
    let nobody = format!("\"{SCRIPT}\"@example.test");
    let mut stranger = sender::Plain::hello(relay.address()).await;
    stranger.expect("MAIL FROM:<a@sender.test>", "250").await;
    stranger.expect(&format!("RCPT TO:<{nobody}>"), "550").await;
    let pause = format!(
        "{}&site={SCRIPT}.test&reason={SCRIPT}",
        browser.csrf().await
    );
    browser.post("/do/site_pause", &pause).await;

    for path in PAGES {
        let page = browser.page(path).await;
        assert!(page.trim_end().ends_with("</html>"), "{path}");
        let lower = page.to_lowercase();
        assert_eq!(lower.matches("<script").count(), 1, "{path}: {page}");
        assert!(
            !lower.contains("<img") && !page.contains('\u{202e}'),
            "{path}: {page}"
        );
        assert!(!page.contains("style="), "{path}");
        assert!(!page.contains("role=\"alert\""), "{path}: {page}");
    }
    let shown = "&#60;script&#62;alert(1)&#60;/script&#62;";
    for path in [
        "/find?what=sender.test",
        "/queue?to=target.test",
        "/destinations?site=target",
    ] {
        let page = browser.page(path).await;
        assert!(page.contains(shown), "{path}: {page}");
        assert!(page.contains("\\u{202e}"), "{path}: {page}");
    }
    let groups = browser.page("/queue").await;
    assert!(
        groups.contains("\"/queue?error=4.7.1%20while%20sending"),
        "{groups}"
    );
    let setup = browser.get("/setup").await;
    assert_eq!(setup.status, 200, "{}", setup.body);
}

/// What was mended, or broken, since the last look is seen by who looks again.
#[tokio::test]
async fn setup_is_looked_at_again() {
    let net = Net::new().await;
    let browser = Browser::log_in(Api::start(&net, hourly(&net), "read").await).await;
    let secrets = browser.api.relay.setup().path("srs.secrets");
    let is_open = "is open to every user";
    for (mode, is_told) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&secrets, Permissions::from_mode(mode)).unwrap();
        assert_eq!(browser.get("/setup?again=1").await.status, 303);
        let page = browser.page("/setup").await;
        assert_eq!(page.contains(is_open), is_told, "{page}");
    }
}

#[tokio::test]
async fn what_is_typed_is_text_too() {
    let net = Net::new().await;
    let browser = Browser::log_in(Api::start(&net, hourly(&net), "read").await).await;
    for typed in [
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "%22%3E%3Cscript%3E",
        &"x".repeat(10_000),
    ] {
        for path in [
            "/find?what=",
            "/queue?to=",
            "/destinations?q=",
            "/customers?domain=",
        ] {
            let page = browser.get(&format!("{path}{typed}")).await;
            assert_eq!(page.status, 200, "{path}");
            assert_eq!(
                page.body.to_lowercase().matches("<script").count(),
                1,
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_form_does_what_its_token_may() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 451 4.7.1 not now").await;
    let api = Api::start(&net, hourly(&net), "read,queue").await;
    for subject in ["one", "two"] {
        origin_sends(&api.relay, "alice@example.test", subject).await;
    }
    api.relay.wait_for_count(2, "deferred").await;
    api.relay.run(&["reload"]).await;
    let browser = Browser::log_in(api).await;
    let csrf = browser.csrf().await;

    let preview = browser.page("/queue?error=4.7.1&preview=hold").await;
    assert!(preview.contains("hold: 2 of 2 legs"), "{preview}");
    assert!(preview.contains("action=\"/do/queue_act\""), "{preview}");
    let act = "action=hold&error=4.7.1&reason=ticket+7&back=%2Fqueue%3Fstate%3Dheld";
    for (head, form, status) in [
        ("", act.to_owned(), 403),
        ("", format!("{act}&csrf=guessed"), 403),
        ("Origin: http://evil.test\r\n", format!("{act}&{csrf}"), 403),
        (
            "Sec-Fetch-Site: cross-site\r\n",
            format!("{act}&{csrf}"),
            403,
        ),
        (
            "Sec-Fetch-Site: same-origin\r\n",
            format!("{act}&{csrf}"),
            303,
        ),
    ] {
        assert_eq!(browser.api.relay.count("operator action=hold"), 0);
        let head = format!("Cookie: {}\r\n{head}", browser.cookie);
        let answer = send_with(&browser.api, "POST", "/do/queue_act", &head, &form).await;
        assert_eq!(answer.status, status, "{form}: {}", answer.body);
    }
    let event = browser
        .api
        .relay
        .wait_for("operator action=hold by=panel")
        .await;
    assert_eq!(event.text("reason"), "ticket 7");
    let held = browser.page("/queue?state=held").await;
    assert!(held.contains("Done with 2 of 2 legs."), "{held}");
    let again = browser.page("/queue?state=held").await;
    assert!(
        !again.contains("Done with") && again.contains("alice@target.test"),
        "{again}"
    );

    let changes = loop {
        let page = browser.page("/changes").await;
        // The history may be a moment behind.
        if page.contains("action=hold by=panel") {
            break page;
        }
    };
    assert!(
        changes.contains("reloaded") && !changes.contains("/do/reload"),
        "{changes}"
    );
}

#[tokio::test]
async fn a_form_does_nothing_else() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "rcpt: 451 4.7.1 not now").await;
    let api = Api::start(&net, hourly(&net), "read,queue").await;
    origin_sends(&api.relay, "alice@example.test", "one").await;
    api.relay.wait_for("deferred").await;
    let reader = token(api.relay.setup(), "reader", "read").await;
    api.relay.run(&["reload"]).await;
    let browser = Browser::log_in(api).await;
    let csrf = browser.csrf().await;
    // Orders alone show no pages.
    let orders = token(browser.api.relay.setup(), "orders", "queue").await;
    browser.api.relay.run(&["reload"]).await;
    let login = format!("token={orders}");
    let login = send(&browser.api, "POST", "/login", "", &login).await;
    let cookie = header(&login, "set-cookie").expect("a cookie");
    for path in ["/", "/now.json", "/setup"] {
        let page = send(&browser.api, "GET", path, cookie, "").await;
        assert_eq!(page.status, 403, "{}", page.body);
    }
    // What is not there, is not understood or may not be done is said.
    let unselected = format!("{csrf}&action=remove&back=%2Fqueue");
    browser.post("/do/queue_act", &unselected).await;
    let page = browser.page("/queue").await;
    assert!(page.contains("Not done: nothing is selected"), "{page}");
    let many = format!("{csrf}&site=target.test&connections=many");
    assert_eq!(browser.post("/do/site_limit", &many).await.status, 400);
    assert_eq!(browser.post("/do/status", &csrf).await.status, 404);
    let drain = format!("{csrf}&on=true");
    assert_eq!(browser.post("/do/drain", &drain).await.status, 403);
    let pause = format!("{csrf}&site=target.test&for_secs=3600&reason=asked&back=%2F%2Fevil.test");
    let paused = browser.post("/do/site_pause", &pause).await;
    assert_eq!(header(&paused, "location"), Some("/"));
    let site = browser.page("/destinations?site=target.test").await;
    assert!(site.contains("by token panel: asked"), "{site}");
    let api = Api {
        token: reader,
        ..browser.api
    };
    let browser = Browser::log_in(api).await;
    for path in [
        "/queue?error=4.7.1&preview=remove",
        "/destinations?site=target.test",
    ] {
        let page = browser.page(path).await;
        assert!(!page.contains("/do/"), "{path}: {page}");
    }
    let pause = format!("{}&site=target.test", browser.csrf().await);
    assert_eq!(browser.post("/do/site_pause", &pause).await.status, 403);
}

#[tokio::test]
async fn support_finds_a_mail() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let browser = Browser::log_in(Api::start(&net, hourly(&net), "read").await).await;
    origin_sends(&browser.api.relay, "alice@example.test", "one").await;
    let delivered = browser.api.relay.wait_for("delivered").await;
    let id = delivered.text("id");
    let found = loop {
        let page = browser.page(&format!("/find?what={id}")).await;
        // As above.
        if page.contains("class=\"leg\"") {
            break page;
        }
    };
    let (_, today) = found.split_once("<time>").expect("a time");
    let today = &today[..10];
    assert!(
        found.contains("alice@example.test → alice@target.test"),
        "{found}"
    );
    assert!(found.contains("by mx.target.test["), "{found}");
    for query in [
        format!("what=origin@sender.test&day={today}"),
        format!("what=alice@target.test&status=delivered&day={today}"),
        "what=127.0.0.1".to_owned(),
    ] {
        let page = browser.page(&format!("/find?{query}")).await;
        assert!(page.contains(&*id), "{query}: {page}");
    }
    for (query, said) in [
        ("what=alice@target.test&day=2026-01-01", "Nothing was found"),
        ("what=alice@target.test&status=failed", "Nothing was found"),
        ("what=nobody@target.test", "Nothing was found"),
        ("day=yesterday", "`yesterday` is no date"),
    ] {
        let page = browser.page(&format!("/find?{query}")).await;
        assert!(page.contains(said), "{query}: {page}");
    }
    let now = loop {
        let page = browser.page("/").await;
        // As above.
        if page.contains("1 delivered") {
            break page;
        }
    };
    assert!(
        now.contains("<svg") && now.contains("data-live=\"waiting\""),
        "{now}"
    );
    let numbers = browser.get("/now.json").await;
    let numbers: Value = serde_json::from_str(&numbers.body).expect("JSON");
    assert_eq!(numbers["waiting"], "0", "{numbers}");
    let customer = browser.page("/customers?domain=example.test").await;
    assert!(
        customer.contains("<td class=\"n\" data-l=\"Mails\">1<td"),
        "{customer}"
    );
}
