//! `onward import`: what is written loads, nothing is overwritten, and what is left is told.

use testkit::net::Net;
use testkit::program;

use crate::relay;

/// Imports the file of this name; what the new forwards file has, which a relay takes.
async fn import(kind: &str, name: &str, text: &str) -> String {
    let postmaster = "\"admin@target.test\"";
    let setup = relay(&Net::new().await, "").set("forwards.postmaster", postmaster);
    let path = setup.path(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    setup.write(name, text);
    // A folder is imported whole, and a file alone.
    let path = match kind {
        "forwardemail" | "virtualmin" => path,
        "directadmin" => setup.path("old"),
        _ => path.parent().expect("a folder").to_owned(),
    };
    let (path, new) = (
        path.display().to_string(),
        setup.path("new").display().to_string(),
    );
    let import = ["import", kind, &path, "--into", &new];
    let dry = [&import[..], &["--dry-run"]].concat();
    let shown = setup.run(&dry).await.success();
    assert!(!setup.path("new").exists(), "{shown}");
    let told = setup.run(&import).await.success();
    assert!(
        told.stdout.contains("forwards") && told.stdout.contains("left: "),
        "{told}"
    );
    let again = setup.run(&import).await;
    assert_eq!(again.code, Some(1), "{again}");
    assert!(
        again.stderr.contains("exists, nothing is written"),
        "{again}"
    );
    let forced = [&import[..], &["--force", "--json"]].concat();
    let json: serde_json::Value =
        serde_json::from_str(&setup.run(&forced).await.success().stdout).expect("JSON");
    assert_eq!(json["left"].as_array().expect("a list").len(), 1, "{json}");
    let forwards = std::fs::read_to_string(setup.path("new/forwards")).expect("a file");
    assert!(shown.stdout.contains(forwards.trim_end()), "{shown}");
    setup.write("forwards", &forwards);
    setup.run(&["check"]).await.success();
    forwards.lines().skip(1).collect::<Vec<_>>().join("\n")
}

const LINE: &str = "alice@a.test alice@box.example";

#[tokio::test]
async fn exim_and_panels() {
    let file = "alice: alice@box.example\n*: \"|/bin/program\"\n";
    let expected =
        format!("{LINE}\n@a.test :reject: 450 4.2.1 this mailbox is not served here yet");
    for (kind, name) in [
        ("exim", "old/a.test"),
        ("valiases", "old/a.test"),
        ("directadmin", "old/a.test/aliases"),
    ] {
        assert_eq!(import(kind, name, file).await, expected, "{kind}");
    }
}

#[tokio::test]
async fn tables_and_records() {
    let file = "a.test a.test\nalice@a.test alice@box.example\nbad@a.test bob@box\n";
    let held = "bad@a.test :reject: 450 4.2.1 this mailbox is not served here yet";
    assert_eq!(
        import("virtualmin", "old/virtual", file).await,
        format!("{LINE}\n{held}")
    );
    let file = "a.test forward-email=alice:alice@box.example,bob:https://x.example\n";
    assert_eq!(import("forwardemail", "old.txt", file).await, LINE);
}

#[tokio::test]
async fn postfix_with_postsrsd() {
    let setup = relay(&Net::new().await, "");
    for folder in ["etc", "etc/postfix", "etc/default"] {
        std::fs::create_dir(setup.path(folder)).expect("a folder");
    }
    setup.write(
        "etc/postfix/main.cf",
        "myhostname = mx.old.test\nmydestination = localhost\nvirtual_alias_maps = texthash:/etc/postfix/virtual\n\
         sender_canonical_maps = tcp:localhost:10001\nrelay_domains = r.test\nalias_maps =\n\
         transport_maps = inline:{r.test=smtp:x}\n",
    );
    setup.write(
        "etc/postfix/virtual",
        "a.test x\nalice@a.test alice@box.example\n",
    );
    setup.write(
        "etc/default/postsrsd",
        "SRS_DOMAIN=srs.old.test\nSRS_SECRET=/etc/postsrsd.secret\n",
    );
    setup.write("etc/postsrsd.secret", "first\nsecond\n");
    let (path, new) = (setup.path("etc/postfix"), setup.path("new"));
    let (path, new) = (path.display().to_string(), new.display().to_string());
    let told = setup
        .run(&["import", "postfix", &path, "--into", &new])
        .await
        .success();
    assert!(told.stdout.contains("and the SRS secrets"), "{told}");
    let secrets = std::fs::read_to_string(setup.path("new/srs.secrets")).expect("a file");
    assert_eq!(secrets, "first\nsecond\n");
    // The new configuration is whole: the SRS domain and the secret that signed before sign on.
    let config = setup.path("new/onward.toml").display().to_string();
    let encode = ["--config", &config, "srs", "encode", "origin@sender.test"];
    let encoded = program::run(env!("CARGO_BIN_EXE_onward"), &encode, b"")
        .await
        .success();
    assert!(
        encoded.stdout.contains("=sender.test=origin@srs.old.test"),
        "{encoded}"
    );
    let only = [
        "import",
        "postsrsd",
        &setup.path("etc").display().to_string(),
        "--dry-run",
        "--json",
    ];
    let json: serde_json::Value =
        serde_json::from_str(&setup.run(&only).await.success().stdout).expect("JSON");
    assert_eq!(json["options"]["srs"]["domain"], "srs.old.test");
    assert!(
        !json.to_string().contains("first"),
        "no secret is shown: {json}"
    );
}

#[tokio::test]
async fn what_cannot_be() {
    let setup = relay(&Net::new().await, "");
    let folder = setup.path("").display().to_string();
    setup
        .run_into_error(
            &["import", "postfix", "/nowhere"],
            &["cannot read /nowhere", "hint: "],
        )
        .await;
    setup
        .run_into_error(
            &["import", "postfix", &folder],
            &["has no main.cf", "hint: "],
        )
        .await;
    setup
        .run_into_error(
            &["import", "exim", &folder, "--compare"],
            &["hint: leave it out"],
        )
        .await;
}
