//! Certificates and TLSA records that fit each other, and some that do not.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, ServerConfig, version};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// A host's certificate, its authority's, and the host's key.
struct Made {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

/// For this name, with this last day, and with an extension that nobody knows if the name says so.
fn made(name: &str, last_year: i32) -> Made {
    let root = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&root).unwrap();
    let issuer = Issuer::new(params, root);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(last_year, 1, 1);
    if name.starts_with("odd") {
        let mut unknown =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    }
    let host = params.signed_by(&key, &issuer).unwrap();
    Made {
        chain: vec![host.der().clone(), authority.der().clone()],
        key,
    }
}

fn d(name: &str) -> Domain {
    name.parse().unwrap()
}

/// `3 1 1 0`: of the first certificate; `!` in place of the number: of none.
fn record(text: &str, chain: &[CertificateDer<'_>]) -> Tlsa {
    let mut words = text.split(' ');
    let mut number = || words.next().unwrap().parse().unwrap();
    let (usage, selector, matching) = (number(), number(), number());
    let certificate = match words.next().unwrap() {
        "!" => {
            return Tlsa {
                usage,
                selector,
                matching,
                data: vec![7; [9, 32, 64][usize::from(matching)]],
            };
        }
        which => &chain[which.parse::<usize>().unwrap()],
    };
    let selected = match selector {
        0 => certificate.as_ref(),
        _ => PublicKey::of(certificate).unwrap().info,
    };
    let data = match matching {
        0 => selected.to_vec(),
        1 => digest(&SHA256, selected).as_ref().to_vec(),
        _ => digest(&SHA512, selected).as_ref().to_vec(),
    };
    Tlsa {
        usage,
        selector,
        matching,
        data,
    }
}

fn verifier(records: Vec<Tlsa>) -> Verifier {
    let names = vec![d("mx.to.test"), d("to.test")];
    let host = Dane::new(d("mx.to.test"), records, names);
    Verifier::new(Arc::new(host), Arc::new(default_provider()))
}

fn verdict(records: &str, made: &Made, sent: usize) -> String {
    let records = records.split("; ").filter(|text| !text.is_empty());
    let records = records.map(|text| record(text, &made.chain)).collect();
    let found = verifier(records).verify_server_cert(
        &made.chain[0],
        &made.chain[1..sent],
        &ServerName::try_from("other.test").unwrap(),
        &[],
        UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000)),
    );
    match found {
        Ok(_) => "ok".to_owned(),
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            "no record".to_owned()
        }
        Err(Error::InvalidCertificate(error)) => {
            let text = format!("{error:?}");
            text.split([' ', '{']).next().unwrap().to_owned()
        }
        Err(error) => error.to_string(),
    }
}

/// The decision table, as far as certificates go.
#[test]
fn which_certificates_are_taken() {
    let good = made("mx.to.test", 2050);
    for (records, expected) in [
        // Usage 3: the host's own.
        ("3 1 1 0", "ok"),
        ("3 0 1 0", "ok"),
        ("3 1 2 0", "ok"),
        ("3 0 2 0", "ok"),
        ("3 1 0 0", "ok"),
        ("3 0 0 0", "ok"),
        ("3 1 1 !", "no record"),
        ("3 1 1 1", "no record"),
        // One that fits is enough.
        ("3 1 1 !; 3 1 1 0", "ok"),
        ("2 1 1 !; 3 1 1 0", "ok"),
        ("3 1 1 !; 2 1 1 1", "ok"),
        // Usage 2: an authority in the chain.
        ("2 1 1 1", "ok"),
        ("2 0 1 1", "ok"),
        ("2 1 2 1", "ok"),
        ("2 0 2 1", "ok"),
        ("2 0 0 1", "ok"),
        ("2 1 0 1", "ok"),
        ("2 1 1 !", "no record"),
        ("2 1 1 0", "no record"),
        // SHA-512 counts, and SHA-256 beside it does not.
        ("3 1 2 !; 3 1 1 0", "no record"),
        ("3 1 2 0; 3 1 1 !", "ok"),
        ("3 0 2 !; 3 1 1 0", "ok"),
        // Nothing can be used: anything goes.
        ("", "ok"),
        ("0 1 1 0", "ok"),
        ("1 1 1 !", "ok"),
        ("3 2 1 !", "ok"),
        ("3 0 0 !", "ok"),
        ("1 1 1 0; 3 1 1 !", "no record"),
    ] {
        assert_eq!(verdict(records, &good, 2), expected, "{records}");
    }
    // The authority is not sent: then the record must have it whole.
    assert_eq!(verdict("2 0 1 1", &good, 1), "no record");
    assert_eq!(verdict("2 0 0 1", &good, 1), "ok");
}

/// Names and dates count for usage 2 alone; and nothing else in the certificate counts for usage 3.
#[test]
fn names_and_dates() {
    for (name, last_year, own, authority) in [
        ("mx.to.test", 2050, "ok", "ok"),
        ("to.test", 2050, "ok", "ok"),
        ("*.to.test", 2050, "ok", "ok"),
        ("evil.test", 2050, "ok", "NotValidForNameContext"),
        ("mx.to.test", 2020, "ok", "ExpiredContext"),
        (
            "odd.test",
            2020,
            "ok",
            "Other(OtherError(UnsupportedCriticalExtension))",
        ),
    ] {
        let made = made(name, last_year);
        assert_eq!(verdict("3 1 1 0", &made, 2), own, "{name}");
        assert_eq!(verdict("2 1 1 1", &made, 2), authority, "{name}");
    }
}

#[test]
fn what_can_be_used() {
    for (usage, selector, matching, octets, expected) in [
        (3, 1, 1, 32, true),
        (2, 0, 2, 64, true),
        (3, 1, 0, 1, true),
        (0, 1, 1, 32, false),
        (1, 1, 1, 32, false),
        (4, 1, 1, 32, false),
        (3, 2, 1, 32, false),
        (3, 1, 3, 32, false),
        (3, 1, 1, 31, false),
        (3, 1, 2, 32, false),
        (3, 1, 0, 0, false),
        (2, 0, 0, 500, false),
    ] {
        let record = Tlsa {
            usage,
            selector,
            matching,
            data: vec![0x30; octets],
        };
        assert_eq!(is_usable(&record), expected, "{record:?}");
    }
}

#[test]
fn where_records_are_looked_for() {
    for (is_secure, is_name_secure, canonical, expected) in [
        (true, true, None, "mx.test"),
        (true, true, Some("real.test"), "real.test mx.test"),
        (false, true, Some("real.test"), "mx.test"),
        (false, false, Some("real.test"), ""),
        (false, false, None, ""),
    ] {
        let answer = Answer {
            records: vec![()],
            proof: dns::Proof {
                is_secure,
                is_name_secure,
                canonical: canonical.map(d),
            },
        };
        let found: Vec<_> = bases(&d("mx.test"), &answer)
            .iter()
            .map(Domain::to_string)
            .collect();
        assert_eq!(found.join(" "), expected);
    }
}

/// The key must be the certificate's, whichever TLS: a copy of the certificate alone is of no use.
#[tokio::test]
async fn handshakes() {
    let (own, odd, other) = (
        made("mx.test", 2050),
        made("odd.test", 2020),
        made("mx.test", 2050),
    );
    for versions in [[&version::TLS12], [&version::TLS13]] {
        for (certificate, key, expected) in [
            (&own, &own, true),
            (&odd, &odd, true),
            (&own, &other, false),
        ] {
            let records = vec![record("3 1 1 0", &certificate.chain)];
            let provider = Arc::new(default_provider());
            let key = PrivatePkcs8KeyDer::from(key.key.serialize_der()).into();
            let signing = provider.key_provider.load_private_key(key).unwrap();
            let certified = rustls::sign::CertifiedKey::new(certificate.chain.clone(), signing);
            let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&versions)
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
            let client = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier(records)))
                .with_no_client_auth();
            let (here, there) = tokio::io::duplex(1 << 16);
            let accepting = tokio::spawn(TlsAcceptor::from(Arc::new(server)).accept(there));
            let name = ServerName::try_from("mx.test").unwrap();
            let connected = TlsConnector::from(Arc::new(client))
                .connect(name, here)
                .await;
            assert_eq!(connected.is_ok(), expected, "{:?}", connected.err());
            drop(accepting);
        }
    }
}

/// X.509 v1 with an RSA key of 1024 bits, made by OpenSSL, which signed "message".
#[test]
fn an_old_certificate_with_a_short_key() {
    let certificate = base64(OLD);
    let key = PublicKey::of(&certificate).unwrap();
    let algorithms = default_provider().signature_verification_algorithms;
    let signed = |message: &[u8], scheme, is_tls13| {
        key.has_signed(&algorithms, message, scheme, &base64(SIGNATURE), is_tls13)
    };
    let pkcs1 = SignatureScheme::RSA_PKCS1_SHA256;
    assert_eq!(signed(b"message", pkcs1, false), Ok(true));
    assert_eq!(signed(b"massage", pkcs1, false), Ok(false));
    assert_eq!(
        signed(b"message", SignatureScheme::RSA_PKCS1_SHA512, false),
        Ok(false)
    );
    // RFC 8446 §4.2.3: certificates only.
    assert!(signed(b"message", pkcs1, true).is_err());
    let certificate = CertificateDer::from(certificate.as_slice());
    let records = vec![record("3 1 1 0", std::slice::from_ref(&certificate))];
    assert!(verifier(records).host.has(3, &certificate));
    // What is offered first is what can be checked with such a key.
    let offered = verifier(Vec::new()).supported_verify_schemes();
    assert!(is_pkcs1(offered[0]) && !is_pkcs1(offered[3]));
}

#[test]
fn what_is_no_certificate_has_no_key() {
    let whole = base64(OLD);
    for end in 0..whole.len() {
        assert!(PublicKey::of(&whole[..end]).is_none(), "{end}");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        let _ = PublicKey::of(&damaged);
    }
}

fn base64(text: &str) -> Vec<u8> {
    let value = |octet: u8| match octet {
        b'A'..=b'Z' => octet - b'A',
        b'a'..=b'z' => octet - b'a' + 26,
        b'0'..=b'9' => octet - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let text: Vec<u8> = text
        .bytes()
        .filter(|octet| *octet != b'=')
        .map(value)
        .collect();
    let join = |four: &[u8]| {
        let bits = four.iter().fold(0, |bits, six| bits << 6 | u32::from(*six));
        (bits << (6 * (4 - four.len()))).to_be_bytes()[1..four.len()].to_vec()
    };
    text.chunks(4).flat_map(join).collect()
}

const OLD: &str = "MIIBqDCCARECFG7WHjLhOPv2MJUYhXuwq1YIQnKvMA0GCSqGSIb3DQEBCwUAMBMxETAPBgNVBAMMCG9sZC50ZXN0MB4XDTI2MTEyOTA5Mjc0MloXDTI2MTEzMDA5Mjc0MlowEzERMA8GA1UEAwwIb2xkLnRlc3QwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBALiv5tJ1JIyvB7f0hM8dhoasmzLFCmw84OFAMdxpThJwO66b3wFTNZu+uSUROrtGI5qbMl4hGMynPPv7kiaujHW5MPsgUw6ZUyzVeNaA3/39P9gJ8TukBHdAn27M/i5iKCpgmDunjnwViSCNGcWiscWQg2sd/XzMh7EN2vNye8kfAgMBAAEwDQYJKoZIhvcNAQELBQADgYEAoimNESwSQ2vA6DCqSbxqYWvqZ083bhw1ZvYl6ljrkM317uZ66iKYcIgh0NB8t4W00S5DdxUACQdU+TsmYYE5kN4TfJ47Ly/IFREexVP0SoGVBOswlhPDrgrV9SRdncZL0tXgohL01ujWRNXSvuquB4fAcyIHxctvJNDUpkeXZU0=";
const SIGNATURE: &str = "nx+qtpZzuD7D22d76zlWzafn2d1U9bHDR4vXlKc5A8mZfv7LlpTH1v+kgUJjU5+R5CatJYexb9xK1xo2KXHwWkZBzeC84kgZUyAiNAREwFGV/J6YMDBjxkgMHDwl6vxfbKkWL5h8+IuI0/gQktFMWPwRJWxYwXTnk2pjPSP39Sc=";
