//! How the server looks whether a name is ours.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use x509_parser::parse_x509_certificate;

use crate::tls::connector_for;

/// Why it does not seem to be.
pub(super) async fn at(
    kind: &str,
    to: SocketAddr,
    domain: &str,
    token: &str,
    proof: &str,
) -> Result<(), String> {
    let look = async {
        let stream = TcpStream::connect(to).await;
        let stream = stream.map_err(|error| error.to_string())?;
        match kind {
            "http-01" => http(stream, domain, token, proof).await,
            _ => tls(stream, domain, proof).await,
        }
    };
    let looked = timeout(Duration::from_secs(5), look).await;
    looked.unwrap_or_else(|_| Err("no answer".to_owned()))
}

async fn http(mut stream: TcpStream, domain: &str, token: &str, proof: &str) -> Result<(), String> {
    let path = format!("/.well-known/acme-challenge/{token}");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {domain}\r\n\r\n");
    let mut said = String::new();
    let talk = async {
        stream.write_all(head.as_bytes()).await?;
        stream.read_to_string(&mut said).await
    };
    talk.await.map_err(|error| error.to_string())?;
    let is_it = said.starts_with("HTTP/1.1 200 ") && said.ends_with(&format!("\r\n\r\n{proof}"));
    is_it.then_some(()).ok_or(said)
}

async fn tls(stream: TcpStream, domain: &str, proof: &str) -> Result<(), String> {
    let name = ServerName::try_from(domain.to_owned()).map_err(|error| error.to_string())?;
    let stream = connector_for(b"acme-tls/1").connect(name, stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let shown = stream.get_ref().1.peer_certificates();
    let shown = shown
        .and_then(|chain| chain.first())
        .ok_or("no certificate")?;
    let (_, parsed) = parse_x509_certificate(shown).map_err(|error| error.to_string())?;
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.map(|names| format!("{:?}", names.value.general_names));
    if names != Some(format!("[DNSName({domain:?})]")) {
        return Err(format!("it is for {names:?}"));
    }
    let digest = digest(&SHA256, proof.as_bytes());
    let wanted = [&[4, 32], digest.as_ref()].concat();
    let mut extensions = parsed.extensions().iter();
    let is_it = extensions.any(|one| {
        one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31" && one.critical && one.value == wanted
    });
    is_it
        .then_some(())
        .ok_or_else(|| "another proof".to_owned())
}
