//! One order, from the account to the chain.

use std::time::Duration;

use envelope::Timestamp;
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, Error, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::Settings;
use crate::folder::Folder;
use crate::proofs::Proofs;
use crate::web::Web;

/// Why there is no certificate.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) text: String,
    /// What kind of problem the server calls it (RFC 8555 §6.7), without the prefix that all have.
    pub(crate) kind: Option<String>,
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self { text, kind: None }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Api(problem) => problem.r#type.as_deref(),
            _ => None,
        };
        let kind = kind.map(|kind| kind.trim_start_matches("urn:ietf:params:acme:error:"));
        Self {
            kind: kind.map(str::to_owned),
            text: error.to_string(),
        }
    }
}

/// Our account with the server, made if there is none.
pub(crate) async fn account(
    settings: &Settings,
    folder: &Folder,
    web: &Web,
) -> Result<Account, Fault> {
    let builder = Account::builder_with_http(Box::new(web.clone()));
    if let Some(credentials) = folder.account() {
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact = settings.contact.as_ref();
    let contact: Vec<_> = contact
        .map(|to| format!("mailto:{to}"))
        .into_iter()
        .collect();
    let contact: Vec<_> = contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        // The configuration does not pass without it.
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let made = builder.create(&new, settings.directory.clone(), None);
    let (account, credentials) = made.await?;
    folder.keep_account(&credentials)?;
    Ok(account)
}

/// The chain for the domains, in PEM.
pub(crate) async fn chain(
    settings: &Settings,
    account: &Account,
    key: &KeyPair,
    replaces: Option<CertificateIdentifier<'static>>,
) -> Result<String, Fault> {
    let names = settings.domains.iter().cloned();
    let names: Vec<_> = names.map(Identifier::Dns).collect();
    let mut new = NewOrder::new(&names);
    if let Some(replaced) = replaces {
        new = new.replaces(replaced);
    }
    let mut order = account.new_order(&new).await?;
    let proofs = Proofs::listen(settings).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        // One that is known to be ours already is not looked at again.
        if authorization.status == AuthorizationStatus::Pending {
            let name = authorization.identifier().to_string();
            let ready = proofs.show(&mut authorization)?.set_ready().await;
            ready.map_err(|error| unproved(&name, error))?;
        }
    }
    if order.poll_ready(&PATIENCE).await? != OrderStatus::Ready {
        return Err(refusal(&mut order).await);
    }
    drop(proofs);
    let request = || {
        let mut params = CertificateParams::new(&settings.domains[..])?;
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(key)
    };
    let request = request().map_err(|error| error.to_string())?;
    order.finalize_csr(request.der()).await?;
    Ok(order.poll_certificate(&PATIENCE).await?)
}

/// What the server says of the name that it could not prove to be ours.
async fn refusal(order: &mut Order) -> Fault {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let mut problems = state.challenges.iter();
        if let Some(problem) = problems.find_map(|challenge| challenge.error.clone()) {
            return unproved(&name, Error::Api(problem));
        }
    }
    "the server refuses the order, and does not say why"
        .to_owned()
        .into()
}

fn unproved(name: &str, error: Error) -> Fault {
    let fault = Fault::from(error);
    let text = format!("{name} is not proved to be ours: {}", fault.text);
    Fault { text, ..fault }
}

/// When the server would like the certificate to be renewed (RFC 9773), and when to ask again; nothing if it does not say.
pub(crate) async fn window(
    account: &Account,
    id: &CertificateIdentifier<'_>,
) -> Option<((Timestamp, Timestamp), Duration)> {
    let asked = account.renewal_info(id).await;
    let asked = asked.inspect_err(|error| tracing::debug!(%error, "no renewal information"));
    let (info, again) = asked.ok()?;
    let at = |date: time::OffsetDateTime| {
        let millis = u64::try_from(date.unix_timestamp_nanos() / 1_000_000);
        Timestamp::from_unix_millis(millis.unwrap_or_default())
    };
    let window = info.suggested_window;
    Some(((at(window.start), at(window.end)), again))
}

/// For the server to look, and to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_mins(3));
