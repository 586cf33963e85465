//! What happens is told to a webhook: signed, again and again until it is taken; one that hangs costs no mail.

use serde_json::Value;
use testkit::net::Net;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{origin_sends, relay};

const SECRET: &str = "0123456789abcdef";

/// Reads a POST, and says 204. What was posted.
async fn taken(mut stream: TcpStream) -> Value {
    let mut text = String::new();
    while !text.ends_with('}') {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.expect("read");
        assert_ne!(read, 0, "{text}");
        text += std::str::from_utf8(&buffer[..read]).expect("UTF-8");
    }
    let yes = b"HTTP/1.1 204 Yes\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(yes).await.expect("answered");
    let (head, body) = text.split_once("\r\n\r\n").expect("a body");
    assert!(head.contains("x-onward-signature: sha256="), "{head}");
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn a_hook_that_hangs_is_told_later_and_mail_goes_on() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let _full = net.sink("full.test", "rcpt: 452 4.2.2 full").await;
    let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("\"http://{}/hook\"", hook.local_addr().unwrap());
    let forwards = "alice@example.test alice@target.test\nbob@example.test bob@full.test\n";
    let setup = relay(&net, forwards)
        .set("queue.retry", "[\"1h\"]")
        .set("alerts.webhook", &url)
        .set("alerts.webhook_secret", "\"hook.secret\"")
        .set("alerts.queue", "1");
    setup.run_into_error(&["check"], &["hook.secret"]).await;
    setup.write("hook.secret", "short\n");
    setup
        .run_into_error(&["check"], &["hook.secret", "16"])
        .await;
    setup.write("hook.secret", &format!("{SECRET}\n"));
    let relay = setup.start().await;

    relay.setup().write("forwards", "nonsense\n");
    let kept = relay.setup().run(&["reload"]).await;
    assert_eq!(kept.code, Some(1), "{kept}");
    let (hanging, _) = hook.accept().await.unwrap();
    origin_sends(&relay, "alice@example.test", "one").await;
    sink.message().await;
    drop(hanging);
    let (stream, _) = hook.accept().await.unwrap();
    let told = taken(stream).await;
    assert_eq!(told["event"], "reload-failed", "{told}");
    assert_eq!(told["hostname"], "mx.fwd.test");
    assert!(told["error"].as_str().unwrap().contains("forwards:1"));

    for subject in ["two", "three"] {
        origin_sends(&relay, "bob@example.test", subject).await;
    }
    let (stream, _) = hook.accept().await.unwrap();
    let told = taken(stream).await;
    assert_eq!(
        (&told["event"], &told["legs"]),
        (&"queue-long".into(), &2.into()),
        "{told}"
    );
}
