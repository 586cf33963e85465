//! Content filters: what they are told, what they add, and what one that misbehaves costs.

use testkit::daemon::{Relay, Setup};
use testkit::filter::{Answer, Filter, Kind};
use testkit::net::Net;
use testkit::sender::{self, Plain};

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";
const PROFILE: &str = "[{ name = \"default\", spf = \"off\", dmarc = \"off\", filter = [\"f\"] }]";
const MAIL: &[u8] = b"Subject: hello\r\n\r\n.. and a line\r\n";

fn asking(net: &Net, filter: &Filter, more: &str) -> Setup {
    let table = format!("[{}]", filter.configured("f", more));
    relay(net, FORWARDS)
        .set("filter", &table)
        .set("profile", PROFILE)
}

#[tokio::test]
async fn a_filter_is_told_all_and_adds_to_the_top() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let says = r#"{"action":"add header","score":7.5,"required_score":15,"symbols":{"BAYES_SPAM":{"score":5.1}},
        "milter":{"add_headers":{"X-Spamd-Bar":{"value":"+++++++","order":0}},"remove_headers":{"Subject":0}}}"#;
    let filter = Filter::start(Kind::Rspamd, Answer::Say(says.replace('\n', ""))).await;
    let relay = asking(&net, &filter, ", password = \"secret\"")
        .start()
        .await;
    let large = [MAIL, &b"0123456789abcde\r\n".repeat(300_000)].concat();
    for mail in [MAIL, &large] {
        sender::send(
            relay.address(),
            "x@sender.test",
            &["alice@example.test"],
            mail,
        )
        .await;
        let delivered = sink
            .messages(filter.asked().len())
            .await
            .pop()
            .expect("a message");
        let asked = filter.asked().pop().expect("a question");
        assert!(asked.body.starts_with(b"Received: "));
        assert!(asked.body.ends_with(mail), "{} octets", asked.body.len());
        let text = String::from_utf8_lossy(&delivered.data);
        let top = text.find("X-Spam: Yes\r\nX-Spamd-Bar: +++++++\r\nReceived: ");
        assert!(top.is_some(), "{}", &text[..500.min(text.len())]);
        assert!(delivered.data.ends_with(mail));
    }
    let head = filter.asked()[0].head.clone();
    let id = relay.wait_for("filtered").await.text("id");
    for line in [
        "POST /checkv2 HTTP/1.1",
        "ip: 127.0.0.1",
        "helo: client.test",
        "from: <x@sender.test>",
        "rcpt: <alice@example.test>",
        "password: secret",
        &format!("queue-id: {id}"),
    ] {
        assert!(head.lines().any(|said| said == line), "{line}\n{head}");
    }
    let wanted = "filtered filter=f opinion=accept score=7.50/15.00 symbols=BAYES_SPAM(5.10)";
    let line = relay.wait_for(wanted).await;
    assert_eq!(line.text("remarks"), "not removed: Subject");
}

/// The relay takes the mail all the same, says what was wrong, and keeps no more memory than before.
async fn check_failing(kind: Kind, answer: Answer, why: &str) {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let filter = Filter::start(kind, answer.clone()).await;
    let limit = match answer {
        Answer::Hang => ", timeout = \"1s\"",
        _ => "",
    };
    let relay = asking(&net, &filter, limit).start().await;
    sender::send(
        relay.address(),
        "x@sender.test",
        &["alice@example.test"],
        MAIL,
    )
    .await;
    let line = relay.wait_for("filtered filter=f opinion=failed").await;
    assert!(line.text("error").starts_with(why), "{answer:?}: {line}");
    relay.wait_for("filter-down filter=f").await;
}

#[tokio::test]
async fn an_rspamd_that_misbehaves_costs_its_time_limit() {
    let raw = |rest: &str| Answer::Raw(format!("HTTP/1.1 {rest}"));
    let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("186a0\r\n{}\r\n", " ".repeat(100_000));
    let not = "its answer is not rspamd's";
    for (answer, why) in [
        (Answer::Hang, "no answer within 1s"),
        (Answer::Raw(String::new()), "error sending request"),
        (
            raw("200 OK\r\nContent-Length: 900\r\n\r\n{\"action\""),
            "error",
        ),
        (
            raw("200 OK\r\nContent-Length: 4\r\n\r\n{\"action\":\"reject\"}"),
            not,
        ),
        (raw("200 OK\r\nContent-Length: -1\r\n\r\n{}"), "error"),
        (raw("500 no\r\nContent-Length: 0\r\n\r\n"), "answers 500"),
        (Answer::Say("[[[[".repeat(9999)), not),
        (
            Answer::Endless(endless.to_owned(), chunk),
            "its answer is over 524288 octets",
        ),
    ] {
        check_failing(Kind::Rspamd, answer, why).await;
    }
}

#[tokio::test]
async fn a_clamd_that_misbehaves_costs_its_time_limit() {
    let endless = Answer::Endless(String::new(), "stream: ".to_owned());
    for (answer, why) in [
        (Answer::Hang, "no answer within 1s"),
        (Answer::Raw(String::new()), "closed without an answer"),
        (
            Answer::Say("stream: what?".to_owned()),
            "answers `stream: what?`",
        ),
        (endless, "answers `stream: "),
    ] {
        check_failing(Kind::Clamd, answer, why).await;
    }
}

async fn try_mail(relay: &Relay, mail: &[u8], expected: &str) {
    let mut plain = Plain::hello(relay.address()).await;
    let (sender, to) = ("<x@sender.test>", ["<alice@example.test>"]);
    let (_, reply) = plain.transaction(sender, &to, mail).await;
    assert!(reply.starts_with(expected), "{reply}");
}

#[tokio::test]
async fn a_filter_that_is_down_is_said_once_and_again_when_it_answers() {
    let net = Net::new().await;
    let _sink = net.sink("target.test", "").await;
    let clean = || Answer::Say("stream: OK".to_owned());
    let filter = Filter::start(Kind::Clamd, clean()).await;
    let more = ", on_failure = \"defer\", max_size = 100000";
    let relay = asking(&net, &filter, more).start().await;
    filter.answers(Answer::Raw(String::new()));
    for _ in 0..3 {
        try_mail(&relay, MAIL, "451 4.7.1 ").await;
    }
    let status = relay.run(&["status"]).await;
    assert!(
        status.contains("f: 3 asked, 0 refused, 3 failed, down"),
        "{status}"
    );
    // It is not asked about what is too large.
    let large = [MAIL, &b"0123456789abcde\r\n".repeat(9000)].concat();
    try_mail(&relay, &large, "250").await;
    let line = relay.wait_for("filtered filter=f opinion=accept").await;
    assert_eq!(line.text("remarks"), "not asked: over 100000 octets");
    filter.answers(clean());
    try_mail(&relay, MAIL, "250").await;
    assert_eq!(relay.count("filter-down"), 1);
    relay.wait_for("filter-up filter=f failed=3").await;
}

#[tokio::test]
async fn an_explanation_asks_no_filter() {
    let net = Net::new().await;
    let filter = Filter::start(Kind::Clamd, Answer::Hang).await;
    let relay = asking(&net, &filter, "").start().await;
    relay.setup().write("mail.eml", "Subject: hello\n\nbody\n");
    let mail = relay.setup().path("mail.eml");
    let to = [
        "explain",
        "--to",
        "alice@example.test",
        "--from",
        "x@sender.test",
        "--ip",
        "192.0.2.7",
    ];
    let said = relay
        .run(&[&to[..], &["--file", mail.to_str().expect("UTF-8")]].concat())
        .await;
    assert!(said.contains("content filters"), "{said}");
    assert!(said.contains("f: would be asked"), "{said}");
    assert!(filter.asked().is_empty());
}

#[tokio::test]
async fn a_filter_that_cannot_be_is_told_before_the_start() {
    let net = Net::new().await;
    for (table, wanted) in [
        (
            "name = \"f\", kind = \"clamd\", address = \"http://127.0.0.1:1\"",
            "[[filter]] `f`: this kind of filter has no URL",
        ),
        (
            "name = \"f\", kind = \"clamd\", address = \"127.0.0.1\"",
            "`127.0.0.1`: write it as `http://HOST:PORT`, `inet:HOST:PORT` or `unix:/PATH`",
        ),
        (
            "name = \"off\", kind = \"clamd\", address = \"inet:h:1\"",
            "[[filter]]: `name`: `off` is not a name",
        ),
        (
            "name = \"g\", kind = \"clamd\", address = \"inet:h:1\"",
            "no [[filter]] is called `f`",
        ),
    ] {
        let odd = relay(&net, FORWARDS).set("filter", &format!("[{{ {table} }}]"));
        let odd = odd.set("profile", PROFILE);
        odd.run_into_error(&["check"], &[wanted]).await;
    }
}
