//! Programs of other people as a user's mail program: they log in and send by 587 (STARTTLS) and by 465 (TLS from the start).

use std::net::SocketAddr;

use testkit::daemon::Relay;
use testkit::net::Net;
use testkit::program;
use testkit::sink::{Received, Sink};

use crate::relay;

/// A relay with a user, the address for STARTTLS and that for TLS from the start, and where its mail goes.
struct Provider {
    relay: Relay,
    sink: Sink,
    _net: Net,
}

impl Provider {
    async fn start() -> Self {
        let net = Net::new().await;
        let sink = net.sink("target.test", "").await;
        let setup = relay(&net, "").with_tls().set("auth.users", "\"users\"");
        // `openssl passwd -6 -salt abcdefgh secret`.
        let hash = "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.";
        setup.write("users", &format!("ann@example.test:{hash}\n"));
        let submission =
            |tls: &str| format!("bind = \"127.0.0.1:0\"\nrole = \"submission\"\ntls = \"{tls}\"");
        let setup = setup.listener(&submission("starttls"));
        let relay = setup.listener(&submission("implicit")).start().await;
        Self {
            relay,
            sink,
            _net: net,
        }
    }

    fn starttls(&self) -> SocketAddr {
        self.relay.addresses()[0]
    }

    fn implicit(&self) -> SocketAddr {
        self.relay.addresses()[1]
    }

    /// Two messages came through, as a user's mail goes out.
    async fn sent(&self, mechanism: &str) {
        for Received { data, .. } in self.sink.messages(2).await {
            let text = String::from_utf8_lossy(&data);
            assert!(
                text.contains("with ESMTPSA") && !text.contains("127.0.0.1"),
                "{text}"
            );
            for field in ["\r\nDate: ", "\r\nMessage-ID: "] {
                let all = format!("\r\n{text}").to_lowercase();
                assert_eq!(all.matches(&field.to_lowercase()).count(), 1, "{text}");
            }
        }
        let login = format!("login user=ann@example.test mechanism={mechanism}");
        self.relay.wait_for_count(2, &login).await;
        self.relay
            .wait_for_count(2, "received user=ann@example.test")
            .await;
    }
}

const MAIL: &[u8] = b"From: ann@example.test\r\nTo: bob@target.test\r\nSubject: x\r\n\r\nhello\r\n";

#[tokio::test]
#[ignore = "needs swaks: ./test.sh installs and runs"]
async fn swaks() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let provider = Provider::start().await;
        let ways = [
            (provider.starttls(), "--tls"),
            (provider.implicit(), "--tlsc"),
        ];
        for (address, tls) in ways {
            let server = address.to_string();
            let arguments = [
                "--server",
                &server,
                tls,
                "--auth",
                mechanism,
                "--auth-user",
                "ann@example.test",
                "--auth-password",
                "secret",
                "--from",
                "ann@example.test",
                "--to",
                "bob@target.test",
            ];
            program::run("swaks", &arguments, b"").await.success();
        }
        provider.sent(mechanism).await;
    }
}

#[tokio::test]
#[ignore = "needs msmtp: ./test.sh installs and runs"]
async fn msmtp() {
    let provider = Provider::start().await;
    for (address, starttls) in [(provider.starttls(), "on"), (provider.implicit(), "off")] {
        let port = format!("--port={}", address.port());
        let starttls = format!("--tls-starttls={starttls}");
        let arguments = [
            "--host=127.0.0.1",
            &port,
            "--tls=on",
            &starttls,
            "--tls-certcheck=off",
            "--auth=plain",
            "--user=ann@example.test",
            "--passwordeval=echo secret",
            "--from=ann@example.test",
            "bob@target.test",
        ];
        program::run("msmtp", &arguments, MAIL).await.success();
    }
    provider.sent("PLAIN").await;
}

#[tokio::test]
#[ignore = "needs curl: ./test.sh installs and runs"]
async fn curl() {
    let provider = Provider::start().await;
    let ways = [
        format!("smtp://{}/client.test", provider.starttls()),
        format!("smtps://{}/client.test", provider.implicit()),
    ];
    for url in ways {
        let arguments = [
            "-sS",
            "--ssl-reqd",
            "-k",
            "--url",
            &url,
            "--user",
            "ann@example.test:secret",
            "--mail-from",
            "ann@example.test",
            "--mail-rcpt",
            "bob@target.test",
            "-T",
            "-",
        ];
        program::run("curl", &arguments, MAIL).await.success();
    }
    provider.sent("PLAIN").await;
}

const SMTPLIB: &str = r#"
import smtplib, ssl, sys
context = ssl._create_unverified_context()
for kind, address in (("starttls", sys.argv[1]), ("implicit", sys.argv[2])):
    host, port = address.rsplit(":", 1)
    if kind == "starttls":
        smtp = smtplib.SMTP(host, int(port))
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        smtp.starttls(context=context)
    else:
        smtp = smtplib.SMTP_SSL(host, int(port), context=context)
    try:
        smtp.login("ann@example.test", "wrong")
        raise AssertionError("logged in")
    except smtplib.SMTPAuthenticationError as error:
        assert error.smtp_code == 535, error
    smtp.login("ann@example.test", "secret")
    try:
        smtp.sendmail("eve@bank.test", ["bob@target.test"], b"Subject: x\r\n\r\nhello\r\n")
        raise AssertionError("sent as somebody else")
    except smtplib.SMTPSenderRefused as error:
        assert error.smtp_code == 553, error
    smtp.sendmail("ann@example.test", ["bob@target.test"], b"Subject: x\r\n\r\nhello\r\n")
    smtp.quit()
"#;

#[tokio::test]
#[ignore = "needs python3: ./test.sh installs and runs"]
async fn smtplib() {
    let provider = Provider::start().await;
    let [starttls, implicit] = [provider.starttls(), provider.implicit()].map(|a| a.to_string());
    let arguments = ["-c", SMTPLIB, &starttls, &implicit];
    program::run("python3", &arguments, b"").await.success();
    provider.sent("PLAIN").await;
}
