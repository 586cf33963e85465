//! Messages made to cost much: what is counted is work, not time.

use super::*;
use crate::Verdict;

#[tokio::test]
async fn headers_too_large_or_with_too_many_fields() {
    let field = |octets| format!("X: {}\r\n", "x".repeat(octets));
    for header in [
        "a: b\r\n".repeat(100_000),
        field(5 << 20),
        field(1000).repeat(300),
        "x".repeat(1 << 20),
        "a:\r\n".repeat(1001),
    ] {
        let message = format!("{header}{MESSAGE}");
        let mut reader = Reader::signing();
        for piece in message.as_bytes().chunks(1000) {
            reader.feed(piece);
            assert!(reader.kept() <= 512 * 1024, "{}", reader.kept());
        }
        let parsed = reader.finish();
        assert!(parsed.problem().is_some());
        let results = parsed.verify(&zone(), Spf::Other, NOW).await;
        assert_eq!(results.dkim[0].verdict, Verdict::Neutral);
        assert_eq!(results.arc.verdict, Verdict::Fail);
        assert_eq!(results.dmarc.verdict, Verdict::PermError);
    }
}

#[tokio::test]
async fn many_signatures() {
    let tags = "v=1; a=ed25519-sha256; d=DOMAIN; s=e; h=from; bh={bh}";
    let own = signed(
        MESSAGE,
        "DKIM-Signature",
        &tags.replace("DOMAIN", "author.test"),
    );
    let other = signed(
        MESSAGE,
        "DKIM-Signature",
        &tags.replace("DOMAIN", "list.test"),
    );
    let other = other.strip_suffix(MESSAGE).unwrap();
    // The author's is looked at, however many others are on top of it.
    let results = verify(&(other.repeat(900) + &own), &zone()).await;
    assert_eq!(results.dkim.len(), 8);
    let author = results.dkim.last().unwrap();
    assert_eq!(
        (author.verdict, author.domain.as_ref().unwrap().as_str()),
        (Verdict::Pass, "author.test")
    );
    // 10,000 do not fit in a header.
    let results = verify(&(other.repeat(10_000) + &own), &zone()).await;
    assert_eq!(results.dkim[0].reason, "header too large");
}

/// A forger cannot turn a refusal into "DNS failed".
#[tokio::test(start_paused = true)]
async fn a_key_that_is_never_found() {
    struct Slow(Fixed);
    impl dns::Resolver for Slow {
        async fn mx(&self, name: &str) -> Result<dns::Answer<dns::Mx>, dns::Error> {
            self.0.mx(name).await
        }
        async fn ipv4(&self, name: &str) -> Result<Vec<std::net::Ipv4Addr>, dns::Error> {
            self.0.ipv4(name).await
        }
        async fn ipv6(&self, name: &str) -> Result<Vec<std::net::Ipv6Addr>, dns::Error> {
            self.0.ipv6(name).await
        }
        async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, dns::Error> {
            match name.contains("evil") {
                true => std::future::pending().await,
                false => self.0.txt(name).await,
            }
        }
        async fn names(
            &self,
            address: std::net::IpAddr,
        ) -> Result<Vec<envelope::Domain>, dns::Error> {
            self.0.names(address).await
        }
    }
    let tags = "v=1; a=ed25519-sha256; d=evil.test; s=e; h=from; bh={bh}";
    let message = signed(MESSAGE, "DKIM-Signature", tags);
    let zone = Slow(zone().with_txt("_dmarc.author.test", "v=DMARC1; p=reject"));
    let begun = tokio::time::Instant::now();
    let results = read(message.as_bytes())
        .verify(&zone, Spf::Other, NOW)
        .await;
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(results.dkim[0].verdict, Verdict::TempError);
    assert_eq!(results.dmarc.verdict, Verdict::Fail);
}

#[tokio::test]
async fn long_lists_in_a_signature() {
    let tags = "v=1; a=ed25519-sha256; d=author.test; s=e; h=NAMES; bh={bh}";
    let names = "from:x".to_owned() + &":x".repeat(300);
    let message = signed(MESSAGE, "DKIM-Signature", &tags.replace("NAMES", &names));
    assert_eq!(
        verify(&message, &zone()).await.dkim[0].reason,
        "too many fields in h="
    );
    let many: String = (0..100).map(|n| format!("; x{n}=1")).collect();
    let message = signed(
        MESSAGE,
        "DKIM-Signature",
        &(tags.replace("NAMES", "from") + &many),
    );
    assert_eq!(
        verify(&message, &zone()).await.dkim[0].reason,
        "too many tags"
    );
    let chain = "ARC-Seal: i=1; a=rsa-sha256\r\n".repeat(51) + MESSAGE;
    assert_eq!(verify(&chain, &zone()).await.arc.verdict, Verdict::Fail);
}

#[test]
fn every_split_of_a_message_reads_alike() {
    let tags = "v=1; a=ed25519-sha256; c=relaxed/simple; d=author.test; s=e; h=from; bh={bh}";
    let message = signed(MESSAGE, "DKIM-Signature", tags);
    for message in [
        message.as_bytes(),
        b"\r\nbody only\r\n",
        b"From: a@b.test\r\n",
        b"",
        b"\r\n",
    ] {
        let whole = read(message);
        for split in 0..=message.len() {
            let mut reader = Reader::default();
            reader.feed(&message[..split]);
            reader.feed(&message[split..]);
            let parsed = reader.finish();
            assert!(
                parsed.header().fields().eq(whole.header().fields()),
                "{split}"
            );
            assert_eq!(
                parsed.body_hash(Canonical::Simple),
                whole.body_hash(Canonical::Simple),
                "{split}"
            );
        }
    }
}

/// Who lists addresses of his own, whose DNS takes its time, beside the forged one: his are not waited for one after the other.
#[tokio::test(start_paused = true)]
async fn slow_suspects_are_judged_together() {
    struct Slow;
    impl dns::Resolver for Slow {
        async fn mx(&self, _: &str) -> Result<dns::Answer<dns::Mx>, dns::Error> {
            unreachable!()
        }
        async fn ipv4(&self, _: &str) -> Result<Vec<std::net::Ipv4Addr>, dns::Error> {
            unreachable!()
        }
        async fn ipv6(&self, _: &str) -> Result<Vec<std::net::Ipv6Addr>, dns::Error> {
            unreachable!()
        }
        async fn txt(&self, name: &str) -> Result<Vec<Vec<u8>>, dns::Error> {
            if name.ends_with("slow.test") {
                tokio::time::sleep(std::time::Duration::from_millis(2900)).await;
            }
            match name {
                "_dmarc.slow.test" | "_dmarc.author.test" => {
                    Ok(vec![b"v=DMARC1; p=reject; np=none; sp=none".to_vec()])
                }
                _ => Err(dns::Error::NoRecords),
            }
        }
        async fn names(&self, _: std::net::IpAddr) -> Result<Vec<envelope::Domain>, dns::Error> {
            unreachable!()
        }
    }
    let message = "From: a@a.slow.test\r\nFrom: a@b.slow.test\r\nFrom: a@c.slow.test\r\nFrom: a@author.test\r\n\r\n";
    let begun = tokio::time::Instant::now();
    let results = read(message.as_bytes())
        .verify(&Slow, Spf::Other, NOW)
        .await;
    assert_eq!(results.dmarc.verdict, Verdict::Fail);
    assert_eq!(results.dmarc.from, "author.test".parse().ok());
    assert!(begun.elapsed().as_secs() < 7, "{:?}", begun.elapsed());
}
