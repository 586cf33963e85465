//! Chromium, headless: the dashboard as a browser sees it, under its own policy.
//!
//! `ONWARD_SHOTS=/tmp/shots` in the environment keeps a picture of each page: light, dark, and on a phone.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::net::Net;
use testkit::{mail, program, sender};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::flow::dashboard::Browser;
use crate::flow::http::Api;
use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n\
    bob@example.test bob@slow.test\n\
    carol@shop.test carol@gone.test\n\
    @shop.test sales@target.test\n";
const SCRIPT: &str = "<script>document.title='HACKED'</script>";
const PAGES: [(&str, &str); 13] = [
    ("now", "/"),
    ("find", "/find?what=sender.test"),
    ("empty", "/find"),
    ("destinations", "/destinations"),
    ("site", "/destinations?site=slow.test"),
    ("queue", "/queue"),
    ("legs", "/queue?to=slow.test"),
    ("preview", "/queue?to=slow.test&preview=remove"),
    ("customers", "/customers"),
    ("customer", "/customers?domain=shop.test"),
    ("abuse", "/abuse"),
    ("changes", "/changes"),
    ("setup", "/setup"),
];

/// Between the browser and the dashboard: logs every request in, as the command line of Chromium cannot.
struct Door {
    address: SocketAddr,
    looks: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Door {
    async fn open(to: SocketAddr, cookie: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&looks);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, to, cookie.clone(), Arc::clone(&counted)));
            }
        });
        Self {
            address,
            looks,
            serving,
        }
    }
}

/// One request: the dashboard ends each connection after its answer. `/control` breaks the policy of the dashboard.
async fn pass(stream: TcpStream, to: SocketAddr, cookie: String, looks: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    if stream.read_line(&mut first).await.is_err() || first.is_empty() {
        return;
    }
    looks.fetch_add(
        usize::from(first.contains(" /now.json ")),
        Ordering::Relaxed,
    );
    if first.contains(" /control ") {
        let mut head = String::new();
        while head.lines().last() != Some("") {
            stream.read_line(&mut head).await.expect("a head");
        }
        let page = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Security-Policy: default-src 'none'\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{SCRIPT}",
            SCRIPT.len()
        );
        stream.write_all(page.as_bytes()).await.expect("written");
        let _ = stream.read_u8().await;
        return;
    }
    let mut dashboard = TcpStream::connect(to).await.expect("a dashboard");
    let head = format!("{first}Cookie: {cookie}\r\n");
    dashboard.write_all(head.as_bytes()).await.expect("written");
    // A browser may go away early.
    let _ = copy_bidirectional(&mut stream, &mut dashboard).await;
}

/// The page as it is after some seconds, and what stands on the console.
async fn dump(url: &str, arguments: &[&str]) -> (String, Vec<String>) {
    let mut all = vec!["--no-sandbox", "--disable-gpu", "--enable-logging=stderr"];
    all.extend_from_slice(arguments);
    all.push(url);
    let finished = program::run("chromium-headless-shell", &all, b"")
        .await
        .success();
    let lines = finished
        .stderr
        .lines()
        .filter(|line| line.contains("CONSOLE"));
    (
        finished.stdout.clone(),
        lines.map(ToOwned::to_owned).collect(),
    )
}

/// A relay with something on each page, and somebody who is logged in.
async fn browser(net: &Net) -> Browser {
    let setup = relay(net, FORWARDS).set("queue.retry", "[\"1h\"]");
    let browser = Browser::log_in(Api::start(net, setup, "read,queue,admin").await).await;
    let relay = &browser.api.relay;
    for (at, (from, to)) in [
        ("origin@sender.test", "alice@example.test"),
        ("shop@sender.test", "bob@example.test"),
        (
            "\"<script>document.title='HACKED'</script>\"@sender.test",
            "bob@example.test",
        ),
        ("news@sender.test", "carol@shop.test"),
        ("ann@sender.test", "info@shop.test"),
        ("bo@sender.test", "orders@shop.test"),
    ]
    .into_iter()
    .enumerate()
    {
        let mail = mail::short(&format!("number {at}"));
        sender::send(relay.address(), from, &[to], &mail).await;
    }
    let mut stranger = sender::Plain::hello(relay.address()).await;
    stranger.expect("MAIL FROM:<x@sender.test>", "250").await;
    stranger
        .expect("RCPT TO:<nobody@example.test>", "550")
        .await;
    relay.wait_for_count(2, "deferred").await;
    relay.wait_for_count(3, "delivered").await;
    relay
        .run(&[
            "site",
            "limit",
            "target.test",
            "--rate",
            "60/m",
            "--reason",
            SCRIPT,
        ])
        .await;
    relay.run(&["reload"]).await;
    browser
}

#[tokio::test]
#[ignore = "needs chromium-headless-shell: ./test.sh installs and runs"]
async fn pages_under_their_policy() {
    let net = Net::new().await;
    let _good = net.sink("target.test", "").await;
    let slow = format!("rcpt: 451 4.7.1 too fast {SCRIPT} \"'> turn\u{202e}ed");
    let _slow = net.sink("slow.test", &slow).await;
    let _gone = net
        .sink("gone.test", "rcpt: 550 5.1.1 no such mailbox")
        .await;
    let browser = browser(&net).await;
    let door = Door::open(browser.api.address, browser.cookie.clone()).await;
    let url = |path: &str| format!("http://{}{path}", door.address);
    let (_, console) = dump(&url("/control"), &["--dump-dom"]).await;
    assert!(!console.is_empty(), "a broken policy would not be seen");

    let wait = ["--virtual-time-budget=4000", "--dump-dom"];
    for (name, path) in PAGES {
        let (page, console) = dump(&url(path), &wait).await;
        assert_eq!(console, Vec::<String>::new(), "{path}");
        assert!(page.contains("</main>"), "{path}: {page}");
        assert!(!page.contains("<title>HACKED"), "{path}: {page}");
        if let Some(folder) = std::env::var_os("ONWARD_SHOTS") {
            shoot(&url(path), Path::new(&folder), name).await;
        }
    }
    let looks = door.looks.load(Ordering::Relaxed);
    let (_, console) = dump(&url("/"), &["--virtual-time-budget=12000", "--dump-dom"]).await;
    assert_eq!(console, Vec::<String>::new());
    assert!(
        door.looks.load(Ordering::Relaxed) > looks,
        "no number moves by itself"
    );
}

async fn shoot(url: &str, folder: &Path, name: &str) {
    for (kind, size, scheme) in [
        ("light", "1280,900", "1"),
        ("dark", "1280,900", "0"),
        ("phone", "390,1400", "1"),
    ] {
        let shot = folder.join(format!("{name}-{kind}.png"));
        let shot = format!("--screenshot={}", shot.display());
        let size = format!("--window-size={size}");
        let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
        dump(url, &[&shot, &size, &scheme, "--virtual-time-budget=3000"]).await;
    }
}
