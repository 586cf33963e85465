//! A server with Postfix and postsrsd moves over: every address is answered the same, and postsrsd's addresses go on.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use testkit::daemon::Setup;
use testkit::net::Net;
use testkit::program::{self, Running};
use testkit::sender::Plain;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::relay;
use testkit::program::free;

const MAIN_CF: &str = "\
compatibility_level = 3.6
myhostname = mx.old.test
myorigin = $mydomain
mydestination = $mydomain, localhost
virtual_alias_domains = a.test, b.test
virtual_alias_maps = hash:/FOLDER/virtual, regexp:/FOLDER/patterns
alias_maps = hash:/FOLDER/aliases
local_recipient_maps = $alias_maps
recipient_delimiter = +
sender_canonical_maps = tcp:127.0.0.1:FORTH
recipient_canonical_maps = tcp:127.0.0.1:BACK
smtpd_relay_restrictions = reject_unauth_destination
mynetworks =
queue_directory = /FOLDER/../../queue
data_directory = /FOLDER/../../data
inet_interfaces = 127.0.0.1
maillog_file = /dev/stdout
";

const MASTER_CF: &str = "\
PORT inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

const VIRTUAL: &str = "\
alice@a.test    alice@box.example, Bob@box.example
bob@a.test      bob
team@a.test     alice@a.test
                bob@a.test, list
gone@a.test     gone@a.test
@b.test         @a.test
out@c.example   z@box.example
chain@a.test    out@c.example
eve             alice@a.test
";

const ALIASES: &str = "\
postmaster: root
root: admin@box.example
bob: bob@home.example
list: one@l.example, two@l.example
";

/// What others may write to: every address and pattern of the tables, and what stands nowhere.
const TAKEN: [&str; 18] = [
    "alice@a.test",
    "ALICE@A.Test",
    "alice+news@a.test",
    "bob@a.test",
    "team@a.test",
    "chain@a.test",
    "shop-1@a.test",
    "shop-@a.test",
    "alice@b.test",
    "bob@b.test",
    "shop-2@b.test",
    "alice+news@b.test",
    "eve@old.test",
    "postmaster@old.test",
    "root@old.test",
    "bob@old.test",
    "bob+x@old.test",
    "list@old.test",
];
const REFUSED: [&str; 12] = [
    "nobody@a.test",
    "shop@a.test",
    "eve@a.test",
    "list@a.test",
    "nobody@old.test",
    "nobody+x@old.test",
    "alice@old.test",
    "root@mx.old.test",
    "out@c.example",
    "alice@box.example",
    "alice@sub.a.test",
    "alice@test",
];
/// Postfix takes these and then cannot deliver them; we say so at once: for now for a mailbox that has no new place, for good
/// for one that never was.
const BETTER: [(&str, &str); 2] = [("gone@a.test", "450"), ("nobody@b.test", "550")];

/// The old server: Postfix's files, and a postsrsd that answers.
struct Old {
    folder: String,
    secret: String,
    back: String,
    _srs: Running,
}

impl Old {
    async fn new(setup: &Setup) -> Self {
        for folder in ["etc", "etc/postfix", "etc/default"] {
            fs::create_dir(setup.path(folder)).expect("a folder");
        }
        let folder = setup.path("etc/postfix").display().to_string();
        let ports = [free(), free()].map(|address| address.port().to_string());
        let main_cf = MAIN_CF.replace("/FOLDER", &folder);
        let main_cf = main_cf
            .replace("FORTH", &ports[0])
            .replace("BACK", &ports[1]);
        setup.write("etc/postfix/main.cf", &main_cf);
        setup.write("etc/postfix/virtual", VIRTUAL);
        setup.write(
            "etc/postfix/patterns",
            "/^shop-.*@a\\.test$/ shop@box.example\n",
        );
        setup.write("etc/postfix/aliases", ALIASES);
        setup.write(
            "etc/default/postsrsd",
            "SRS_DOMAIN=srs.old.test\nSRS_SECRET=/etc/postsrsd.secret\n",
        );
        setup.write_private("etc/postsrsd.secret", "a secret of old\n");
        let tables = [
            ("postmap", format!("hash:{folder}/virtual")),
            ("postalias", format!("hash:{folder}/aliases")),
        ];
        for (program, table) in tables {
            let program = format!("/usr/sbin/{program}");
            program::run(program, &["-c", &folder, &table], b"")
                .await
                .success();
        }
        let secret = setup.path("etc/postsrsd.secret").display().to_string();
        let arguments = [
            "-d",
            "srs.old.test",
            "-s",
            &secret,
            "-f",
            &ports[0],
            "-r",
            &ports[1],
            "-l",
            "127.0.0.1",
        ];
        let srs = program::start("/usr/sbin/postsrsd", &arguments);
        Self {
            folder,
            secret,
            back: format!("127.0.0.1:{}", ports[1]),
            _srs: srs,
        }
    }

    /// Postfix itself, as far as it takes mail.
    async fn start(&self, setup: &Setup) -> (Running, SocketAddr) {
        let port = free().port();
        let master_cf = MASTER_CF.replace("PORT", &port.to_string());
        setup.write("etc/postfix/master.cf", &master_cf);
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(setup.path(""), open).expect("a folder");
        for folder in ["queue", "data"] {
            fs::create_dir(setup.path(folder)).expect("a folder");
        }
        let user = fs::metadata("/var/lib/postfix").expect("Postfix").uid();
        chown(setup.path("data"), Some(user), None).expect("a folder");
        program::run("/usr/sbin/postfix", &["-c", &self.folder, "check"], b"").await;
        let master = "/usr/lib/postfix/sbin/master";
        let running = program::start(master, &["-c", &self.folder, "-d"]);
        (running, SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

#[tokio::test]
#[ignore = "needs postfix and postsrsd: ./test.sh installs and runs"]
async fn both_answer_every_recipient_the_same() {
    if !program::are_root() {
        eprintln!("only root can start Postfix: not run");
        return;
    }
    let net = Net::new().await;
    let setup = relay(&net, "");
    let old = Old::new(&setup).await;
    let new = setup.path("new").display().to_string();
    let import = ["import", "postfix", &old.folder, "--into", &new];
    setup.run(&import).await.success();
    let forwards = fs::read_to_string(setup.path("new/forwards")).expect("a file");
    let (_postfix, address) = old.start(&setup).await;
    drop(connected(&address.to_string()).await);
    let relay = relay(&net, &forwards).start().await;
    let mut postfix = Plain::hello(address).await;
    let mut onward = Plain::hello(relay.address()).await;
    let mut answers = Vec::new();
    let better = BETTER.map(|(address, _)| address);
    for address in TAKEN.iter().chain(&REFUSED).chain(&better) {
        let both = [
            answer(&mut postfix, address).await,
            answer(&mut onward, address).await,
        ];
        answers.push((*address, both));
    }
    let taken = TAKEN.iter().map(|address| (*address, ["250", "250"]));
    let refused = REFUSED.iter().map(|address| (*address, ["550", "550"]));
    let better = BETTER
        .iter()
        .map(|(address, code)| (*address, ["250", *code]));
    let expected = taken.chain(refused).chain(better);
    let expected =
        Vec::from_iter(expected.map(|(address, both)| (address, both.map(String::from))));
    assert_eq!(answers, expected);
}

#[tokio::test]
#[ignore = "needs postfix and postsrsd: ./test.sh installs and runs"]
async fn every_address_goes_to_the_same_mailboxes() {
    let net = Net::new().await;
    let setup = relay(&net, "");
    let old = Old::new(&setup).await;
    let new = setup.path("new").display().to_string();
    let import = [
        "import",
        "postfix",
        &old.folder,
        "--into",
        &new,
        "--compare",
    ];
    let told = setup.run(&import).await.success();
    assert!(
        told.stdout.contains("Postfix gives the same answers"),
        "{told}"
    );
    assert!(
        told.stdout
            .contains("gone@a.test: is a mailbox of that server"),
        "{told}"
    );

    // An address that the new server makes is one of postsrsd's.
    let config = setup.path("new/onward.toml").display().to_string();
    let encode = ["--config", &config, "srs", "encode", "origin@sender.test"];
    let encoded = program::run(env!("CARGO_BIN_EXE_onward"), &encode, b"")
        .await
        .success();
    let secrets = fs::read(setup.path("new/srs.secrets")).expect("a file");
    assert_eq!(secrets, fs::read(&old.secret).expect("a file"));
    let mut stream = connected(&old.back).await;
    let question = format!("get {}\n", encoded.stdout.trim());
    stream
        .write_all(question.as_bytes())
        .await
        .expect("a question");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .await
        .expect("an answer");
    assert_eq!(answer, "200 origin@sender.test\n");

    // What the text says now, the compiled table does not know.
    setup.write(
        "etc/postfix/virtual",
        &VIRTUAL.replace("alice@box", "alicia@box"),
    );
    let differs = setup.run(&[&import[..], &["--force"]].concat()).await;
    assert_eq!(differs.code, Some(1), "{differs}");
    let wanted = "differs: alice@a.test: Postfix sends it to alice@box.example, bob@box.example, Onward to alicia@box.example, bob@box.example";
    assert!(differs.stdout.contains(wanted), "{differs}");
    let gone = setup.path("etc/postfix/virtual.db");
    fs::remove_file(gone).expect("a compiled table");
    setup
        .run_into_error(
            &[&import[..], &["--force"]].concat(),
            &["cannot ask `postmap", "hint: "],
        )
        .await;
}

/// The code for a recipient; 554 says the same to a client as 550.
async fn answer(server: &mut Plain, address: &str) -> String {
    server.expect("MAIL FROM:<origin@sender.test>", "250").await;
    let reply = server.command(&format!("RCPT TO:<{address}>")).await;
    server.expect("RSET", "250").await;
    let code = reply.split(' ').next().unwrap_or_default();
    code.replace("554", "550")
}

/// When it listens.
async fn connected(address: &str) -> TcpStream {
    let connected = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    };
    let connected = tokio::time::timeout(testkit::PATIENCE, connected).await;
    connected.unwrap_or_else(|_| panic!("{address} does not listen"))
}
