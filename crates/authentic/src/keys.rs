//! Keys that sign: read from PEM, made new, and the DNS record that makes one known.

use std::fmt::Write as _;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use data_encoding::BASE64;
use envelope::Domain;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

/// A key, and where its public half is found.
#[derive(Debug)]
pub struct Key {
    /// Who signs: `d=`.
    pub domain: Domain,
    /// Which of the domain's keys: `s=`.
    pub selector: Domain,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// What a new key is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Understood everywhere.
    Rsa2048,
    /// The same, and slower.
    Rsa4096,
    /// RFC 8463: short and quick, and many verifiers still pass it over.
    Ed25519,
}

/// Why a file is no key that signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key in PEM.
    #[error("no private key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    NotPem,
    /// A shorter key is not made to sign (RFC 8301 §3.2).
    #[error("an RSA key of fewer than 2048 bits")]
    TooShort,
    /// A key of another kind, or a damaged one.
    #[error("neither an RSA key of 2048 to 8192 bits nor an Ed25519 key")]
    Unusable,
}

impl Key {
    /// Reads a key from PEM: PKCS#8, or PKCS#1 for RSA, as OpenSSL and opendkim-genkey write them.
    pub fn from_pem(domain: Domain, selector: Domain, pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        let rsa = match &der {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            der => RsaKeyPair::from_pkcs8(der.secret_der()),
        };
        let pair = match rsa {
            Ok(pair) => Pair::Rsa(pair),
            Err(error) if error.description_() == "TooSmall" => return Err(KeyError::TooShort),
            Err(_) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_der());
                Pair::Ed25519(pair.map_err(|_| KeyError::Unusable)?)
            }
        };
        Ok(Self {
            domain,
            selector,
            pair,
        })
    }

    /// A new key, and its PEM. `None` if the system has no randomness to give.
    pub fn generate(domain: Domain, selector: Domain, kind: Kind) -> Option<(Self, String)> {
        let pair = match kind {
            Kind::Rsa2048 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).ok()?),
            Kind::Rsa4096 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa4096).ok()?),
            Kind::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().ok()?),
        };
        let der: Pkcs8V1Der<'_> = match &pair {
            Pair::Rsa(pair) => pair.as_der().ok()?,
            Pair::Ed25519(pair) => pair.as_der().ok()?,
        };
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        for line in chunks(&BASE64.encode(der.as_ref()), PEM_LINE_OCTETS) {
            pem.push_str(line);
            pem.push('\n');
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        let key = Self {
            domain,
            selector,
            pair,
        };
        Some((key, pem))
    }

    /// `a=`.
    pub fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "rsa-sha256",
            Pair::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// Whether verifiers of ARC know its algorithm: they had one to choose from (RFC 8617 §4.1.2), and a seal that the next
    /// relay cannot read breaks the chain.
    pub fn can_seal(&self) -> bool {
        matches!(self.pair, Pair::Rsa(_))
    }

    /// Where the record belongs: `selector._domainkey.domain`.
    pub fn record_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// The TXT record (RFC 6376 §3.6.1). `None` only if the key cannot be written.
    pub fn record(&self) -> Option<String> {
        Some(match &self.pair {
            Pair::Rsa(pair) => {
                let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
                format!("v=DKIM1; k=rsa; p={}", BASE64.encode(public.as_ref()))
            }
            Pair::Ed25519(pair) => {
                let public = BASE64.encode(pair.public_key().as_ref());
                format!("v=DKIM1; k=ed25519; p={public}")
            }
        })
    }

    /// The record as a line of a zone file: strings of at most 255 octets (RFC 1035 §3.3).
    pub fn zone_line(&self) -> Option<String> {
        let mut line = format!("{}. IN TXT (", self.record_name());
        for string in chunks(&self.record()?, TXT_STRING_OCTETS) {
            // Writing to a String does not fail.
            let _ = write!(line, " \"{string}\"");
        }
        Some(line + " )")
    }

    /// The signature of these octets, in base64. `None` if the library cannot make it.
    pub(crate) fn sign(&self, data: &[u8]) -> Option<String> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, data, &mut signature);
                signed.ok().map(|()| BASE64.encode(&signature))
            }
            // It signs the hash (RFC 8463 §3).
            Pair::Ed25519(pair) => {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
                let signature = pair.try_sign(hash.as_ref()).ok()?;
                Some(BASE64.encode(signature.as_ref()))
            }
        }
    }
}

/// ASCII in pieces of at most `octets`.
pub(crate) fn chunks(text: &str, octets: usize) -> impl Iterator<Item = &str> {
    let starts = (0..text.len()).step_by(octets);
    starts.map(move |start| &text[start..text.len().min(start + octets)])
}

/// RFC 7468 §2.
const PEM_LINE_OCTETS: usize = 64;
const TXT_STRING_OCTETS: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (Domain, Domain) {
        ("example.org".parse().unwrap(), "s1".parse().unwrap())
    }

    fn read(pem: &str) -> Result<Key, KeyError> {
        let (domain, selector) = names();
        Key::from_pem(domain, selector, pem.as_bytes())
    }

    #[test]
    fn what_is_made_is_read() {
        for kind in [Kind::Rsa2048, Kind::Ed25519] {
            let (domain, selector) = names();
            let (key, pem) = Key::generate(domain, selector, kind).unwrap();
            let again = read(&pem).unwrap();
            assert_eq!(again.record(), key.record());
            assert_eq!(again.sign(b"x"), key.sign(b"x"));
            let line = key.zone_line().unwrap();
            assert!(line.starts_with("s1._domainkey.example.org. IN TXT ( \"v=DKIM1; k="));
            assert!(
                line.split('"')
                    .all(|string| string.len() <= TXT_STRING_OCTETS)
            );
            assert_eq!(
                line.replace("\" \"", "").split('"').nth(1),
                key.record().as_deref()
            );
        }
    }

    /// RFC 8463 §A.2.
    #[test]
    fn the_key_of_the_rfc() {
        let der = [
            &b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..],
            &BASE64
                .decode(b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
                .unwrap(),
        ]
        .concat();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64.encode(&der)
        );
        let record = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        assert_eq!(read(&pem).unwrap().record().as_deref(), Some(record));
    }

    #[test]
    fn what_is_no_key() {
        assert_eq!(read("").unwrap_err(), KeyError::NotPem);
        let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(read(pem).unwrap_err(), KeyError::Unusable);
    }
}
