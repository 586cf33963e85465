//! Our certificates, as a sender that verifies them sees them: names, time, chain.

use std::collections::BTreeSet;

use control::Health::{Bad, Good, Risky};
use control::{CertificateEnd, Finding, Issuing};
use envelope::{Domain, Timestamp};
use smtp_in::tls::{Certificate, is_for};
use x509_parser::parse_x509_certificate;
use x509_parser::prelude::X509Certificate;

use super::some_of;

pub(super) fn check(
    certificates: &[Certificate],
    names: &BTreeSet<Domain>,
    now: Timestamp,
) -> Vec<Finding> {
    if certificates.is_empty() {
        let text = "there is none: all mail comes in clear, and senders that want TLS do not send to us\n\nhint: add [tls] with certificate and key";
        return vec![Finding::new(Risky, "certificate", "", text)];
    }
    let mut findings: Vec<_> = certificates
        .iter()
        .map(|certificate| one(certificate, now))
        .collect();
    let unnamed = |name: &&Domain| {
        !certificates
            .iter()
            .any(|certificate| is_for(certificate, name.as_str()))
    };
    let missing: Vec<_> = names.iter().filter(unnamed).collect();
    let of = some_of(&names.iter().collect::<Vec<_>>());
    findings.push(match &missing[..] {
        [] => Finding::new(Good, "certificate", of, "is for all our names"),
        _ => {
            let text = format!("mail comes to us by {}, which no certificate is for: senders that verify (MTA-STS) do not send to us", some_of(&missing));
            Finding::new(Risky, "certificate", of, text)
        }
    });
    findings
}

/// Whose it is, and when it expires.
pub(super) fn end(certificate: &Certificate) -> Option<CertificateEnd> {
    let own = parsed(certificate.cert.first()?)?;
    let secs = u64::try_from(own.validity().not_after.timestamp()).unwrap_or_default();
    Some(CertificateEnd {
        name: named(&own),
        expires: Timestamp::from_unix_millis(secs.saturating_mul(1000)),
    })
}

/// What comes of asking an ACME server.
pub(super) fn issuing(now: &Issuing) -> Finding {
    let next = now.next;
    let (health, text) = match (&now.error, now.expires) {
        (None, _) => (Good, format!("the next certificate is asked for at {next}")),
        (Some(error), Some(expires)) => (
            Risky,
            format!(
                "no new certificate: {error}\n\nhint: the old one holds until {expires}; the server is asked again at {next}, or by a restart"
            ),
        ),
        (Some(error), None) => (
            Bad,
            format!(
                "no certificate: {error}\n\nhint: clients are shown one that is signed by itself; the server is asked again at {next}, or by a restart"
            ),
        ),
    };
    Finding::new(health, "acme", now.domains.join(", "), text)
}

/// Time and chain.
fn one(certificate: &Certificate, now: Timestamp) -> Finding {
    let parsed: Option<Vec<_>> = certificate.cert.iter().map(|der| parsed(der)).collect();
    let Some([own, issuers @ ..]) = parsed.as_deref() else {
        return Finding::new(Bad, "certificate", "", "cannot be read");
    };
    let of = named(own);
    let finding = |health, text: String| Finding::new(health, "certificate", &of, text);
    let (begin, end) = (
        own.validity().not_before.timestamp(),
        own.validity().not_after.timestamp(),
    );
    let now = i64::try_from(now.unix_secs()).unwrap_or(i64::MAX);
    let left = end.saturating_sub(now);
    let life = end.saturating_sub(begin);
    let days = left / DAY;
    let verify = "senders that verify (MTA-STS, DANE with an issuer) do not send to us";
    let mut issued = [own].into_iter().chain(issuers).zip(issuers);
    match () {
        () if now < begin => finding(
            Bad,
            format!("is not valid yet: {verify}\n\nhint: is the clock right? it says {now}"),
        ),
        () if left <= 0 => finding(
            Bad,
            format!(
                "has expired {} days ago: {verify}\n\nhint: renew it, and `onward reload`",
                -days
            ),
        ),
        () if left < (2 * WEEK).min(life / 6) => finding(
            Bad,
            format!("expires in {days} days, and nobody has renewed it"),
        ),
        () if left < (3 * WEEK).min(life / 4) => finding(Risky, format!("expires in {days} days")),
        () if own.issuer() == own.subject() => {
            finding(Risky, format!("is signed by itself: {verify}"))
        }
        () if issuers.is_empty()
            || !issued.all(|(one, issuer)| one.issuer() == issuer.subject()) =>
        {
            finding(
                Bad,
                format!(
                    "comes without its issuer's certificate ({}): {verify}\n\nhint: put the whole chain into the file (`fullchain.pem`)",
                    own.issuer()
                ),
            )
        }
        () => finding(
            Good,
            format!("is valid for {days} days more, with its chain"),
        ),
    }
}

/// Its subject; where that is empty, as ACME servers leave it by now, its first name.
fn named(own: &X509Certificate<'_>) -> String {
    let others = own.subject_alternative_name().ok().flatten();
    let first = others.and_then(|others| others.value.general_names.first());
    match (own.subject().to_string(), first) {
        (subject, Some(first)) if subject.is_empty() => first.to_string(),
        (subject, _) => subject,
    }
}

/// The public key as TLSA records hash it; none if this is no certificate.
pub(super) fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    parsed(der).map(|certificate| certificate.public_key().raw.to_vec())
}

fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    parse_x509_certificate(der)
        .ok()
        .map(|(_, certificate)| certificate)
}

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
