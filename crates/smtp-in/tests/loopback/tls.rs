//! STARTTLS and implicit TLS.

use std::io;
use std::sync::Arc;

use envelope::Tls;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use smtp_in::tls::{Certificate, Holder, load};
use smtp_in::{Ending, Incident, Limits, Settings, TlsMode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Peer, Seen, World, settings, within};

/// A self-signed certificate, and clients that trust nothing else.
pub(crate) struct Identity {
    name: &'static str,
    certificate: String,
    key: String,
}

impl Identity {
    pub(crate) fn new() -> Self {
        Self::named("mx.example.org")
    }

    fn named(name: &'static str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self {
            name,
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    fn rsa() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let names = ["mx.example.org".to_owned()];
        let made = rcgen::CertificateParams::new(names).unwrap();
        Self {
            name: "mx.example.org",
            certificate: made.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn certificate(&self) -> Certificate {
        load(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    pub(crate) fn holder(&self) -> Holder {
        Holder::new(vec![self.certificate()])
    }

    pub(crate) async fn handshake<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake_with(stream, rustls::ALL_VERSIONS).await
    }

    pub(crate) async fn handshake_with<S>(
        &self,
        stream: S,
        versions: &[&'static SupportedProtocolVersion],
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.client(aws_lc_rs::default_provider(), versions);
        self.connect(&Arc::new(config), stream).await
    }

    fn client(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let certificate =
            rustls::pki_types::CertificateDer::from_pem_slice(self.certificate.as_bytes());
        roots.add(certificate.unwrap()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    async fn connect<S>(&self, config: &Arc<ClientConfig>, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(self.name).unwrap();
        within(TlsConnector::from(Arc::clone(config)).connect(name, stream)).await
    }
}

fn starttls(identity: &Identity) -> Settings {
    Settings {
        tls: TlsMode::StartTls(identity.holder()),
        ..settings()
    }
}

async fn client_tls(world: &mut World) -> Option<Tls<'static>> {
    loop {
        if let Seen::Draft(client, _) = world.seen().await {
            return client.tls;
        }
    }
}

/// STARTTLS up to the handshake.
async fn upgraded(world: &World, identity: &Identity) -> Peer {
    let mut peer = world.connect().await;
    let extensions = peer.hello().await;
    assert!(extensions.contains("STARTTLS"), "{extensions}");
    peer.ask("STARTTLS", "220 ").await;
    Peer::new(identity.handshake(peer.into_stream()).await.unwrap())
}

#[tokio::test]
async fn starttls_begins_a_new_session() {
    let identity = Identity::new();
    let mut world = World::start(starttls(&identity), Limits::default());
    let mut peer = upgraded(&world, &identity).await;
    peer.ask("MAIL FROM:<bob@client.example>", "503 ").await;
    let extensions = peer.ask("EHLO client.example", "250 ").await;
    assert!(!extensions.contains("STARTTLS"), "{extensions}");
    peer.begin("bob@client.example").await;
    peer.send("x\r\n.\r\n").await;
    peer.expect("250 2.0.0 queued").await;
    let facts = client_tls(&mut world).await.unwrap();
    assert_eq!(facts.version, "TLSv1.3");
    assert!(facts.cipher.starts_with("TLS_AES_"), "{facts:?}");
    peer.ask("QUIT", "221 ").await;
    peer.expect_end().await;
}

#[tokio::test]
async fn commands_behind_starttls_are_never_obeyed() {
    let identity = Identity::new();
    let mut world = World::start(starttls(&identity), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    let injected = "STARTTLS\r\nEHLO attacker.example\r\nMAIL FROM:<attacker@client.example>\r\n";
    peer.send(injected).await;
    // The session takes them for the attack that they are, and does not even begin TLS.
    peer.expect("554 5.5.0 ").await;
    peer.expect_end().await;
    drop(peer);
    let mut names = Vec::new();
    loop {
        match world.seen().await {
            Seen::Hello(name) => names.push(name),
            Seen::Incident(_, Incident::Closed(ending)) => {
                assert_eq!(ending, Ending::Session);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(names, ["client.example"]);
}

#[tokio::test]
async fn implicit_tls_of_either_version() {
    let identity = Identity::new();
    let settings = Settings {
        tls: TlsMode::Implicit(identity.holder()),
        ..settings()
    };
    let mut world = World::start(settings, Limits::default());
    for (version, name, cipher) in [
        (&rustls::version::TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA_WITH_"),
        (&rustls::version::TLS13, "TLSv1.3", "TLS_AES_"),
    ] {
        let stream = world.connect().await.into_stream();
        let stream = identity.handshake_with(stream, &[version]).await.unwrap();
        let mut peer = Peer::new(stream);
        let extensions = peer.hello().await;
        assert!(!extensions.contains("STARTTLS"), "{extensions}");
        peer.begin("bob@client.example").await;
        peer.send("x\r\n.\r\n").await;
        peer.expect("250 2.0.0 queued").await;
        let facts = client_tls(&mut world).await.unwrap();
        assert_eq!(facts.version, name);
        assert!(facts.cipher.starts_with(cipher), "{facts:?}");
    }
}

#[tokio::test]
async fn a_new_certificate_counts_from_the_next_handshake() {
    let (old, new) = (Identity::new(), Identity::new());
    let holder = old.holder();
    let settings = Settings {
        tls: TlsMode::StartTls(holder.clone()),
        ..settings()
    };
    let world = World::start(settings, Limits::default());
    let mut before = upgraded(&world, &old).await;
    holder.replace(vec![new.certificate()]);
    let mut after = upgraded(&world, &new).await;
    after.ask("EHLO client.example", "250 ").await;
    before.ask("EHLO client.example", "250 ").await;
}

/// Side by side, ECDSA is for whoever can, RSA for the rest; a name of its own comes before that.
#[tokio::test]
async fn the_certificate_that_the_client_can_use() {
    let (rsa, ecdsa) = (Identity::rsa(), Identity::new());
    let other = Identity::named("mx.example.net");
    let all = [&other, &rsa, &ecdsa].map(Identity::certificate);
    let settings = Settings {
        tls: TlsMode::Implicit(Holder::new(all.into())),
        ..settings()
    };
    let world = World::start(settings, Limits::default());
    let only_rsa = || {
        let mut provider = aws_lc_rs::default_provider();
        let mapping = provider.signature_verification_algorithms.mapping;
        let of_rsa = |scheme: &SignatureScheme| format!("{scheme:?}").starts_with("RSA");
        let left = mapping.iter().filter(|(scheme, _)| of_rsa(scheme));
        let left: Vec<_> = left.copied().collect();
        provider.signature_verification_algorithms.mapping = Vec::leak(left);
        provider
    };
    // Each trusts only the certificate that it should meet.
    for (identity, provider) in [
        (&ecdsa, aws_lc_rs::default_provider()),
        (&rsa, only_rsa()),
        (&other, aws_lc_rs::default_provider()),
    ] {
        for version in rustls::ALL_VERSIONS {
            let config = Arc::new(identity.client(provider.clone(), &[version]));
            let stream = world.connect().await.into_stream();
            let met = identity.connect(&config, stream).await.map(drop);
            assert!(met.is_ok(), "{} {version:?}: {met:?}", identity.name);
        }
    }
}

#[tokio::test]
async fn sessions_are_resumed_after_a_new_certificate() {
    let (old, new) = (Identity::new(), Identity::new());
    let holder = old.holder();
    let settings = Settings {
        tls: TlsMode::Implicit(holder.clone()),
        ..settings()
    };
    let world = World::start(settings, Limits::default());
    for version in rustls::ALL_VERSIONS {
        holder.replace(vec![old.certificate()]);
        let config = Arc::new(old.client(aws_lc_rs::default_provider(), &[version]));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let stream = world.connect().await.into_stream();
            let stream = old.connect(&config, stream).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind());
            // The tickets of TLS 1.3 come behind the handshake.
            Peer::new(stream).hello().await;
            holder.replace(vec![new.certificate()]);
        }
        let expected = [HandshakeKind::Full, HandshakeKind::Resumed].map(Some);
        assert_eq!(kinds, expected, "{version:?}");
    }
}

#[tokio::test]
async fn a_failed_handshake_ends_the_connection_only() {
    let identity = Identity::new();
    let mut world = World::start(starttls(&identity), Limits::default());
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.ask("STARTTLS", "220 ").await;
    peer.send("MAIL FROM:<bob@client.example>\r\n").await;
    let (_, ending) = world.closed().await;
    assert!(matches!(ending, Ending::Tls(_)), "{ending:?}");
    upgraded(&world, &identity).await;
}

#[tokio::test]
async fn a_slow_handshake_times_out() {
    let identity = Identity::new();
    let limits = Limits {
        tls_handshake: std::time::Duration::from_millis(50),
        ..Limits::default()
    };
    let mut world = World::start(starttls(&identity), limits);
    let mut peer = world.connect().await;
    peer.hello().await;
    peer.ask("STARTTLS", "220 ").await;
    assert_eq!(world.closed().await.1, Ending::Tls("timed out".to_owned()));
    peer.expect_end().await;
}

#[tokio::test]
async fn a_slow_handshake_makes_room() {
    let identity = Identity::new();
    let limits = Limits {
        connections_max: 8,
        ..Limits::default()
    };
    let mut world = World::start(starttls(&identity), limits);
    let mut peers = Vec::new();
    for _ in 0..8 {
        let mut peer = world.connect().await;
        peer.hello().await;
        peer.ask("STARTTLS", "220 ").await;
        peers.push(peer);
    }
    peers[0].expect_end().await;
    assert_eq!(world.closed().await.1, Ending::MadeRoom);
}
