//! Questions, answers and measures in words, for an explanation.

use std::fmt;

use crate::filtered::Judgement;
use crate::limited::{Beyond, Limited};
use crate::measures::{DMARC, Dmarc, Measures, Name, SPF, Spf};
use crate::question::{Answer, CredentialsFound, Destination, Hosted, Question, Route, Srs};
use crate::sender::{Blocklisted, Callout, DmarcFound, Identity, SpfFound};

/// What it is about.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials => f.write_str("whether user name and password are right"),
            Self::Route => f.write_str("where the mail goes"),
            Self::SrsBudget(_) | Self::TakeSrsBudget(_) => {
                f.write_str("what the sender behind the SRS address may still get today")
            }
            Self::Limits(_) | Self::TakeLimits => f.write_str("limits, and who is frozen"),
            Self::Listed(_) => f.write_str("lists that name sender or client"),
            Self::Spf => f.write_str("SPF"),
            Self::Dnsbl(_) => f.write_str("blocklists"),
            Self::Callout => f.write_str("the sender's own mail server"),
            Self::Authentic => f.write_str("DMARC"),
            Self::Filter(_) => f.write_str("content filters"),
            Self::Pressure => f.write_str("whether its targets take what comes for them"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = |left: bool| {
            if left {
                "another message"
            } else {
                "nothing more"
            }
        };
        match self {
            Self::Credentials(found) => found.fmt(f),
            Self::Route(route) => route.fmt(f),
            Self::SrsBudgetLeft(yes) | Self::SrsBudgetTaken(yes) => f.write_str(left(*yes)),
            Self::Limits(limited) | Self::LimitsTaken(limited) => limited.fmt(f),
            Self::Listed(lists) => each(f, lists, |on| if *on { "on it" } else { "not on it" }),
            Self::Spf(found) => found.fmt(f),
            Self::Dnsbl(zones) => each(f, zones, |said| match said {
                Blocklisted::No => "not listed",
                Blocklisted::Yes(_) => "listed",
                Blocklisted::Unknown => "no answer",
            }),
            Self::Callout(said) => said.fmt(f),
            Self::Authentic(dmarc) => dmarc.fmt(f),
            Self::Filter(said) => each(f, said, |said| match said.judgement {
                Judgement::Pass => "takes it",
                Judgement::Refuse(_) => "refuses it",
                Judgement::Hold(_) => "holds it",
                Judgement::Discard => "throws it away",
                Judgement::Unknown => "no answer",
                Judgement::NotAsked => "would be asked",
            }),
            Self::Pressure { share: 0, .. } => f.write_str("they do"),
            Self::Pressure { share, .. } => write!(f, "they do not, {share} % of it is put off"),
        }
    }
}

fn each<T>(
    f: &mut fmt::Formatter<'_>,
    named: &[(Name, T)],
    word: impl Fn(&T) -> &'static str,
) -> fmt::Result {
    let words = named
        .iter()
        .map(|(name, said)| format!("{name}: {}", word(said)));
    f.write_str(&words.collect::<Vec<_>>().join(", "))
}

impl fmt::Display for CredentialsFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Right(user) => write!(f, "right, {} logs in", user.name),
            Self::Wrong => f.write_str("wrong"),
            Self::Unknown(why) => write!(f, "could not be checked: {why}"),
        }
    }
}

/// Which is reached, or what is left.
impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Some((limit, Beyond::Frozen)) => write!(f, "frozen by {limit}"),
            Some((limit, _)) => write!(f, "{limit} is reached"),
            None if self.left.is_empty() => f.write_str("none is reached"),
            None => {
                let left = self.left.iter();
                let words = left.map(|(limit, left)| format!("{limit}: {left} left"));
                f.write_str(&words.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.destination {
            Destination::Srs(Srs::Valid(sender)) => {
                write!(f, "an SRS address of ours, back to {sender}")
            }
            Destination::Srs(_) => f.write_str("an SRS address of ours that is not valid"),
            Destination::Hosted(Hosted::Found) => match self.targets {
                0 => f.write_str("a hosted address whose mail is discarded"),
                1 => f.write_str("a hosted address, 1 target"),
                more => write!(f, "a hosted address, {more} targets"),
            },
            Destination::Hosted(Hosted::Refused(_)) => {
                f.write_str("a hosted address that is refused")
            }
            Destination::Hosted(Hosted::Unknown) => {
                f.write_str("a hosted domain without this address")
            }
            Destination::Relay => f.write_str("a relay domain"),
            // Its measures are never asked.
            Destination::Foreign => return f.write_str("not a domain of ours"),
            Destination::Undecided => f.write_str("cannot be looked up now"),
        }?;
        if self.online.is_some() {
            f.write_str("; the destination answers")?;
        }
        match *self.measures == Measures::default() {
            true => Ok(()),
            false => write!(f, "; measures: {}", self.measures),
        }
    }
}

fn named<T: PartialEq>(choices: &[(&'static str, T)], choice: T) -> &'static str {
    let found = choices.iter().find(|(_, known)| *known == choice);
    found.map_or("", |(name, _)| name)
}

/// Those that do something, as a line would choose them.
impl fmt::Display for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = vec![
            (self.spf != Spf::Off).then(|| format!("spf={}", named(&SPF, self.spf))),
            (self.dmarc != Dmarc::Off).then(|| format!("dmarc={}", named(&DMARC, self.dmarc))),
            self.verify_sender
                .then(|| "verify_sender=reject".to_owned()),
        ];
        let lists = [
            ("sender_block", &*self.sender_block),
            ("sender_exempt", &*self.sender_exempt),
            ("spf_force", &*self.spf_force),
            ("dnsbl", &*self.dnsbl),
            ("sign", self.sign.as_slice()),
            ("seal", self.seal.as_slice()),
            ("filter", &*self.filter),
            ("egress", self.egress.as_slice()),
        ];
        words.extend(lists.map(|(name, value)| {
            let names = (!value.is_empty()).then(|| value.join(","));
            names.map(|names| format!("{name}={names}"))
        }));
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for SpfFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            result,
            identity,
            domain,
            reason,
            hello,
            ..
        } = self;
        let of = match identity {
            Identity::MailFrom => "the reverse path",
            Identity::Hello => "the name in EHLO",
        };
        write!(f, "{} for {domain}, {of} ({reason})", result.name())?;
        match hello {
            Some(hello) => write!(f, "; {} for the name in EHLO", hello.name()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Callout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("takes mail for the sender"),
            Self::Refused { server, reason } => {
                let server = server.as_deref().unwrap_or("it");
                write!(f, "{server} takes no mail for the sender: {reason}")
            }
            Self::Unknown(why) => write!(f, "could not be asked: {why}"),
            Self::Exempt => f.write_str("is not to be asked"),
        }
    }
}

impl fmt::Display for DmarcFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none: the From domain has no policy"),
            Self::Pass => f.write_str("pass"),
            Self::Fail { policy, owner } => {
                write!(f, "fail, and {owner} asks for p={}", policy.name())
            }
            Self::TempError => f.write_str("temperror"),
            Self::PermError(reason) => write!(f, "permerror: {reason}"),
            Self::Unreadable => f.write_str("permerror: the header is too large"),
        }
    }
}
