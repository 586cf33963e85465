//! A server with Postfix and postsrsd moves over: every address is answered the same, and postsrsd's addresses go on.

use std::path::Path;

use testkit::net::Net;
use testkit::program;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::relay;

const MAIN_CF: &str = "\
compatibility_level = 3.6
myhostname = mx.old.test
myorigin = $mydomain
mydestination = $mydomain, localhost
virtual_alias_domains = a.test, b.test
virtual_alias_maps = hash:/FOLDER/virtual, regexp:/FOLDER/patterns
alias_maps = hash:/FOLDER/aliases
sender_canonical_maps = tcp:localhost:10001
recipient_canonical_maps = tcp:localhost:10002
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

#[tokio::test]
#[ignore = "needs postfix and postsrsd: ./test.sh installs and runs"]
async fn every_address_is_answered_the_same() {
    let net = Net::new().await;
    let setup = relay(&net, "");
    for folder in ["etc", "etc/postfix", "etc/default"] {
        std::fs::create_dir(setup.path(folder)).expect("a folder");
    }
    let folder = setup.path("etc/postfix").display().to_string();
    setup.write("etc/postfix/main.cf", &MAIN_CF.replace("/FOLDER", &folder));
    setup.write("etc/postfix/virtual", VIRTUAL);
    setup.write(
        "etc/postfix/patterns",
        "/^shop-.*@a\\.test$/ shop@box.example\n",
    );
    setup.write(
        "etc/postfix/aliases",
        "postmaster: root\nroot: admin@box.example\nbob: bob@home.example\nlist: one@l.example, two@l.example\n",
    );
    setup.write(
        "etc/default/postsrsd",
        "SRS_DOMAIN=srs.old.test\nSRS_SECRET=/etc/postsrsd.secret\n",
    );
    setup.write_private("etc/postsrsd.secret", "a secret of old\n");
    let postmap = |kind: &'static str, table: String| {
        let arguments = ["-c".to_owned(), folder.clone(), table];
        async move {
            let arguments = arguments.each_ref().map(String::as_str);
            program::run(Path::new("/usr/sbin").join(kind), &arguments, b"")
                .await
                .success()
        }
    };
    postmap("postmap", format!("hash:{folder}/virtual")).await;
    postmap("postalias", format!("hash:{folder}/aliases")).await;

    let new = setup.path("new").display().to_string();
    let import = ["import", "postfix", &folder, "--into", &new, "--compare"];
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

    postsrsd_understands(
        &setup.path("new/onward.toml"),
        &setup.path("etc/postsrsd.secret"),
    )
    .await;

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
    std::fs::remove_file(gone).expect("a compiled table");
    setup
        .run_into_error(
            &[&import[..], &["--force"]].concat(),
            &["cannot ask `postmap", "hint: "],
        )
        .await;
}

/// An address that the new server makes is one of postsrsd's.
async fn postsrsd_understands(config: &Path, secret: &Path) {
    let (config, secret) = (config.display().to_string(), secret.display().to_string());
    let encode = ["--config", &config, "srs", "encode", "origin@sender.test"];
    let encoded = program::run(env!("CARGO_BIN_EXE_onward"), &encode, b"")
        .await
        .success();
    let ports = [free_port().await, free_port().await].map(|port| port.to_string());
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
    let _daemon = program::start("/usr/sbin/postsrsd", &arguments);
    let reverse = format!("127.0.0.1:{}", ports[1]);
    let connected = async {
        loop {
            match TcpStream::connect(&reverse).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    };
    let mut stream = tokio::time::timeout(testkit::PATIENCE, connected)
        .await
        .expect("postsrsd");
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
}

async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    listener.local_addr().expect("an address").port()
}
