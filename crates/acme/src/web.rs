//! The HTTPS client of the order: bounded in time and octets, and it remembers when the server wants to be left alone.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use filter::http::{causes, client};
use http::header::RETRY_AFTER;
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use parking_lot::Mutex;
use reqwest::{Certificate, Client, Response};
use rustls_pki_types::CertificateDer;

/// One for each attempt. Clones share what was said.
#[derive(Debug, Clone)]
pub(crate) struct Web {
    client: Client,
    told: Arc<Mutex<Option<Duration>>>,
}

impl Web {
    /// Believes servers that the system believes, or that show a certificate by one of `roots`.
    pub(crate) fn new(roots: &[CertificateDer<'static>]) -> Result<Self, String> {
        let roots = roots.iter().map(|root| Certificate::from_der(root));
        let roots = roots.collect::<Result<Vec<_>, _>>().map_err(causes)?;
        let client = client()
            .https_only(true)
            .connect_timeout(CONNECT_TIME)
            .timeout(ANSWER_TIME)
            .tls_certs_merge(roots);
        Ok(Self {
            client: client.build().map_err(causes)?,
            told: Arc::default(),
        })
    }

    /// For how long the server wants to hear nothing of us (RFC 8555 §6.6).
    pub(crate) fn told(&self) -> Option<Duration> {
        *self.told.lock()
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let is_signed = request.method() == Method::POST;
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await;
        let request = Request::from_parts(head, body.to_bytes());
        let trouble = |error| Error::Other(causes(error).into());
        let request = request.try_into().map_err(trouble)?;
        let response: Response = self.client.execute(request).await.map_err(trouble)?;
        let status = response.status();
        let is_fault = status.is_client_error() || status.is_server_error();
        if is_fault {
            *self.told.lock() = retry_after(&response);
        }
        let response = http::Response::from(response);
        let (head, body) = response
            .map(|body| Limited::new(body, OCTETS_MAX))
            .into_parts();
        let body = body.collect().await.map_err(Error::Other)?.to_bytes();
        match serde_json::from_slice::<Problem>(&body) {
            // A fault without a problem was put there by somebody who does not speak ACME.
            Err(_) if is_fault => Err(Error::Other(format!("the server answers {status}").into())),
            // Only answers to signed questions are looked at for problems elsewhere.
            Ok(problem) if is_fault && !is_signed => Err(problem.into()),
            _ => Ok(BytesResponse {
                parts: head,
                body: Box::new(body),
            }),
        }
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().ask(request))
    }
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(SystemTime::now()).ok()
}

const CONNECT_TIME: Duration = Duration::from_secs(10);
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// A chain has a few KiB.
const OCTETS_MAX: usize = 256 * 1024;
