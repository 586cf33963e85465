//! Client and server over a real socket, with an operator that remembers what it was asked.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};

use control::{
    Body, Client, ClientError, Count, Diagnosis, Explanation, Fault, FreezePage, FreezeRow, LegRow,
    LegState, Lift, Lifted, Mail, MessageDetails, Operator, Page, Part, QueueAction, QueueCounts,
    Reloaded, Request, Selector, Socket, SrsAnswer, Status,
};
use envelope::{LegId, MessageId, Timestamp};
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

impl Operator for FakeOperator {
    type Body = Pieces;

    async fn status(&self) -> Result<Status, Fault> {
        Ok(Status {
            version: "1".to_owned(),
            hostname: "mx.example".to_owned(),
            pid: 1,
            started: Timestamp::from_unix_millis(1),
            listeners: vec!["[::]:25".to_owned()],
            queue: QueueCounts::default(),
            frozen: 3,
            events: [("received".to_owned(), 2)].into(),
            events_missed: 0,
            blocklists: BTreeMap::new(),
            filters: BTreeMap::new(),
        })
    }

    fn asked(&self, request: &Request, uid: u32) {
        if let Request::QueueAction { action, selector } = request {
            self.note(format!("asked: {action:?} {selector} by {uid}"));
        }
    }

    async fn reload(&self, _force: bool, _dry_run: bool) -> Result<Reloaded, Fault> {
        Err(Fault::new("forwards:3:7: not an address").with_hint("write user@domain"))
    }

    async fn queue_list(
        &self,
        filter: Selector,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page, Fault> {
        self.note(format!("list {filter:?} {cursor:?} {limit}"));
        Ok(Page {
            legs: vec![row()],
            next: Some("more".to_owned()),
        })
    }

    async fn queue_show(&self, id: MessageId) -> Result<MessageDetails, Fault> {
        Err(Fault::new(format!("no message {id}")))
    }

    async fn queue_cat(&self, _: MessageId, part: Part) -> Result<Pieces, Fault> {
        Ok(Pieces {
            left: vec![b"end".to_vec(), vec![0xFF; 200_000]],
            fails: part == Part::Body,
        })
    }

    async fn queue_action(
        &self,
        action: QueueAction,
        selector: Selector,
        uid: u32,
    ) -> Result<Count, Fault> {
        self.note(format!("{action:?} {selector:?} by {uid}"));
        Ok(Count {
            matched: 3,
            done: 2,
            pending: 1,
        })
    }

    async fn freeze_list(&self, cursor: Option<String>, limit: usize) -> Result<FreezePage, Fault> {
        self.note(format!("freezes {cursor:?} {limit}"));
        let row = FreezeRow {
            key: "client:2001:db8::/64".to_owned(),
            limit: "cracked".to_owned(),
            since: Timestamp::from_unix_millis(1),
            hits: 2,
            told: true,
        };
        Ok(FreezePage {
            next: Some(row.key.clone()),
            freezes: vec![row],
        })
    }

    async fn freeze_lift(&self, lift: Lift, uid: u32) -> Result<Lifted, Fault> {
        self.note(format!("{lift:?} by {uid}"));
        Ok(Lifted {
            lifted: 1,
            released: 2,
        })
    }

    async fn srs_encode(&self, address: String) -> Result<SrsAnswer, Fault> {
        let result = "SRS0=x".to_owned();
        Ok(SrsAnswer { address, result })
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

    async fn srs_decode(&self, _: String) -> Result<SrsAnswer, Fault> {
        Err(Fault::new("not an SRS address"))
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
        next_try: None,
        attempts: 4,
        options: "srs=off".to_owned(),
        last: "mx.example: connection refused".to_owned(),
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
    assert_eq!(client.ping().await.unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(client.status().await.unwrap().listeners, ["[::]:25"]);
    let fault = client.reload(false).await.unwrap_err();
    assert_eq!(fault.to_string(), "forwards:3:7: not an address");
    assert_eq!(fault.hint(), Some("write user@domain"));
    let filter = Selector {
        to: Some("@Example.org".parse().unwrap()),
        ..Selector::default()
    };
    let page = client.queue_list(filter, None, 999_999).await.unwrap();
    assert_eq!(
        (page.legs, page.next.as_deref()),
        (vec![row()], Some("more"))
    );
    assert!(client.queue_show(ID).await.is_err());
    let selector = Selector {
        from: Some("<>".parse().unwrap()),
        ..Selector::default()
    };
    let count = client
        .queue_action(QueueAction::Bounce, selector)
        .await
        .unwrap();
    assert_eq!((count.matched, count.done, count.pending), (3, 2, 1));
    let answer = client.srs_encode("a@b.example".to_owned()).await.unwrap();
    assert_eq!(
        (answer.address.as_str(), answer.result.as_str()),
        ("a@b.example", "SRS0=x")
    );
    assert!(client.srs_decode("a@b.example".to_owned()).await.is_err());
    let asked = running.operator.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(
        asked[0].contains("Domain(example.org)") && asked[0].ends_with("None 1000"),
        "{asked:?}"
    );
    let ours = std::fs::metadata(running.dir.path()).unwrap().uid();
    let by = format!("by {ours}");
    // It is noted who asks, before anything is done.
    let noted = format!("asked: Bounce {{\"from\":\"<>\"}} {by}");
    assert_eq!(asked[1], noted);
    assert!(
        asked[2].starts_with("Bounce") && asked[2].contains("Null") && asked[2].ends_with(&by),
        "{asked:?}"
    );
}

#[tokio::test]
async fn freezes_are_listed_and_lifted() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let page = client
        .freeze_list(Some("user:a".to_owned()), 9999)
        .await
        .unwrap();
    assert_eq!(page.next.as_deref(), Some("client:2001:db8::/64"));
    assert_eq!(page.freezes[0].hits, 2);
    let lift = Lift {
        key: Some("2001:DB8::1".to_owned()),
        release: true,
        ..Lift::default()
    };
    let lifted = client.freeze_lift(lift).await.unwrap();
    assert_eq!((lifted.lifted, lifted.released), (1, 2));
    let asked = running.operator.asked.lock().unwrap().clone();
    assert_eq!(asked[0], "freezes Some(\"user:a\") 1000");
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
    client.ping().await.unwrap();
}

#[tokio::test]
async fn bad_requests() {
    let running = Running::start().await;
    let long = [b" ".repeat(control::LINE_OCTETS_MAX + 1), b"\n".to_vec()].concat();
    let rows: [(&[u8], &str); 11] = [
        (b"hello\n", "not a request"),
        (b"{\"v\":2,\"do\":\"fly\"}\n", "protocol 2"),
        (b"{\"v\":1,\"do\":\"fly\"}\n", "not a request"),
        (b"\xFF\xFE\n", "not a request"),
        (&long, "over 65536 octets"),
        (b"{\"v\":1,\"do\":\"queue_action\",\"action\":\"remove\",\"selector\":{}}\n", "nothing is selected"),
        (b"{\"v\":1,\"do\":\"freeze_lift\"}\n", "nothing is selected"),
        (b"{\"v\":1,\"do\":\"freeze_lift\",\"key\":\"user:a\",\"all\":true}\n", "nothing is selected"),
        (b"{\"v\":1,\"do\":\"freeze_lift\",\"kEy\":\"user:a\"}\n", "unknown field `kEy`"),
        (
            b"{\"v\":1,\"do\":\"queue_action\",\"action\":\"remove\",\"selector\":{\"all\":true,\"tO\":\"x.example\"}}\n",
            "unknown field `tO`",
        ),
        (
            b"{\"v\":1,\"do\":\"queue_action\",\"action\":\"remove\",\"selector\":{\"all\":true,\"ids\":[\"0000000000000000000000002D\"]}}\n",
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
        .raw(b"{\"v\":1,\"do\":\"queue_list\",\"limit\":1}\n")
        .await;
    let expected = concat!(
        r#"{"page":{"legs":[{"leg":"0000000000000000000000002D.2","state":"held","reverse_path":"<>","#,
        r#""recipient":"alice@example.org","target":"jane@private.example","#,
        r#""sender":"<SRS0=a@us.example>","#,
        r#""origin":"proved","#,
        r#""size":10,"arrived":"2026-11-21T12:34:56.789Z","next_try":null,"attempts":4,"options":"srs=off","#,
        r#""last":"mx.example: connection refused","diagnosis":{"status":"4.4.1","text":"connection refused","reply":null,"host":"mx.example"},"pending":"bounce"}],"next":"more"}}"#,
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
        client.ping().await.unwrap();
        open.push(client);
    }
    let fault = running.client().await.ping().await.unwrap_err();
    assert_eq!(fault.to_string(), "too many control connections");
    drop(open.pop());
    // The slot is free once the server has seen the end of the connection.
    while running.client().await.ping().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn shutdown_ends_it_and_removes_the_file() {
    let running = Running::start().await;
    let mut idle = running.client().await;
    idle.ping().await.unwrap();
    let path = running.dir.path().join("control");
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
    assert!(idle.ping().await.is_err());
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
    let request = format!("{{\"v\":1,\"do\":\"queue_cat\",\"id\":\"{ID}\",\"part\":\"whole\"}}\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 10];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"{\"chunk\":\"");
    drop(stream);
    running.client().await.ping().await.unwrap();
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
    };
    let nothing = None::<&mut &[u8]>;
    assert!(client.explain(mail.clone(), nothing).await.is_ok());
    let message = vec![b'x'; 200_000];
    let explained = client.explain(mail, Some(&mut &message[..])).await;
    assert_eq!(explained.unwrap(), Explanation::default());
    // What was not read is passed over: the connection goes on.
    assert_eq!(client.ping().await.unwrap(), env!("CARGO_PKG_VERSION"));
    let asked = running.operator.asked.lock().unwrap().join("\n");
    assert!(asked.ends_with(" Some(49152)"), "{asked}");
}
