//! What each kind of server's files become: the lines, the settings, and what is left.

use super::*;

/// A folder with these files, the kind, and the path within it.
struct Case {
    folder: tempfile::TempDir,
    kind: Kind,
    path: &'static str,
}

impl Case {
    fn new(kind: Kind, path: &'static str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Self { folder, kind, path }
    }

    fn imported(&self) -> (Imported, Vec<String>) {
        let path = self.folder.path().join(self.path);
        let mut into = Imported::default();
        read(self.kind, &path, &mut into).unwrap();
        let (text, _) = into.table().unwrap();
        let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        lines.sort_unstable();
        (into, lines)
    }

    /// The lines, sorted, and `WHAT: WHY` of what is left.
    #[track_caller]
    fn check(&self, lines: &[&str], left: &[&str]) -> toml::Table {
        let (imported, found) = self.imported();
        let what = |left: &Left| format!("{}: {}", left.what, left.why);
        let found_left: Vec<_> = imported.left.iter().map(what).collect();
        assert_eq!(found, lines, "left: {found_left:#?}");
        for wanted in left {
            let told = found_left.iter().any(|left| left.contains(wanted));
            assert!(told, "{wanted} is not in {found_left:#?}");
        }
        if left.is_empty() {
            assert_eq!(found_left, [""; 0]);
        }
        imported.options
    }
}

#[test]
fn postfix_virtual_and_local_aliases() {
    let case = Case::new(
        Kind::Postfix,
        "postfix",
        &[
            (
                "postfix/main.cf",
                "myhostname = mx.old.test\nmydestination = $mydomain, localhost\nmyorigin = $mydomain\n\
                 virtual_alias_maps = hash:/etc/postfix/virtual,\n  regexp:$config_directory/patterns\n\
                 virtual_alias_domains = a.test, b.test\n",
            ),
            (
                "postfix/virtual",
                "# comment\na.test x\n\n# Alice, of sales\nAlice@a.test alice@box.example,\n  bob@box.example\n\
                 bob@a.test bob\nself@a.test self@a.test copy@box.example\n@b.test @a.test\n\
                 out@elsewhere.example z@box.example\nchain@a.test out@elsewhere.example\ndave eve@a.test\n",
            ),
            (
                "postfix/patterns",
                "/^shop-.*@a\\.test$/ shop@box.example\n/^[0-9]+@a\\.test$/ n@box.example\n\
                 if !/^owner-/\nIF /x/\n/^y@a\\.test$/ y@box.example\nendif\n/@a\\.test$/ all@box.example\nendif\n\
                 /^z@a\\.test$/ z@box.example\n",
            ),
            (
                "aliases",
                "postmaster: root\nroot: admin@box.example\nbob: bob@home.example, \"|/bin/prog x\"\n\
                 list: :include:/etc/members\nloop: pool\npool: loop\n",
            ),
            ("members", "m@box.example\nbob\n"),
        ],
    );
    let options = case.check(
        &[
            "@b.test @a.test",
            &format!("@old.test {HELD}"),
            "alice@a.test alice@box.example, bob@box.example",
            "bob@a.test bob@home.example",
            "bob@old.test bob@home.example",
            "chain@a.test z@box.example",
            "dave@old.test eve@a.test",
            "list@old.test m@box.example, bob@home.example",
            &format!("loop@old.test {HELD}"),
            &format!("pool@old.test {HELD}"),
            "postmaster@old.test admin@box.example",
            "root@old.test admin@box.example",
            "self@a.test copy@box.example",
            "shop-*@a.test shop@box.example",
            "z@a.test z@box.example",
        ],
        &[
            "self@a.test: is a mailbox of that server",
            "old.test: the users of that machine have mailboxes in it",
            "out@elsewhere.example z@box.example: is no address of a domain of this server",
            "|/bin/prog x: is a program",
            "/^[0-9]+@a\\.test$/ n@box.example: no line says the same",
            "if !/^owner-/: no line says",
            "/^y@a\\.test$/ y@box.example: no line says",
            "/@a\\.test$/ all@box.example: no line says",
        ],
    );
    assert_eq!(options["hostname"].as_str(), Some("mx.old.test"));
}

#[test]
fn postfix_settings() {
    let case = Case::new(
        Kind::Postfix,
        "postfix",
        &[
            (
                "postfix/main.cf",
                "myhostname = mx.old.test\nmydestination = localhost, l.test\n\
                 relay_domains = /etc/postfix/relayed, $mydestination\nrelayhost = isp.test\nsmtpd_tls_cert_file = /etc/both.pem\n\
                 transport_maps = texthash:/etc/postfix/transport\nmessage_size_limit = 1000000\n\
                 smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination,\n\
                 \treject_rbl_client zen.example, check_policy_service unix:private/p\n\
                 virtual_alias_maps = mysql:/etc/postfix/sql.cf\nsender_canonical_maps = tcp:localhost:10001\n\
                 alias_maps =\n",
            ),
            ("postfix/relayed", "r.test\ns.test ok\n"),
            (
                "postfix/transport",
                "r.test smtp:[10.0.0.1]:2525\ns.test lmtp:unix:private/dovecot\n.sub.test smtp:x\nu@r.test smtp:y\nmx.test smtp:isp.test:25\n",
            ),
            (
                "default/postsrsd",
                "SRS_DOMAIN=srs.old.test\nSRS_SEPARATOR=+\nSRS_SECRET=/etc/p.secret\n",
            ),
            ("p.secret", "one\ntwo\n"),
        ],
    );
    let options = case.check(
        &[&format!("@l.test {HELD}")],
        &[
            "relayhost = isp.test: not carried over",
            "mx.test smtp:isp.test:25: not carried over",
            "relay_domains: holds for what is below them, too",
            "mysql:/etc/postfix/sql.cf: virtual_alias_maps: tables of this type are not read",
            "reject_rbl_client: smtpd_recipient_restrictions",
            "check_policy_service: smtpd_recipient_restrictions",
            ".sub.test smtp:x: not carried over",
            "u@r.test smtp:y: not carried over",
        ],
    );
    let expected = r#"hostname = "mx.old.test"
[delivery]
route = [
    { domain = "r.test", host = "10.0.0.1:2525" },
    { domain = "s.test", host = "lmtp:unix:/var/spool/postfix/private/dovecot" },
]
[limits]
message_size = "1000000 B"
[policy]
relay_domains = ["r.test", "s.test"]
[srs]
domain = "srs.old.test"
separator = "+"
[tls]
certificate = "/etc/both.pem"
key = "/etc/both.pem"
"#;
    assert_eq!(options, expected.parse::<toml::Table>().unwrap());
    assert_eq!(
        case.imported().0.secrets.as_deref(),
        Some(&b"one\ntwo\n"[..])
    );
}

#[test]
fn exim_by_folder_and_by_file() {
    let folder = Case::new(
        Kind::Exim,
        "virtual",
        &[
            (
                "virtual/a.test",
                "alice: alice@box.example\n\"bob\" : carol@box.example\ninfo: alice, dave@box.example\n\
                 old: :fail: gone\njunk: :blackhole:\n*: $local_part@new.example\nroot: root\n",
            ),
            ("virtual/README", "not a domain\n"),
        ],
    );
    folder.check(
        &[
            "@a.test @new.example",
            "alice@a.test alice@box.example",
            "bob@a.test carol@box.example",
            "info@a.test alice@a.test, dave@box.example",
            "junk@a.test :discard:",
            "old@a.test :reject: 550 gone",
            &format!("root@a.test {HELD}"),
        ],
        &[
            "root: is a mailbox",
            "@a.test: does not say",
            "the file: is not called as a domain",
        ],
    );
    let file = Case::new(
        Kind::Exim,
        "b.test",
        &[(
            "b.test",
            "root: r@box.example\nalice@B.test: a@box.example\n",
        )],
    );
    file.check(
        &["alice@b.test a@box.example", "root@b.test r@box.example"],
        &[],
    );
    let file = Case::new(
        Kind::Exim,
        "aliases",
        &[(
            "aliases",
            "root: r@box.example\nbob@c.test: b@box.example\n",
        )],
    );
    file.check(
        &["bob@c.test b@box.example"],
        &["root: r@box.example: has no domain"],
    );
}

#[test]
fn panels_of_hosters() {
    let cpanel = Case::new(
        Kind::Valiases,
        "valiases",
        &[
            (
                "valiases/a.test",
                "sales@a.test: s@box.example,t@box.example\nbot@a.test: \"|/usr/bin/bot\"\n\
                 secret@a.test: :include:/etc/shadow\n*: \":fail: No Such User Here\"\n",
            ),
            ("valiases/b.test", "*: cpuser\n"),
            ("vdomainaliases/c.test", "c.test: a.test\n"),
        ],
    );
    cpanel.check(
        &[
            "@a.test :reject: 550 No Such User Here",
            &format!("@b.test {HELD}"),
            "@c.test @a.test",
            &format!("bot@a.test {HELD}"),
            "sales@a.test s@box.example, t@box.example",
            &format!("secret@a.test {HELD}"),
        ],
        &[
            "|/usr/bin/bot: is a program",
            ":include:/etc/shadow: is not read",
            "cpuser: is a mailbox",
        ],
    );
    let directadmin = Case::new(
        Kind::Directadmin,
        "virtual",
        &[
            (
                "virtual/a.test/aliases",
                "admin: admin\nsales: s@box.example\n*: :blackhole:\n",
            ),
            ("virtual/domains", "a.test\n"),
        ],
    );
    directadmin.check(
        &[
            "@a.test :discard:",
            &format!("admin@a.test {HELD}"),
            "sales@a.test s@box.example",
        ],
        &["admin: is a mailbox"],
    );
}

#[test]
fn a_customer_s_file_is_about_his_domain() {
    let cpanel = Case::new(
        Kind::Valiases,
        "valiases",
        &[
            (
                "valiases/a.test",
                "bob@c.test: x@box.example\n*@b.test: x@box.example\nceo@b.test: x@box.example\n\"c.test :domain: #\": x@box.example\nok@A.test: x@box.example\n\
                 one: <x@box.example srs=off>\ntwo: \"x\"@box.example srs_domain=b.test\n",
            ),
            (
                "valiases/b.test",
                "ceo: c@box.example\n*: boss@box.example\n",
            ),
            (
                "vdomainaliases/d.test",
                "c.test: a.test\nd.test: a.test srs=off\n",
            ),
        ],
    );
    cpanel.check(
        &[
            "@b.test boss@box.example",
            "@d.test @a.test",
            "ceo@b.test c@box.example",
            "ok@a.test x@box.example",
            &format!("one@a.test {HELD}"),
            &format!("two@a.test {HELD}"),
        ],
        &[
            "bob@c.test: x@box.example: is of another domain",
            "*@b.test: x@box.example: is of another domain",
            "ceo@b.test: x@box.example: is of another domain",
            "c.test: a.test: is of another domain",
            "c.test :domain: #@a.test x@box.example: has a blank in its address",
            "x@box.example srs=off: is no address",
            "\"x\"@box.example srs_domain=b.test: is no address",
            "srs=off: is no address",
            "@b.test: does not say which mailboxes there are",
        ],
    );
}

#[test]
fn mailboxes_are_held() {
    let directadmin = Case::new(
        Kind::Directadmin,
        "virtual",
        &[
            (
                "virtual/a.test/aliases",
                "sales: s@box.example\n*: boss@box.example\n",
            ),
            (
                "virtual/a.test/passwd",
                "carol:$6$hash:1:1::/home/a:/bin/false\nsales:$6$hash:1:1::/home/a:/bin/false\n$6$torn\n",
            ),
        ],
    );
    directadmin.check(
        &[
            "@a.test boss@box.example",
            &format!("carol@a.test {HELD}"),
            "sales@a.test s@box.example",
        ],
        &[
            "carol@a.test: is a mailbox of that server",
            "sales@a.test: is a mailbox of that server",
        ],
    );
    let told = format!("{:?}", directadmin.imported().0.left);
    assert!(!told.contains("$6$"), "{told}");
    let postfix = Case::new(
        Kind::Postfix,
        "postfix",
        &[
            (
                "postfix/main.cf",
                "myhostname = mx.old.test\nmydestination = old.test\nlocal_recipient_maps = $alias_maps\n\
                 virtual_mailbox_domains = m.test, n.test\nvirtual_mailbox_maps = hash:/etc/postfix/boxes\n\
                 relay_domains = r.test\nvirtual_alias_maps = texthash:/etc/postfix/virtual\n",
            ),
            (
                "postfix/virtual",
                "a@m.test a@box.example\n@n.test n@box.example\na@r.test a@box.example\n",
            ),
            ("aliases", "root: r@box.example\n"),
        ],
    );
    postfix.check(
        &[
            &format!("@m.test {HELD}"),
            "@n.test n@box.example",
            &format!("@r.test {HELD}"),
            "a@m.test a@box.example",
            "a@r.test a@box.example",
            "root@old.test r@box.example",
        ],
        &["m.test: has mailboxes", "r.test: has virtual aliases, too"],
    );
}

#[test]
fn a_second_import_keeps_configuration_and_secrets() {
    let case = Case::new(
        Kind::Postsrsd,
        "postsrsd",
        &[
            ("postsrsd", "SRS_DOMAIN=a.test\n"),
            ("new/onward.toml", "# edited\n"),
            ("new/srs.secrets", "one\n"),
            ("new/forwards.new", "another's\n"),
        ],
    );
    let folder = case.folder.path().join("new");
    let forwards = |text: &str| (FORWARDS, 0o644, text.as_bytes().to_vec());
    let mut files = case.imported().0.files("").unwrap();
    assert_eq!(files.len(), 2);
    files.push(forwards("a@a.test a@box.example\n"));
    assert!(write(&folder, false, files.clone()).is_err());
    assert!(!folder.join(FORWARDS).exists());
    let [written, kept] = write(&folder, true, files).unwrap();
    assert_eq!(written, [folder.join(FORWARDS)]);
    assert_eq!(kept, [folder.join(SECRETS), folder.join(CONFIG)]);
    let planted = folder.join(".forwards.new");
    std::os::unix::fs::symlink(folder.join(CONFIG), planted).unwrap();
    write(&folder, true, vec![forwards("b@a.test b@box.example\n")]).unwrap();
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read(FORWARDS), "b@a.test b@box.example\n");
    assert_eq!(read("forwards.new"), "another's\n");
    assert_eq!(read(CONFIG) + &read(SECRETS), "# edited\none\n");
}

#[test]
fn virtualmin_with_its_aliases() {
    let virtualmin = Case::new(
        Kind::Virtualmin,
        "postfix/virtual",
        &[
            (
                "postfix/virtual",
                "a.test\ta.test\n# Sales\nsales@a.test\tsales-a.test\nbob@a.test\tbob-a.test\nno@a.test\tBOUNCE\n\
                 b.test\tb.test\n@b.test\t@a.test\nbob@c.test\tx@box.example\n",
            ),
            (
                "aliases",
                "sales-a.test: s@box.example, |/etc/webmin/autoreply.pl\n",
            ),
        ],
    );
    virtualmin.check(
        &[
            "@b.test @a.test",
            &format!("bob@a.test {HELD}"),
            "no@a.test :reject: 550",
            "sales@a.test s@box.example",
        ],
        &[
            "bob-a.test: is a mailbox",
            "bob@c.test\tx@box.example: is no address of a domain of this server",
            "|/etc/webmin/autoreply.pl: is a program",
        ],
    );
}

#[test]
fn forward_email_records() {
    let zone = Case::new(
        Kind::Forwardemail,
        "a.test.zone",
        &[(
            "a.test.zone",
            "$TTL 3600\n@ IN SOA ns x ( 1\n 2 ) ; serial\n@ 60 IN TXT \"forward-email=alice:a@box.example,\" \"b@box.example\"\n\
             \tIN TXT \"forward-email=alice:c@box.example,!junk,!!later,!!!never\"\n\
             sub IN TXT ( \"forward-email=/^x-.*$/:x@box.example,/^(y|z)$/:$1@box.example\" ) ; comment\n\
             b.test. IN TXT \"forward-email=mx.box.example,hook:https://x.example/y\"\n\
             @ IN TXT \"forward-email-site-verification=abc\"\n@ IN TXT \"v=spf1 -all\"\n",
        )],
    );
    zone.check(
        &[
            "@a.test b@box.example",
            "@b.test @mx.box.example",
            "alice@a.test a@box.example, c@box.example",
            "junk@a.test :discard:",
            "later@a.test :reject: 450",
            "never@a.test :reject: 550",
            "x-*@sub.a.test x@box.example",
        ],
        &[
            "hook:https://x.example/y: goes to a web address",
            "/^(y|z)$/:$1@box.example: no line says the same",
            "forward-email-site-verification",
        ],
    );
    let list = Case::new(
        Kind::Forwardemail,
        "list",
        &[(
            "list",
            "a.test forward-email=a:b@box.example\nb.test forward-email=c@box.example\n",
        )],
    );
    list.check(&["@b.test c@box.example", "a@a.test b@box.example"], &[]);
}

#[test]
fn postsrsd_of_both_kinds() {
    let two = Case::new(
        Kind::Postsrsd,
        "postsrsd.conf",
        &[
            (
                "postsrsd.conf",
                "domains = { \"a.test\", \"b.test\" }\nsecrets-file = \"/etc/s\"\noriginal-envelope = database\n",
            ),
            ("s", "secret\n"),
        ],
    );
    let options = two.check(&[], &["original-envelope = database: not carried over"]);
    assert_eq!(options["srs"]["domain"].as_str(), Some("a.test"));
    let gone = Case::new(
        Kind::Postsrsd,
        "postsrsd",
        &[("postsrsd", "SRS_DOMAIN=a.test\n")],
    );
    gone.check(&[], &["the secrets: "]);
}

#[test]
fn hostile_files_are_left() {
    let long = format!("long: {}\n", "x@box.example,".repeat(200_000));
    let many: String = (0..90_000).map(|n| format!("@{n}.x,")).collect();
    let many = format!("many: {many}\n");
    let deep: String = (0..50).map(|n| format!("d{n}: d{}\n", n + 1)).collect();
    let case = Case::new(
        Kind::Exim,
        "v",
        &[
            (
                "v/a.test",
                &(long + &many + "bad: a b@\nodd\u{7}: x@box.example\n:\n: : :\n\u{feff}\n"),
            ),
            ("v/b.test", "a\0b"),
            ("v/c.test", &deep),
            ("v/d.test", "  x@y\n\"\n*\n*:\n*: ,,\n@: @\n"),
        ],
    );
    fs::write(
        case.folder.path().join("v/e.test"),
        b"\xff: x@y\nok: ok@box.example\n",
    )
    .unwrap();
    let _no_file = std::os::unix::net::UnixListener::bind(case.folder.path().join("v/f.test"));
    let (imported, lines) = case.imported();
    assert!(
        lines.iter().any(|line| line == "ok@e.test ok@box.example"),
        "{lines:?}"
    );
    for wanted in [
        "over 1048576 octets",
        "it is no text",
        "is not UTF-8",
        "too many targets",
    ] {
        let told = imported.left.iter().any(|left| left.why.contains(wanted));
        assert!(told, "{wanted}: {:?}", imported.left);
    }
}
