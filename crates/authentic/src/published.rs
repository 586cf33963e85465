//! A key in DNS (RFC 6376 §3.6.1), and whether it made a signature.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ED25519, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, VerificationAlgorithm,
};
use moka::sync::Cache;

use crate::Verdict;
use crate::signature::{Algorithm, Flaw, Signer};
use crate::tags::{Tags, base64, parts};
use crate::texts::Texts;

/// A public key and what its owner allows it to sign.
#[derive(Debug)]
pub(crate) struct PublicKey {
    algorithm: Algorithm,
    /// None if its octets are no such key: then nothing is signed with it.
    key: Option<ParsedPublicKey>,
    /// The owner is testing (`t=y`).
    pub(crate) is_test: bool,
    /// The signer must be the domain itself, no name below it (`t=s`).
    pub(crate) is_strict: bool,
}

impl PublicKey {
    /// The key of this signer, out of what DNS said.
    pub(crate) fn find(signer: &Signer, texts: &Texts) -> Result<Arc<Self>, Flaw> {
        let records = match texts.get(&signer.key_name()) {
            Ok(records) => records,
            Err(dns::Error::Trouble(_)) => {
                return Err(Flaw::new(
                    Verdict::TempError,
                    "no answer from DNS for the key",
                ));
            }
            Err(_) => return Err(permanent("no key in DNS")),
        };
        // Several records are undefined (§3.6.2.2): the first that is a key, of the first few.
        let mut keys = records
            .iter()
            .take(RECORDS_MAX)
            .map(|record| Self::read(record));
        let first = keys.next().unwrap_or(Err(permanent("no key in DNS")));
        let key = first.or_else(|flaw| keys.find_map(Result::ok).ok_or(flaw))?;
        if key.algorithm != signer.algorithm {
            return Err(permanent("key is of another kind"));
        }
        Ok(key)
    }

    fn read(record: &[u8]) -> Result<Arc<Self>, Flaw> {
        if record.len() > RECORD_OCTETS_MAX {
            return Err(permanent("key record too large"));
        }
        if let Some(key) = READ.get(record) {
            return Ok(key);
        }
        let key = Arc::new(Self::parse(record)?);
        READ.insert(record.into(), Arc::clone(&key));
        Ok(key)
    }

    fn parse(record: &[u8]) -> Result<Self, Flaw> {
        let tags = Tags::parse(record).map_err(permanent)?;
        let is_in = |name, word| {
            tags.get(name)
                .is_none_or(|value| parts(value).any(|part| part == word))
        };
        let has_flag = |flag| {
            tags.get("t")
                .is_some_and(|value| parts(value).any(|part| part == flag))
        };
        if tags
            .get("v")
            .is_some_and(|v| v != "DKIM1" || tags.first() != "v")
        {
            return Err(permanent("unknown version of key"));
        }
        if !is_in("h", "sha256") {
            return Err(permanent("key is not for sha256"));
        }
        if !is_in("s", "email") && !is_in("s", "*") {
            return Err(permanent("key is not for mail"));
        }
        let algorithm = match tags.get("k").unwrap_or("rsa") {
            "rsa" => Algorithm::RsaSha256,
            "ed25519" => Algorithm::Ed25519Sha256,
            _ => return Err(permanent("unknown kind of key")),
        };
        let octets = match tags.get("p") {
            None => return Err(permanent("record without key")),
            Some("") => return Err(permanent("key revoked")),
            Some(text) => base64(text).ok_or(permanent("key is not base64"))?,
        };
        let kind: &dyn VerificationAlgorithm = match algorithm {
            // Both spellings of an RSA key are read, alone or with its algorithm in front (RFC 6376 erratum 3017).
            // Keys below 1024 bits verify nothing.
            Algorithm::RsaSha256 => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            Algorithm::Ed25519Sha256 => &ED25519,
        };
        Ok(Self {
            algorithm,
            key: ParsedPublicKey::new(kind, octets).ok(),
            is_test: has_flag("y"),
            is_strict: has_flag("s"),
        })
    }

    /// Whether `signer` signed `input` with this key.
    pub(crate) fn verify(&self, signer: &Signer, input: &[u8]) -> Result<(), Flaw> {
        let verifies = |input| {
            let key = self.key.as_ref();
            key.is_some_and(|key| key.verify_sig(input, &signer.octets).is_ok())
        };
        let is_good = match self.algorithm {
            Algorithm::RsaSha256 => verifies(input),
            // What is signed is the hash (RFC 8463 §3).
            Algorithm::Ed25519Sha256 => verifies(digest(&SHA256, input).as_ref()),
        };
        match is_good {
            true => Ok(()),
            false => Err(Flaw::new(Verdict::Fail, "signature does not match")),
        }
    }
}

const fn permanent(reason: &'static str) -> Flaw {
    Flaw::new(Verdict::PermError, reason)
}

/// What records say, by their text: to make a key ready takes a third as long as to verify with it. Some 5 KB each.
static READ: LazyLock<Cache<Box<[u8]>, Arc<PublicKey>>> =
    LazyLock::new(|| Cache::new(READ_KEPT_MAX));

const READ_KEPT_MAX: u64 = 1000;
/// A key of 8192 bits needs less than half of it.
const RECORD_OCTETS_MAX: usize = 4096;
const RECORDS_MAX: usize = 8;
