//! DKIM, ARC and DMARC: whatever a message and DNS say, the pieces in which it comes make no difference, few signatures are looked
//! at, and what is reported of it is one clean field.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::Arbitrary;
use authentic::{Canonical, Parsed, Reader, Results, Spf, field, is_ours};
use dns::{Error, Mx, Resolver};
use envelope::Domain;

use crate::input::{Pieces, plan};

#[derive(Debug, Arbitrary)]
struct Plan {
    pieces: u64,
    now: u32,
}

/// `data` is a plan, two lines with the key and the policy that DNS has everywhere, and a message.
pub(crate) fn check(data: &[u8]) {
    let Some((plan, text)) = plan::<Plan>(data) else {
        return;
    };
    let mut parts = text.splitn(3, |b| *b == b'\n').map(<[u8]>::to_vec);
    let mut part = || parts.next().unwrap_or_default();
    let (key, policy, message) = (part(), part(), part());
    let zone = Everywhere { key, policy };
    let whole = read(Pieces::new(&message, 0));
    let pieces = read(Pieces::new(&message, plan.pieces));
    for form in [Canonical::Simple, Canonical::Relaxed] {
        assert_eq!(whole.body_hash(form), pieces.body_hash(form));
    }
    let results = verify(&whole, &zone, plan.now.into());
    assert_eq!(results, verify(&pieces, &zone, plan.now.into()));
    assert!(results.dkim.len() <= 8 && results.arc.instance <= 50);

    let hostname = Domain::localhost();
    let field = field(&hostname, &results.checked(Ipv4Addr::LOCALHOST.into()));
    assert!(field.ends_with("\r\n"), "{field:?}");
    let text = field.trim_end();
    for line in text.split("\r\n") {
        assert!(
            line.bytes()
                .all(|b| b == b'\t' || (b' '..=b'~').contains(&b)),
            "{line:?}"
        );
        assert!(line.len() <= 998, "{line:?}");
    }
    assert!(
        text.split("\r\n")
            .skip(1)
            .all(|line| line.starts_with([' ', '\t'])),
        "{text:?}"
    );
    assert!(is_ours(field.as_bytes(), &hostname), "{field:?}");
}

fn read(pieces: Pieces<'_>) -> Parsed {
    let mut reader = Reader::signing();
    pieces.for_each(|piece| reader.feed(piece));
    reader.finish()
}

fn verify(parsed: &Parsed, zone: &Everywhere, now: u64) -> Results {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
    else {
        panic!("no runtime")
    };
    runtime.block_on(parsed.verify(zone, Spf::Other, now))
}

/// The same text at every name.
struct Everywhere {
    key: Vec<u8>,
    policy: Vec<u8>,
}

impl Resolver for Everywhere {
    async fn mx(&self, _: &str) -> Result<dns::Answer<Mx>, Error> {
        Err(Error::NoRecords)
    }
    async fn ipv4(&self, _: &str) -> Result<Vec<Ipv4Addr>, Error> {
        Err(Error::NoRecords)
    }
    async fn ipv6(&self, _: &str) -> Result<Vec<Ipv6Addr>, Error> {
        Err(Error::NoRecords)
    }
    async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Error> {
        let text = if name.starts_with("_dmarc.") {
            &self.policy
        } else {
            &self.key
        };
        Ok(vec![text.clone()])
    }
    async fn names(&self, _: IpAddr) -> Result<Vec<Domain>, Error> {
        Err(Error::NoRecords)
    }
}
