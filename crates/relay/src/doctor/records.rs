//! What others say of us in DNS: our keys for DKIM, our certificates for DANE, and the blocklists.

use std::collections::BTreeSet;

use authentic::Key;
use aws_lc_rs::digest::{SHA256, digest};
use control::Finding;
use control::Health::{Bad, Good, Risky};
use data_encoding::HEXLOWER;
use delivery::tlsa_fits;
use dns::{Resolver, Tlsa};
use smtp_in::tls::Certificate;

use super::certificate::public_key;
use super::{Facts, ask, each, some_of, unknown};
use crate::dnsbl::{Kind, Subject};
use crate::inbound::blocklists::is_listed;

pub(super) async fn check<R: Resolver>(resolver: &R, facts: &Facts) -> Vec<Finding> {
    let keys = facts.routing.keys.named.values();
    let keys = each("dkim", keys, |key| dkim(resolver, key));
    let addresses = facts.egresses.iter().map(|egress| egress.address);
    let settings = facts.routing.forwarder.settings();
    let names = BTreeSet::from([&settings.hostname, &settings.srs_domain]);
    let names = names.into_iter().cloned().map(Subject::Domain);
    let subjects: Vec<_> = addresses.map(Subject::Address).chain(names).collect();
    let subjects = each("dnsbl", subjects, |subject| {
        listed(resolver, facts, subject)
    });
    let ((keys, more_keys), (lists, more_lists), tlsa, dnssec) =
        tokio::join!(keys, subjects, dane(resolver, facts), dnssec(resolver));
    let mut found = [keys, lists.concat()].concat();
    let others = more_keys.into_iter().chain(more_lists);
    found.extend(others.chain(tlsa).chain(dnssec));
    found
}

/// DKIM: what verifiers find must be the key that we sign with (RFC 6376 §3.6.1).
async fn dkim<R: Resolver>(resolver: &R, key: &Key) -> Finding {
    let name = key.record_name();
    let texts = match ask(resolver.txt(&name)).await {
        Ok(texts) => texts,
        Err(why) => return unknown("dkim", name, why),
    };
    let ours = key.record().unwrap_or_default();
    let bad = |text: &str| {
        let text =
            format!("{text}: our signatures fail, and mail is refused where DMARC needs them");
        Finding::new(Bad, "dkim", &name, text).publishing(key.zone_line())
    };
    let public = |text: &str| tag(text, "p").map(|p| p.replace([' ', '\t'], ""));
    match &texts[..] {
        [] => bad("our key is not in the DNS"),
        [text] => {
            let text = String::from_utf8_lossy(text);
            if public(&text) != public(&ours) {
                return bad("the DNS has another key than ours");
            }
            if tag(&text, "t").is_some_and(|flags| flags.split(':').any(|flag| flag.trim() == "y"))
            {
                let text = "the record says `t=y`, for testing: some treat such mail as unsigned";
                return Finding::new(Risky, "dkim", &name, text).publishing(key.zone_line());
            }
            Finding::new(Good, "dkim", &name, "the DNS has our key")
        }
        _ => bad("the DNS has several records of this name, and verifiers may take any"),
    }
}

/// A tag of a DKIM record.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut tags = text.split(';').filter_map(|tag| tag.split_once('='));
    tags.find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The lists of its kind that name one of us.
async fn listed<R: Resolver>(resolver: &R, facts: &Facts, subject: Subject) -> Vec<Finding> {
    let kind = match subject {
        Subject::Address(_) => Kind::Address,
        Subject::Domain(_) => Kind::Domain,
    };
    let (mut on, mut failed, mut asked) = (Vec::new(), Vec::new(), 0);
    for (name, list) in facts
        .routing
        .dnsbls
        .iter()
        .filter(|(_, list)| list.kind == kind)
    {
        asked += 1;
        match is_listed(resolver, list, &subject).await {
            Ok(true) => on.push(name),
            Ok(false) => {}
            Err(why) => failed.push(format!("{name} {why}")),
        }
    }
    let mut findings = Vec::new();
    if !on.is_empty() {
        let text = format!(
            "is on {}: whoever asks this list refuses our mail\n\nhint: the list's site says why, and how to get off; stop the cause first (`onward stats --by forward`)",
            some_of(&on)
        );
        findings.push(Finding::new(Bad, "dnsbl", &subject, text));
    } else if failed.len() < asked {
        findings.push(Finding::new(
            Good,
            "dnsbl",
            &subject,
            "is on none of the lists",
        ));
    }
    if !failed.is_empty() {
        findings.push(unknown("dnsbl", &subject, some_of(&failed)));
    }
    findings
}

/// Whether our name servers pass on what `resolver.dnssec` needs.
async fn dnssec<R: Resolver>(resolver: &R) -> Option<Finding> {
    let validated = async {
        let found = resolver.validation().await.transpose()?;
        Ok(Vec::from_iter(found))
    };
    match ask(validated).await {
        Ok(found) if found.is_empty() => None,
        Ok(_) => Some(Finding::new(
            Good,
            "dnssec",
            "resolver",
            "answers are validated",
        )),
        Err(why) => {
            let text = format!(
                "nothing can be validated, so that mail waits: {why}\n\nhint: resolver.servers must pass DNSSEC records on, as a resolver of your own does; or set resolver.dnssec = false"
            );
            Some(Finding::new(Bad, "dnssec", "resolver", text))
        }
    }
}

/// DANE (RFC 7672 §3.1): a sender that reads TLSA records sends only to a certificate that is in them.
async fn dane<R: Resolver>(resolver: &R, facts: &Facts) -> Option<Finding> {
    let name = format!("_25._tcp.{}", facts.routing.hostname());
    let records = async { Ok(resolver.tlsa(&name).await?.records) };
    let mut records = match ask(records).await {
        Ok(records) => records,
        Err(why) => return Some(unknown("tlsa", name, why)),
    };
    records.retain(|record| matches!(record.usage, 2 | 3));
    if records.is_empty() {
        return None;
    }
    let fits =
        |certificate: &&Certificate| records.iter().any(|record| matches(record, certificate));
    let wrong = facts
        .certificates
        .iter()
        .find(|certificate| !fits(certificate));
    Some(match (wrong, facts.certificates.is_empty()) {
        (None, false) => Finding::new(Good, "tlsa", name, "the records have our certificates"),
        (wrong, _) => {
            let text = "no TLSA record fits a certificate of ours: senders that look at them (Gmail does not; Microsoft, many in Germany and the Netherlands do) cannot send to us";
            let key = wrong.and_then(|certificate| public_key(certificate.cert.first()?));
            let record = key.map(|key| {
                let hash = HEXLOWER.encode(digest(&SHA256, &key).as_ref());
                format!("{name}. IN TLSA 3 1 1 {hash}")
            });
            Finding::new(Bad, "tlsa", &name, text).publishing(record)
        }
    })
}

fn matches(record: &Tlsa, certificate: &Certificate) -> bool {
    let chain = match record.usage {
        3 => certificate.cert.get(..1).unwrap_or_default(),
        // The issuer's own certificate, which must be sent along (RFC 7672 §3.1.2).
        _ => certificate.cert.get(1..).unwrap_or_default(),
    };
    chain
        .iter()
        .any(|certificate| tlsa_fits(record, certificate))
}
