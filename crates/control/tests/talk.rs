//! Client and server over a real socket, with an operator that remembers what it was asked.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};

use control::ask::{
    FreezeLift, FreezeList, Ping, QueueAct, QueueList, QueueShow, Reload, SrsEncode,
};
use control::{
    Answers, Ask, Body, Client, ClientError, Diagnosis, Explanation, Fault, LegRow, LegState, Mail,
    Operator, Part, QueueAction, Request, Selector, Socket,
};
use envelope::{Actor, LegId, MessageId, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const ID: MessageId = MessageId::from_bits(77);

#[derive(Default)]
struct FakeOperator {
    asked: Mutex<Vec<String>>,
}

/// Two pieces, the first larger than one line may carry; then perhaps a failure.
struct Pieces {
    left: Vec<Vec<u8>>,
    fails: bool,
}

impl Body for Pieces {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        match self.left.pop() {
            None if self.fails => Err(Fault::new("body damaged")),
            piece => Ok(piece),
        }
    }
}

/// Every question of the table: noted, and answered with what stands in `canned`.
impl<A: Ask> Answers<A> for FakeOperator {
    async fn answer(&self, ask: A, by: Actor) -> Result<A::Answer, Fault> {
        let request: Request = ask.into();
        self.note(format!("{request:?} by {by}"));
        let canned = canned(&request)?;
        Ok(serde_json::from_value(canned).unwrap())
    }
}

fn canned(request: &Request) -> Result<Value, Fault> {
    Ok(match request {
        Request::Ping(_) => json!("1.2.3"),
        Request::QueueList(_) => json!({"legs": [row()], "next": "more"}),
        Request::QueueAct(_) => json!({"matched": 3, "done": 2, "pending": 1}),
        Request::FreezeList(_) => json!({
            "freezes": [{
                "key": "client:2001:db8::/64",
                "limit": "cracked",
                "since": "1970-01-01T00:00:00.001Z",
                "hits": 2,
                "told": true,
            }],
            "next": "client:2001:db8::/64",
        }),
        Request::FreezeLift(_) => json!({"lifted": 1, "released": 2}),
        Request::SrsEncode(of) => json!({"address": of.address, "result": "SRS0=x"}),
        Request::Reload(_) => {
            let fault = Fault::new("forwards:3:7: not an address");
            return Err(fault.with_hint("write user@domain"));
        }
        request => return Err(Fault::new(format!("no answer to {request:?}"))),
    })
}

impl Operator for FakeOperator {
    type Body = Pieces;

    fn asked(&self, request: &Request, by: &Actor) {
        if let Request::QueueAct(act) = request {
            let (action, selector) = (act.action, &act.selector);
            self.note(format!("asked: {action:?} {selector} by {by}"));
        }
    }

    async fn queue_cat(&self, _: MessageId, part: Part) -> Result<Pieces, Fault> {
        Ok(Pieces {
            left: vec![b"end".to_vec(), vec![0xFF; 200_000]],
            fails: part == Part::Body,
        })
    }

    async fn explain(
        &self,
        mail: Mail,
        message: Option<&mut (impl Body + Sync)>,
    ) -> Result<Explanation, Fault> {
        // A recipient that is refused: of the message only the first piece is read.
        let first = match message {
            Some(message) => message.chunk().await?,
            None => None,
        };
        self.note(format!(
            "explain {mail:?} {:?}",
            first.map(|piece| piece.len())
        ));
        Ok(Explanation::default())
    }
}

impl FakeOperator {
    fn note(&self, text: String) {
        self.asked.lock().unwrap().push(text);
    }
}

fn row() -> LegRow {
    LegRow {
        leg: LegId {
            message: ID,
            number: 2,
        },
        state: LegState::Held,
        reverse_path: "<>".to_owned(),
        origin: "proved".to_owned(),
        recipient: "alice@example.org".to_owned(),
        target: "jane@private.example".to_owned(),
        sender: "<SRS0=a@us.example>".to_owned(),
        size: 10,
        arrived: Timestamp::from_unix_millis(1_795_264_496_789),
        expires: None,
        next_try: None,
        attempts: 4,
        options: "srs=off".to_owned(),
        last: "mx.example: connection refused".to_owned(),
        waits: None,
        diagnosis: Some(Diagnosis {
            status: "4.4.1".to_owned(),
            text: "connection refused".to_owned(),
            reply: None,
            host: Some("mx.example".to_owned()),
        }),
        pending: Some(QueueAction::Bounce),
    }
}

/// A server at work in a directory of its own.
struct Running {
    dir: TempDir,
    operator: Arc<FakeOperator>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let operator = Arc::new(FakeOperator::default());
        let socket = Socket::bind(&dir.path().join("control")).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let task = tokio::spawn(socket.serve(Arc::clone(&operator), shutdown));
        Self {
            dir,
            operator,
            stop,
            task,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.dir.path().join("control"))
            .await
            .unwrap()
    }

    /// Sends bytes as they are, and gives the line that comes back.
    async fn raw(&self, bytes: &[u8]) -> String {
        let stream = UnixStream::connect(self.dir.path().join("control"))
            .await
            .unwrap();
        let (reader, mut writer) = stream.into_split();
        // A refused request may be answered, and the connection closed, before all of it is written.
        let _ = writer.write_all(bytes).await;
        let mut line = String::new();
        BufReader::new(reader).read_line(&mut line).await.unwrap();
        line
    }
}

#[tokio::test]
async fn every_request_finds_its_answer() {
    let running = Running::start().await;
    let mut client = running.client().await;
    assert_eq!(client.ask(Ping {}).await.unwrap(), "1.2.3");
    let fault = client.ask(Reload::default()).await.unwrap_err();
    let words = "forwards:3:7: not an address\n\nhint: write user@domain";
    assert_eq!(fault.to_string(), words);
    let list = QueueList {
        filter: Selector {
            to: Some("@Example.org".parse().unwrap()),
            ..Selector::default()
        },
        cursor: None,
        limit: 999_999,
    };
    let page = client.ask(list).await.unwrap();
    assert_eq!(
        (page.legs, page.next.as_deref()),
        (vec![row()], Some("more"))
    );
    assert!(client.ask(QueueShow { id: ID.into() }).await.is_err());
    let act = QueueAct {
        action: QueueAction::Bounce,
        selector: Selector {
            from: Some("<>".parse().unwrap()),
            ..Selector::default()
        },
        dry_run: false,
        reason: "spam".to_owned(),
        limit: 0,
        glance: false,
    };
    let count = client.ask(act).await.unwrap();
    assert_eq!((count.matched, count.done, count.pending), (3, 2, 1));
    let address = "a@b.example".to_owned();
    let answer = client.ask(SrsEncode { address }).await.unwrap();
    assert_eq!(
        (answer.address.as_str(), answer.result.as_str()),
        ("a@b.example", "SRS0=x")
    );
    let asked = running.operator.asked.lock().unwrap().clone();
    let ours = std::fs::metadata(running.dir.path()).unwrap().uid();
    let by = format!(" by {ours}");
    assert!(asked.iter().all(|line| line.ends_with(&by)), "{asked:?}");
    let list = &asked[2];
    assert!(
        list.contains("Domain(example.org)") && list.contains("limit: 1000 "),
        "{list}"
    );
    // It is noted who asks, before anything is done.
    let noted = format!("asked: Bounce {{\"from\":\"<>\"}}{by}");
    assert_eq!(asked[4], noted);
    assert!(asked[5].contains("Bounce") && asked[5].contains("Null"));
}

#[tokio::test]
async fn freezes_are_listed_and_lifted() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let list = FreezeList {
        cursor: Some("user:a".to_owned()),
        limit: 9999,
    };
    let page = client.ask(list).await.unwrap();
    assert_eq!(page.next.as_deref(), Some("client:2001:db8::/64"));
    assert_eq!(page.freezes[0].hits, 2);
    let lift = FreezeLift {
        key: Some("2001:DB8::1".to_owned()),
        release: true,
        ..FreezeLift::default()
    };
    let lifted = client.ask(lift).await.unwrap();
    assert_eq!((lifted.lifted, lifted.released), (1, 2));
    let asked = running.operator.asked.lock().unwrap().clone();
    assert!(asked[0].contains("user:a") && asked[0].contains("limit: 1000 "));
    assert!(asked[1].contains("2001:DB8::1") && asked[1].contains("release: true"));
}

#[tokio::test]
async fn a_message_comes_in_pieces() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for (part, complete) in [(Part::Whole, true), (Part::Body, false)] {
        let mut got = Vec::new();
        let sink = |piece: &[u8]| {
            assert!(piece.len() <= 48 * 1024);
            got.extend_from_slice(piece);
            Ok(())
        };
        let result = client.queue_cat(ID, part, sink).await;
        assert_eq!(result.is_ok(), complete, "{result:?}");
        assert_eq!((got.len(), &got[200_000..]), (200_003, b"end".as_slice()));
    }
    // The connection is in step after both.
    client.ask(Ping {}).await.unwrap();
}

#[tokio::test]
async fn bad_requests() {
    let running = Running::start().await;
    let long = [b" ".repeat(control::LINE_OCTETS_MAX + 1), b"\n".to_vec()].concat();
    let rows: [(&[u8], &str); 11] = [
        (b"hello\n", "not a request"),
        (b"{\"v\":3,\"do\":\"fly\"}\n", "protocol 3"),
        (b"{\"v\":2,\"do\":\"fly\"}\n", "not a request"),
        (b"\xFF\xFE\n", "not a request"),
        (&long, "over 1048576 octets"),
        (b"{\"v\":2,\"do\":\"queue_act\",\"action\":\"remove\",\"selector\":{}}\n", "nothing is selected"),
        (b"{\"v\":2,\"do\":\"freeze_lift\"}\n", "nothing is selected"),
        (b"{\"v\":2,\"do\":\"freeze_lift\",\"key\":\"user:a\",\"all\":true}\n", "nothing is selected"),
        (b"{\"v\":2,\"do\":\"freeze_lift\",\"kEy\":\"user:a\"}\n", "unknown field `kEy`"),
        (
            b"{\"v\":2,\"do\":\"queue_act\",\"action\":\"remove\",\"selector\":{\"all\":true,\"tO\":\"x.example\"}}\n",
            "unknown field `tO`",
        ),
        (
            b"{\"v\":2,\"do\":\"queue_act\",\"action\":\"remove\",\"selector\":{\"all\":true,\"ids\":[\"0000000000000000000000002D\"]}}\n",
            "exclude each other",
        ),
    ];
    for (bytes, expected) in rows {
        let line = running.raw(bytes).await;
        assert!(
            line.starts_with("{\"error\":") && line.contains(expected),
            "{expected}: {line}"
        );
    }
    assert!(running.operator.asked.lock().unwrap().is_empty());
}

/// The form that `--json` prints and other programs read.
#[tokio::test]
async fn the_wire_form_is_stable() {
    let running = Running::start().await;
    let line = running
        .raw(b"{\"v\":2,\"do\":\"queue_list\",\"limit\":1}\n")
        .await;
    let expected = concat!(
        r#"{"answer":{"legs":[{"leg":"0000000000000000000000002D.2","state":"held","reverse_path":"<>","#,
        r#""recipient":"alice@example.org","target":"jane@private.example","#,
        r#""sender":"<SRS0=a@us.example>","#,
        r#""origin":"proved","#,
        r#""size":10,"arrived":"2026-11-21T12:34:56.789Z","expires":null,"next_try":null,"attempts":4,"options":"srs=off","#,
        r#""last":"mx.example: connection refused","diagnosis":{"status":"4.4.1","text":"connection refused","reply":null,"host":"mx.example"},"waits":null,"pending":"bounce"}],"next":"more"}}"#,
        "\n",
    );
    assert_eq!(line, expected);
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let running = Running::start().await;
    let mut open = Vec::new();
    for _ in 0..16 {
        let mut client = running.client().await;
        client.ask(Ping {}).await.unwrap();
        open.push(client);
    }
    let fault = running.client().await.ask(Ping {}).await.unwrap_err();
    assert_eq!(
        fault.to_string(),
        "too many control connections\n\nhint: try again in a moment"
    );
    drop(open.pop());
    // The slot is free once the server has seen the end of the connection.
    while running.client().await.ask(Ping {}).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn shutdown_ends_it_and_removes_the_file() {
    let running = Running::start().await;
    let mut idle = running.client().await;
    idle.ask(Ping {}).await.unwrap();
    let path = running.dir.path().join("control");
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
    assert!(idle.ask(Ping {}).await.is_err());
    assert_eq!(Arc::strong_count(&running.operator), 1);
    assert!(!path.exists());
    let error = Client::connect(&path).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
}

#[tokio::test]
async fn a_client_that_hangs_up_in_the_middle_hurts_nobody() {
    let running = Running::start().await;
    let mut stream = UnixStream::connect(running.dir.path().join("control"))
        .await
        .unwrap();
    let request = format!("{{\"v\":2,\"do\":\"queue_cat\",\"id\":\"{ID}\",\"part\":\"whole\"}}\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 10];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"{\"chunk\":\"");
    drop(stream);
    running.client().await.ask(Ping {}).await.unwrap();
}

#[tokio::test]
async fn a_message_goes_to_the_daemon_in_pieces() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let mail = Mail {
        to: "a@b.test".to_owned(),
        from: String::new(),
        ip: "192.0.2.7".parse().unwrap(),
        hello: "c.test".to_owned(),
        user: None,
    };
    let nothing = None::<&mut &[u8]>;
    assert!(client.explain(mail.clone(), nothing).await.is_ok());
    let message = vec![b'x'; 200_000];
    let explained = client.explain(mail, Some(&mut &message[..])).await;
    assert_eq!(explained.unwrap(), Explanation::default());
    // What was not read is passed over: the connection goes on.
    assert!(client.ask(Ping {}).await.is_ok());
    let asked = running.operator.asked.lock().unwrap().join("\n");
    assert!(asked.contains(" Some(49152)"), "{asked}");
}
