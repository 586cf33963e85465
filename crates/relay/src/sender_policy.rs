//! SPF with DNS: the questions of an evaluation are put to the resolver, those that do not depend on each other together.

use std::net::IpAddr;
use std::time::Duration;

use authentic::{Parsed, Results, Spf};
use dns::{Error, Resolver};
use envelope::ReversePath;
use futures_util::future::join_all;
use policy::{Identity, SpfFound, SpfResult};
use spf::{Answer, Evaluation, Lookup, Query, Question, Step, Verdict};
use tokio::time::{Instant, timeout_at};

/// About the reverse path, or about the name in EHLO where that is null (RFC 7208 §2.4).
pub fn query(client: IpAddr, hello: &str, sender: &ReversePath) -> Query {
    match sender {
        ReversePath::Null => Query::helo(client, hello),
        ReversePath::Mailbox(mailbox) => {
            let local = mailbox.local_part().as_str();
            Query::mail_from(client, hello, local, &mailbox.host().to_string())
        }
    }
}

/// The result. What DNS has not answered in 20 seconds counts as failed (RFC 7208 §4.6.4).
pub async fn evaluate<Q: Question>(resolver: &impl Resolver, query: Q) -> Q::Found {
    let end = Instant::now() + WHOLE;
    let mut evaluation = Evaluation::new(query);
    loop {
        let lookups = match evaluation.step() {
            Step::Done(output) => return output,
            Step::Ask(lookups) => lookups,
        };
        let answers = lookups.iter().map(|lookup| async move {
            let answer = timeout_at(end, look_up(resolver, lookup)).await;
            answer.unwrap_or_else(|_| Answer::Failed("time-out".to_owned()))
        });
        let answers = join_all(answers).await;
        for (lookup, answer) in lookups.into_iter().zip(answers) {
            evaluation.answer(lookup, answer);
        }
    }
}

/// As [`evaluate`], in policy's words. The query is about this sender.
pub async fn check(resolver: &impl Resolver, query: Query, sender: &ReversePath) -> SpfFound {
    let output = evaluate(resolver, query).await;
    SpfFound {
        result: result(output.verdict),
        identity: match sender {
            ReversePath::Null => Identity::Hello,
            ReversePath::Mailbox(_) => Identity::MailFrom,
        },
        domain: output.way[0].domain.clone(),
        reason: output.to_string(),
        explanation: output.explanation,
        hello: None,
    }
}

/// In policy's words.
pub(crate) fn result(verdict: Verdict) -> SpfResult {
    match verdict {
        Verdict::None => SpfResult::None,
        Verdict::Neutral => SpfResult::Neutral,
        Verdict::Pass => SpfResult::Pass,
        Verdict::Fail => SpfResult::Fail,
        Verdict::SoftFail => SpfResult::SoftFail,
        Verdict::TempError => SpfResult::TempError,
        Verdict::PermError => SpfResult::PermError,
    }
}

/// What a message proves; for DMARC, what SPF found counts too.
pub async fn verify(
    resolver: &impl Resolver,
    message: &Parsed,
    spf: Option<&SpfFound>,
    now_secs: u64,
) -> Results {
    let domain = spf.and_then(|found| found.domain.parse().ok());
    let spf = match (spf.map(|found| found.result), &domain) {
        (Some(SpfResult::Pass), Some(domain)) => Spf::Pass(domain),
        (Some(SpfResult::TempError), Some(domain)) => Spf::TempError(domain),
        _ => Spf::Other,
    };
    message.verify(resolver, spf, now_secs).await
}

async fn look_up(resolver: &impl Resolver, lookup: &Lookup) -> Answer {
    let found = match lookup {
        Lookup::Txt(name) => resolver.txt(name).await.map(Answer::Txt),
        Lookup::A(name) => resolver.ipv4(name).await.map(addresses),
        Lookup::Aaaa(name) => resolver.ipv6(name).await.map(addresses),
        Lookup::Mx(name) => {
            let records = resolver.mx(name).await;
            records.map(|found| names(found.records.into_iter().map(|mx| mx.exchange)))
        }
        Lookup::Ptr(address) => resolver.names(*address).await.map(names),
    };
    found.unwrap_or_else(|error| match error {
        Error::NoSuchDomain | Error::NoRecords => Answer::Nothing,
        // There is an MX record, and it names no host.
        Error::NullMx => Answer::Names(Vec::new()),
        Error::Trouble(why) => Answer::Failed(why),
    })
}

fn addresses(found: Vec<impl Into<IpAddr>>) -> Answer {
    Answer::Addresses(found.into_iter().map(Into::into).collect())
}

fn names(found: impl IntoIterator<Item = envelope::Domain>) -> Answer {
    Answer::Names(found.into_iter().map(|name| name.to_string()).collect())
}

const WHOLE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use dns::Fixed;
    use envelope::Domain;

    use super::*;

    fn d(name: &str) -> Domain {
        name.parse().unwrap()
    }

    async fn check(client: &str, sender: &str, expected: &str) {
        let dns = Fixed::new()
            .with_txt("mx.test", "v=spf1 mx -all")
            .with_mx(d("mx.test"), 10, d("a.test"))
            .with_mx(d("mx.test"), 20, d("b.test"))
            .with_address(d("a.test"), "192.0.2.1".parse().unwrap())
            .with_address(d("b.test"), "192.0.2.2".parse().unwrap())
            .with_address(d("b.test"), "2001:db8::2".parse().unwrap())
            .with_txt("null.test", "v=spf1 mx ?all")
            .with_null_mx(d("null.test"))
            .with_txt("ptr.test", "v=spf1 ptr:b.test -all")
            .with_txt("macro.test", "v=spf1 exists:%{l}.ok.test -all")
            .with_txt("a+b.ok.test", "there, and no address")
            .with_txt("ill.test", "v=spf1 a:ill.example -all")
            .with_trouble(d("ill.example"), "SERVFAIL")
            .with_txt("hello.test", "v=spf1 -all");
        let sender = match sender {
            "" => ReversePath::Null,
            sender => ReversePath::Mailbox(sender.parse().unwrap()),
        };
        let query = query(client.parse().unwrap(), "hello.test", &sender);
        let output = evaluate(&dns, query).await;
        let found = format!("{} {output}", output.verdict);
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn every_kind_of_lookup() {
        for (client, sender, expected) in [
            (
                "192.0.2.2",
                "x@mx.test",
                "pass `mx` in the record of mx.test matches 192.0.2.2",
            ),
            (
                "2001:db8::2",
                "x@mx.test",
                "pass `mx` in the record of mx.test matches 2001:db8::2",
            ),
            (
                "192.0.2.2",
                "x@null.test",
                "neutral `?all` in the record of null.test matches 192.0.2.2",
            ),
            (
                "192.0.2.2",
                "x@ptr.test",
                "pass `ptr:b.test` in the record of ptr.test matches 192.0.2.2",
            ),
            (
                "192.0.2.2",
                "a+b@macro.test",
                "fail `-all` in the record of macro.test matches 192.0.2.2",
            ),
            (
                "192.0.2.2",
                "x@ill.test",
                "temperror ill.test: no answer for A of ill.example: SERVFAIL",
            ),
            (
                "192.0.2.2",
                "",
                "fail `-all` in the record of hello.test matches 192.0.2.2",
            ),
            (
                "192.0.2.2",
                "x@[192.0.2.2]",
                "none [192.0.2.2]: it is no full domain name",
            ),
        ] {
            check(client, sender, expected).await;
        }
    }

    /// A server that says nothing costs the whole time once, whatever the record asks for.
    #[tokio::test(start_paused = true)]
    async fn the_whole_time_is_limited() {
        struct Silent;
        impl Resolver for Silent {
            async fn mx(&self, _: &str) -> Result<dns::Answer<dns::Mx>, Error> {
                std::future::pending().await
            }
            async fn ipv4(&self, _: &str) -> Result<Vec<std::net::Ipv4Addr>, Error> {
                std::future::pending().await
            }
            async fn ipv6(&self, _: &str) -> Result<Vec<std::net::Ipv6Addr>, Error> {
                std::future::pending().await
            }
            async fn txt(&self, _: &str) -> Result<Vec<Vec<u8>>, Error> {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok(vec![b"v=spf1 ptr include:b.%{d} -all".to_vec()])
            }
            async fn names(&self, _: IpAddr) -> Result<Vec<Domain>, Error> {
                std::future::pending().await
            }
        }
        let begun = Instant::now();
        let client = "192.0.2.1".parse().unwrap();
        let output = evaluate(&Silent, Query::helo(client, "a.test")).await;
        assert_eq!(output.verdict, Verdict::TempError, "{output}");
        assert_eq!(begun.elapsed(), WHOLE);
    }
}
