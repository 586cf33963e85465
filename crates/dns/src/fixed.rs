//! A table in memory that answers like DNS: for `onward demo`, and for tests that need no server.
//!
//! A name that was given any record exists; every other one does not. It does *not* know
//! wildcards, aliases or time.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use envelope::Domain;

use crate::resolver::both_families;
use crate::{Answer, Error, Mx, Proof, Resolver, Tlsa};

/// A resolver that knows what it was told.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    hosts: HashMap<String, Records>,
    secure: HashSet<String>,
    pointers: HashMap<IpAddr, Vec<Domain>>,
}

#[derive(Debug, Clone, Default)]
struct Records {
    mx: Vec<Mx>,
    null_mx: bool,
    ipv4: Vec<Ipv4Addr>,
    ipv6: Vec<Ipv6Addr>,
    txt: Vec<Vec<u8>>,
    tlsa: Vec<Tlsa>,
    trouble: Option<String>,
}

impl Fixed {
    /// An empty table: no name exists.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an MX record.
    #[must_use]
    pub fn with_mx(mut self, domain: Domain, preference: u16, exchange: Domain) -> Self {
        let records = self.at(domain.as_str());
        records.mx.push(Mx {
            preference,
            exchange,
        });
        self
    }

    /// Says that the domain takes no mail (RFC 7505).
    #[must_use]
    pub fn with_null_mx(mut self, domain: Domain) -> Self {
        self.at(domain.as_str()).null_mx = true;
        self
    }

    /// Adds an A or AAAA record, and the PTR record that leads back.
    #[must_use]
    pub fn with_address(mut self, name: Domain, address: IpAddr) -> Self {
        let pointers = self.pointers.entry(address).or_default();
        pointers.push(name.clone());
        let records = self.at(name.as_str());
        match address {
            IpAddr::V4(address) => records.ipv4.push(address),
            IpAddr::V6(address) => records.ipv6.push(address),
        }
        self
    }

    /// Adds a TXT record.
    #[must_use]
    pub fn with_txt(mut self, name: impl AsRef<str>, text: impl Into<Vec<u8>>) -> Self {
        self.at(name.as_ref()).txt.push(text.into());
        self
    }

    /// Adds a TLSA record of a port of a host.
    #[must_use]
    pub fn with_tlsa(mut self, name: impl AsRef<str>, record: Tlsa) -> Self {
        self.at(name.as_ref()).tlsa.push(record);
        self
    }

    /// Says that DNSSEC proves what is said of this name.
    #[must_use]
    pub fn with_proof(mut self, name: impl AsRef<str>) -> Self {
        self.secure.insert(name.as_ref().to_ascii_lowercase());
        self
    }

    /// Makes every lookup of this name fail with [`Error::Trouble`], as when its servers are out of reach.
    #[must_use]
    pub fn with_trouble(mut self, name: Domain, reason: impl Into<String>) -> Self {
        self.at(name.as_str()).trouble = Some(reason.into());
        self
    }

    fn at(&mut self, name: &str) -> &mut Records {
        self.hosts.entry(name.to_ascii_lowercase()).or_default()
    }

    fn records(&self, name: &str) -> Result<&Records, Error> {
        let records = self
            .hosts
            .get(&name.to_ascii_lowercase())
            .ok_or(Error::NoSuchDomain)?;
        match &records.trouble {
            Some(reason) => Err(Error::Trouble(reason.clone())),
            None => Ok(records),
        }
    }

    fn answer<T: Clone>(&self, name: &str, records: &[T]) -> Result<Answer<T>, Error> {
        let is_secure = self.secure.contains(&name.to_ascii_lowercase());
        let records = some(records)?;
        let proof = Proof {
            is_secure,
            is_name_secure: is_secure,
            canonical: None,
        };
        Ok(Answer { records, proof })
    }
}

impl Resolver for Fixed {
    async fn mx(&self, name: &str) -> Result<Answer<Mx>, Error> {
        let records = self.records(name)?;
        if records.null_mx {
            return Err(Error::NullMx);
        }
        self.answer(name, &records.mx)
    }

    async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, Error> {
        some(&self.records(name)?.ipv4)
    }

    async fn ipv6(&self, name: &str) -> Result<Vec<Ipv6Addr>, Error> {
        some(&self.records(name)?.ipv6)
    }

    async fn addresses(&self, name: &str) -> Result<Answer<IpAddr>, Error> {
        let records = self.records(name)?;
        both_families(
            self.answer(name, &records.ipv6),
            self.answer(name, &records.ipv4),
        )
    }

    async fn tlsa(&self, name: &str) -> Result<Answer<Tlsa>, Error> {
        self.answer(name, &self.records(name)?.tlsa)
    }

    async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, Error> {
        some(&self.records(name)?.txt)
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<Domain>, Error> {
        self.pointers
            .get(&address)
            .cloned()
            .ok_or(Error::NoSuchDomain)
    }
}

fn some<T: Clone>(records: &[T]) -> Result<Vec<T>, Error> {
    if records.is_empty() {
        return Err(Error::NoRecords);
    }
    Ok(records.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Domain {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn answers_what_it_was_told() {
        let address = "192.0.2.1".parse().unwrap();
        let v6 = "2001:db8::1".parse().unwrap();
        let table = Fixed::new()
            .with_mx(name("a.example"), 10, name("mx.a.example"))
            .with_address(name("mx.a.example"), address)
            .with_address(name("mx.a.example"), v6)
            .with_txt("A.example", "v=spf1 -all")
            .with_null_mx(name("null.example"))
            .with_trouble(name("ill.example"), "SERVFAIL");
        let mx = Mx {
            preference: 10,
            exchange: name("mx.a.example"),
        };
        assert_eq!(table.mx("a.example").await, Ok(vec![mx].into()));
        let addresses = vec![v6, address];
        assert_eq!(table.addresses("mx.a.example").await, Ok(addresses.into()));
        assert_eq!(
            table.ipv4("mx.a.example").await.map(|found| found.len()),
            Ok(1)
        );
        assert_eq!(table.names(address).await, Ok(vec![name("mx.a.example")]));
        assert_eq!(
            table.txt("a.example").await,
            Ok(vec![b"v=spf1 -all".to_vec()])
        );
        assert_eq!(table.addresses("a.example").await, Err(Error::NoRecords));
        assert_eq!(table.mx("b.example").await, Err(Error::NoSuchDomain));
        assert_eq!(table.mx("null.example").await, Err(Error::NullMx));
        let trouble = Err(Error::Trouble("SERVFAIL".to_owned()));
        assert_eq!(table.mx("ill.example").await, trouble);
    }
}
