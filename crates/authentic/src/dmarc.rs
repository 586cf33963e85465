//! DMARC (RFC 9989): the policy that governs the author's domain, and whether the message is aligned with it.

use dns::Resolver;
use envelope::{DmarcPolicy, Domain};

use crate::texts::Texts;
use crate::{Dmarc, Signed, Spf, Verdict};

/// What a policy record says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    /// For the domain itself (`p`), names below it (`sp`), and such that do not exist (`np`).
    policy: DmarcPolicy,
    subdomains: DmarcPolicy,
    missing: DmarcPolicy,
    strict_dkim: bool,
    strict_spf: bool,
    /// `Some(true)`: others register names below this one (`psd=y`); `Some(false)`: this is an organisation (`psd=n`).
    is_suffix: Option<bool>,
    is_test: bool,
}

/// The records on the way from a domain to the root, longest name first (§4.10).
type Walk = Vec<(String, Record)>;

const TEMPORARY: &str = "no answer from DNS";

/// The names to ask on the walk from a domain: at most eight, the shortest of one label.
pub(crate) fn names(domain: &Domain) -> impl Iterator<Item = String> {
    ancestors(domain).map(|name| format!("_dmarc.{name}"))
}

/// The domain and those above it; the middle of a very long name is left out (§4.10).
fn ancestors(domain: &Domain) -> impl Iterator<Item = &str> {
    let name = domain.as_str();
    let starts = name.match_indices('.').map(|(dot, _)| dot + 1);
    let labels = starts.clone().count() + 1;
    let short = starts
        .skip(labels.saturating_sub(WALK_MAX))
        .map(|start| &name[start..]);
    [name].into_iter().chain(short)
}

/// What DMARC says of a message whose signatures and sender are these.
pub(crate) async fn evaluate(
    author: &Domain,
    dkim: &[Signed],
    spf: Spf<'_>,
    texts: &mut Texts,
    resolver: &impl Resolver,
) -> Dmarc {
    let mut dmarc = Dmarc {
        from: Some(author.clone()),
        ..Dmarc::unclear("")
    };
    texts.ask(resolver, names(author)).await;
    let Ok(walk) = walk_from(author, texts) else {
        return dmarc.ends(Verdict::TempError, TEMPORARY);
    };
    let organisation = organisation_of(&walk, author);
    let at = |name: &str| walk.iter().find(|(owner, _)| owner == name);
    let governing = at(author.as_str()).or_else(|| at(organisation));
    let Some((owner, record)) = governing.or_else(|| walk.last()) else {
        return dmarc.ends(Verdict::None, "no policy");
    };
    dmarc.owner = owner.parse().ok();
    dmarc.policy = if owner == author.as_str() {
        record.policy
    } else {
        texts.ask(resolver, [author.to_string()]).await;
        match texts.get(author.as_str()) {
            Err(dns::Error::NoSuchDomain) => record.missing,
            _ => record.subdomains,
        }
    };
    if record.is_test {
        dmarc.policy = weaker(dmarc.policy);
    }
    // Only what is within the author's organisation can be aligned: the rest need not be asked for.
    let is_near = |(domain, _, is_strict): &(&Domain, Verdict, bool)| match is_strict {
        true => *domain == author,
        false => organisation
            .parse()
            .is_ok_and(|organisation| domain.is_within(&organisation)),
    };
    let near: Vec<_> = identifiers(record, dkim, spf).filter(is_near).collect();
    match aligned(&near, author, organisation, texts, resolver).await {
        Verdict::Pass => dmarc.ends(Verdict::Pass, ""),
        Verdict::TempError => dmarc.ends(Verdict::TempError, TEMPORARY),
        _ => dmarc.ends(Verdict::Fail, "nothing aligned with From passes"),
    }
}

/// Whether one of these is of the author's organisation and passes; `TempError` if that cannot be known now.
async fn aligned(
    near: &[(&Domain, Verdict, bool)],
    author: &Domain,
    organisation: &str,
    texts: &mut Texts,
    resolver: &impl Resolver,
) -> Verdict {
    let is_author = |domain: &Domain| domain == author;
    // As in most mail: then no other name need be asked for.
    let mut own = near.iter().filter(|(domain, ..)| is_author(domain));
    if own.any(|(_, verdict, _)| *verdict == Verdict::Pass) {
        return Verdict::Pass;
    }
    let unknown = near.iter().filter(|(domain, ..)| !is_author(domain));
    texts
        .ask(resolver, unknown.flat_map(|(domain, ..)| names(domain)))
        .await;
    let mut found = Verdict::Fail;
    for (domain, verdict, _) in near {
        let is_aligned =
            walk_from(domain, texts).map(|walk| organisation_of(&walk, domain) == organisation);
        match (verdict, is_aligned) {
            (Verdict::Pass, Ok(true)) => return Verdict::Pass,
            (_, Ok(true) | Err(())) => found = Verdict::TempError,
            (_, Ok(false)) => {}
        }
    }
    found
}

/// The domains that are proved, or may be when DNS answers again, and whether they have to be the author's own.
fn identifiers<'a>(
    record: &Record,
    dkim: &'a [Signed],
    spf: Spf<'a>,
) -> impl Iterator<Item = (&'a Domain, Verdict, bool)> {
    let spf = match spf {
        Spf::Pass(domain) => Some((domain, Verdict::Pass, record.strict_spf)),
        Spf::TempError(domain) => Some((domain, Verdict::TempError, record.strict_spf)),
        Spf::Other => None,
    };
    let is_strict = record.strict_dkim;
    let counts = |signed: &&Signed| matches!(signed.verdict, Verdict::Pass | Verdict::TempError);
    let signed = dkim.iter().filter(counts);
    let signed =
        signed.filter_map(move |signed| Some((signed.domain.as_ref()?, signed.verdict, is_strict)));
    spf.into_iter().chain(signed)
}

impl Dmarc {
    /// Nobody can tell the author.
    pub(crate) fn unclear(reason: &'static str) -> Self {
        Self {
            verdict: Verdict::PermError,
            reason,
            from: None,
            policy: DmarcPolicy::None,
            owner: None,
        }
    }

    fn ends(self, verdict: Verdict, reason: &'static str) -> Self {
        Self {
            verdict,
            reason,
            ..self
        }
    }
}

/// What is left of a policy in test mode (§4.7).
fn weaker(policy: DmarcPolicy) -> DmarcPolicy {
    match policy {
        DmarcPolicy::Reject => DmarcPolicy::Quarantine,
        DmarcPolicy::Quarantine | DmarcPolicy::None => DmarcPolicy::None,
    }
}

/// The walk, out of what DNS said. `Err` if it did not answer.
fn walk_from(domain: &Domain, texts: &Texts) -> Result<Walk, ()> {
    let mut walk = Vec::new();
    for name in ancestors(domain) {
        let texts = match texts.get(&format!("_dmarc.{name}")) {
            Ok(texts) => texts,
            Err(dns::Error::Trouble(_)) => return Err(()),
            Err(_) => continue,
        };
        let mut records = texts.iter().filter(|text| is_dmarc(text));
        // Several records are as good as none (§4.10 step 2).
        if let (Some(text), None) = (records.next(), records.next())
            && let Some(record) = Record::parse(&String::from_utf8_lossy(text))
        {
            let is_end = record.is_suffix.is_some();
            walk.push((name.to_owned(), record));
            if is_end {
                break;
            }
        }
    }
    Ok(walk)
}

/// The organisation that a domain belongs to, by the walk from it (§4.10.2).
fn organisation_of<'a>(walk: &'a Walk, start: &'a Domain) -> &'a str {
    let start = start.as_str();
    match walk.last() {
        None => start,
        Some((name, record)) if record.is_suffix == Some(true) && name != start => {
            let below = start
                .strip_suffix(name.as_str())
                .map_or(start, |below| below.trim_end_matches('.'));
            &start[below.rfind('.').map_or(0, |dot| dot + 1)..]
        }
        Some((name, _)) => name,
    }
}

fn is_dmarc(text: &[u8]) -> bool {
    let first = text.split(|b| *b == b';').next().unwrap_or_default();
    let mut sides = first.splitn(2, |b| *b == b'=').map(<[u8]>::trim_ascii);
    sides.next() == Some(b"v") && sides.next() == Some(b"DMARC1")
}

impl Record {
    /// Reads a record as its owners write them: what makes no sense has its default (§4.7). `None` if it states no policy and
    /// asks for no reports either.
    fn parse(text: &str) -> Option<Self> {
        let specs = || text.split(';').filter_map(|spec| spec.split_once('='));
        let get = |name| {
            let mut found = specs().filter(|(other, _)| other.trim().eq_ignore_ascii_case(name));
            found
                .next()
                .map(|(_, value)| value.trim().to_ascii_lowercase())
        };
        let policy = |name| get(name).map(|value| value.parse::<DmarcPolicy>());
        let is = |name, value| get(name).is_some_and(|got| got == value);
        let (policy, subdomains, missing) = match (
            policy("p"),
            policy("sp").transpose(),
            policy("np").transpose(),
        ) {
            (Some(Ok(p)), Ok(sp), Ok(np)) => {
                let sp = sp.unwrap_or(p);
                (p, sp, np.unwrap_or(sp))
            }
            // A policy that cannot be read counts as none if its owner wants to hear of it (§4.10.1).
            _ if get("rua").is_some_and(|rua| rua.contains("mailto:")) => {
                (DmarcPolicy::None, DmarcPolicy::None, DmarcPolicy::None)
            }
            _ => return None,
        };
        let is_suffix = match get("psd").as_deref() {
            Some("y") => Some(true),
            Some("n") => Some(false),
            _ => None,
        };
        Some(Self {
            policy,
            subdomains,
            missing,
            strict_dkim: is("adkim", "s"),
            strict_spf: is("aspf", "s"),
            is_suffix,
            is_test: is("t", "y"),
        })
    }
}

/// RFC 9989 §4.10: at most eight queries, the second for seven labels.
const WALK_MAX: usize = 8;
