//! Where we show the server that a name is ours: HTTP-01 (RFC 8555 §8.3) and TLS-ALPN-01 (RFC 8737). It listens during an order only,
//! and answers nothing but what the order needs.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{AuthorizationHandle, ChallengeHandle, ChallengeType};
use parking_lot::Mutex;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::Settings;

/// Listens until it is dropped.
pub(crate) struct Proofs {
    is_http: bool,
    shown: Arc<Shown>,
    /// Dropped, they stop.
    _listening: JoinSet<()>,
}

/// What is shown.
#[derive(Debug, Default)]
struct Shown {
    /// By token.
    texts: Mutex<HashMap<String, String>>,
    /// By name.
    certificates: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Proofs {
    /// Listens where the settings say; by HTTP if they name both.
    pub(crate) async fn listen(settings: &Settings) -> Result<Self, String> {
        let shown = Arc::new(Shown::default());
        let mut listening = JoinSet::new();
        let answers = Arc::clone(&shown);
        if let Some(address) = settings.http {
            let listener = bind(address).await?;
            listening.spawn(each(listener, move |stream| {
                show_text(stream, Arc::clone(&answers))
            }));
        } else if let Some(address) = settings.tls_alpn {
            let listener = bind(address).await?;
            let acceptor = acceptor(answers).map_err(|error| error.to_string())?;
            listening.spawn(each(listener, move |stream| {
                let accept = acceptor.accept(stream);
                async move { accept.await?.shutdown().await }
            }));
        }
        Ok(Self {
            is_http: settings.http.is_some(),
            shown,
            _listening: listening,
        })
    }

    /// Shows what proves this name; the server has to be told that it can look.
    pub(crate) fn show<'a>(
        &self,
        authorization: &'a mut AuthorizationHandle<'a>,
    ) -> Result<ChallengeHandle<'a>, String> {
        let name = authorization.identifier().to_string();
        let (kind, called) = match self.is_http {
            true => (ChallengeType::Http01, "http-01"),
            false => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        };
        let challenge = authorization.challenge(kind);
        let challenge =
            challenge.ok_or_else(|| format!("the server does not offer {called} for {name}"))?;
        let proof = challenge.key_authorization();
        if self.is_http {
            let mut texts = self.shown.texts.lock();
            texts.insert(challenge.token.clone(), proof.as_str().to_owned());
        } else {
            let certificate = certificate(&name, proof.digest().as_ref())?;
            self.shown.certificates.lock().insert(name, certificate);
        }
        Ok(challenge)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client.server_name()?.to_ascii_lowercase();
        self.certificates.lock().get(&name).cloned()
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| format!("cannot listen on {address} for the server's look: {error}"))
}

/// Serves each connection, some at once, none for long.
async fn each<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while running.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = timeout(SERVED_WITHIN, serve(stream));
                running.spawn(async move {
                    let done = serving.await;
                    tracing::debug!(?done, "somebody looked for a proof");
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept");
                sleep(BREATH).await;
            }
        }
    }
}

/// One question, one answer.
async fn show_text(mut stream: TcpStream, shown: Arc<Shown>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_MAX {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&head);
    let path = line.split(' ').nth(1).unwrap_or_default();
    let token = path.strip_prefix("/.well-known/acme-challenge/");
    let text = token.and_then(|token| shown.texts.lock().get(token).cloned());
    let status = match text {
        Some(_) => "200 OK",
        None => "404 Not Found",
    };
    let text = text.unwrap_or_default();
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Speaks with nobody who does not ask for a proof.
fn acceptor(shown: Arc<Shown>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    Ok(Arc::new(config).into())
}

/// The certificate that proves a name (RFC 8737 §3), with a key of its own.
fn certificate(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let made = || {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?, key))
    };
    let (certificate, key) = made().map_err(|error: rcgen::Error| error.to_string())?;
    let key = PrivateKeyDer::from(key);
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(vec![certificate.into()], key).into())
}

/// A server looks from a few places, and never for long.
const AT_ONCE: usize = 32;
const SERVED_WITHIN: Duration = Duration::from_secs(10);
const HEAD_MAX: usize = 4096;
const BREATH: Duration = Duration::from_millis(100);
