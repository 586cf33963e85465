//! Certificates: names, time, chain; and what TLSA records say of them.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use testkit::tls::Identity;

use super::*;

/// Valid in 2026: signed by a root alone, or by an issuer that is sent along or not.
fn issued(with_chain: bool) -> Certificate {
    let mut params = CertificateParams::new(vec!["Issuer".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Issuer");
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(vec!["mx.fwd.test".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "mx.fwd.test");
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    let key = KeyPair::generate().unwrap();
    let own = params.signed_by(&key, &issuer).unwrap();
    let chain = if with_chain { ca.pem() } else { String::new() };
    smtp_in::tls::load(
        (own.pem() + &chain).as_bytes(),
        key.serialize_pem().as_bytes(),
    )
    .unwrap()
}

#[track_caller]
fn judged(certificate: Certificate, date: (i32, u8, u8), expected: &[&str]) {
    let now = date_time_ymd(date.0, date.1, date.2).unix_timestamp();
    let now = Timestamp::from_unix_millis(u64::try_from(now).unwrap() * 1000);
    let names = ["mx.fwd.test".parse().unwrap()].into();
    let found = certificate::check(&[certificate], &names, now);
    let found: Vec<_> = found
        .iter()
        .map(|finding| format!("{} {}", finding.status.name(), finding.text))
        .collect();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (line, begin) in found.iter().zip(expected) {
        assert!(line.starts_with(begin), "{line}\nis not {begin}");
    }
}

#[test]
fn time_chain_and_names() {
    let named = "good is for all our names";
    judged(
        issued(true),
        (2026, 6, 1),
        &["good is valid for 214 days more, with its chain", named],
    );
    judged(
        issued(false),
        (2026, 6, 1),
        &[
            "bad comes without its issuer's certificate (CN=Issuer",
            named,
        ],
    );
    judged(
        issued(true),
        (2026, 12, 15),
        &["risky expires in 17 days", named],
    );
    judged(
        issued(true),
        (2026, 12, 28),
        &["bad expires in 4 days", named],
    );
    judged(
        issued(true),
        (2027, 1, 3),
        &["bad has expired 2 days ago", named],
    );
    judged(
        issued(true),
        (2025, 12, 30),
        &["bad is not valid yet", named],
    );
    let Identity {
        certificate_pem,
        key_pem,
        ..
    } = Identity::new("other.test");
    let other = smtp_in::tls::load(certificate_pem.as_bytes(), key_pem.as_bytes()).unwrap();
    judged(
        other,
        (2026, 6, 1),
        &[
            "risky is signed by itself",
            "risky mail comes to us by mx.fwd.test, which no certificate is for",
        ],
    );
}

#[tokio::test]
async fn tlsa_records() {
    let certificate = issued(true);
    let hash = |der: &[u8]| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        data_encoding::HEXLOWER.encode(digest.as_ref())
    };
    let key = hash(&certificate::public_key(&certificate.cert[0]).unwrap());
    let (own, issuer) = (hash(&certificate.cert[0]), hash(&certificate.cert[1]));
    let name = "_25._tcp.mx.fwd.test";
    let publish = format!("► {name}. IN TLSA 3 1 1 {key}");
    for (records, expected) in [
        (vec![format!("TLSA 3 1 1 {key}")], None),
        (vec![format!("TLSA 3 0 1 {own}")], None),
        (
            vec![format!("TLSA 2 0 1 {issuer}"), format!("TLSA 3 1 1 {own}")],
            None,
        ),
        // PKIX, which mail does not use.
        (vec![format!("TLSA 1 1 1 {own}")], None),
        (vec![format!("TLSA 3 1 1 {own}")], Some(("bad", &*publish))),
        (vec![format!("TLSA 2 0 1 {own}")], Some(("bad", &publish))),
        (vec!["SERVFAIL".to_owned()], Some(("unknown", "► -"))),
    ] {
        let records: Vec<_> = records
            .iter()
            .map(|record| format!("{name} {record}\n"))
            .collect();
        let dns = Dns::start(&(WELL.to_owned() + &records.concat())).await;
        let mut facts = facts("");
        facts.certificates = vec![Arc::clone(&certificate)];
        let found = lines(&findings(&dns, &facts).await);
        match expected {
            None => assert!(found.is_empty(), "{records:?}: {found:?}"),
            Some((status, end)) => assert!(
                found[0].starts_with(&format!("{status} tlsa {name}: ")) && found[0].ends_with(end),
                "{records:?}: {found:?}"
            ),
        }
    }
}
