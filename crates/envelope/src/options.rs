//! Options of a forward that stay with its legs: `name=value name=value`.

use std::str::FromStr;

/// Options of a leg, each name once. They are stored and shown as text, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegOptions(Box<str>);

/// What the sender of a message has asked of TLS on its way (RFC 8689).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SenderTls {
    /// Nothing.
    #[default]
    AsUsual,
    /// `REQUIRETLS`: nobody gets it but by TLS with a host that has proved its name, and that asks the same of the next.
    Required,
    /// `TLS-Required: No`: it arrives even where the recipients' own policies cannot be kept.
    NotRequired,
}

/// A text that is no list of options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not options: `name=value`, each name once, {} octets at most",
    LegOptions::OCTETS_MAX
)]
pub struct NotOptions;

impl LegOptions {
    /// Octets of all options together, as written.
    pub const OCTETS_MAX: usize = 1024;
    /// The names of those that choose how mail goes to its host.
    const WAY: [&str; 3] = ["egress", SENDER_TLS, "tls"];

    /// The value of an option.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut options = self.0.split(' ').filter_map(|word| word.split_once('='));
        options.find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Those that choose how mail goes to its host.
    #[must_use]
    pub fn way(&self) -> Self {
        let is_way = |word: &&str| Self::WAY.iter().any(|name| is_named(word, name));
        let words: Vec<&str> = self.0.split(' ').filter(is_way).collect();
        Self(words.join(" ").into())
    }

    /// What the sender of the message has asked of TLS.
    pub fn sender_tls(&self) -> SenderTls {
        match self.get(SENDER_TLS) {
            Some("yes") => SenderTls::Required,
            Some("no") => SenderTls::NotRequired,
            _ => SenderTls::AsUsual,
        }
    }

    /// With that instead of what they said of it.
    #[must_use]
    pub fn with_sender_tls(self, asked: SenderTls) -> Self {
        let option = match asked {
            SenderTls::AsUsual => return self,
            SenderTls::Required => "requiretls=yes",
            SenderTls::NotRequired => "requiretls=no",
        };
        let others = self.0.split(' ').filter(|word| !word.is_empty());
        let others = others.filter(|word| !is_named(word, SENDER_TLS));
        let mut words: Vec<&str> = others.chain([option]).collect();
        words.sort_unstable();
        Self(words.join(" ").into())
    }

    /// With one more; as they are if they have this one, or if that would be too much.
    #[must_use]
    pub fn or(&self, name: &str, value: &str) -> Self {
        match self.get(name) {
            Some(_) => self.clone(),
            None => format!("{} {name}={value}", self.0)
                .parse()
                .unwrap_or_else(|_| self.clone()),
        }
    }

    /// The text form: what [`LegOptions::from_str`] reads.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LegOptions {
    type Err = NotOptions;

    fn from_str(text: &str) -> Result<Self, NotOptions> {
        let mut words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        words.sort_unstable();
        let name = |word: &&str| word.split_once('=').map_or("", |(name, _)| name).to_owned();
        let names: Vec<String> = words.iter().map(name).collect();
        let sound = text.len() <= Self::OCTETS_MAX
            && !text.contains(|c: char| c.is_control())
            && !names.iter().any(String::is_empty)
            && names.windows(2).all(|pair| pair[0] != pair[1]);
        sound
            .then(|| Self(words.join(" ").into()))
            .ok_or(NotOptions)
    }
}

fn is_named(word: &str, name: &str) -> bool {
    word.split_once('=').is_some_and(|(known, _)| known == name)
}

const SENDER_TLS: &str = "requiretls";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let options = text.parse::<LegOptions>().ok();
        assert_eq!(options.as_ref().map(LegOptions::as_str), expected, "{text}");
    }

    #[test]
    fn options_are_sorted_and_bounded() {
        check("", Some(""));
        check("tls=dane  egress=bulk", Some("egress=bulk tls=dane"));
        check("a= b=x=y", Some("a= b=x=y"));
        for bad in ["a", "=a", "a=\n", "a=1 a=2", "a=1 a-b=3 a=2"] {
            check(bad, None);
        }
        let longest = format!("a={}", "x".repeat(1022));
        check(&longest, Some(&longest));
        check(&format!("{longest}x"), None);
    }

    #[test]
    fn an_option_is_found_by_its_name() {
        let options: LegOptions = "tls=dane egress=bulk".parse().unwrap();
        assert_eq!(options.get("tls"), Some("dane"));
        assert_eq!(options.get("tl"), None);
        assert_eq!(options.sender_tls(), SenderTls::AsUsual);
        for asked in [SenderTls::Required, SenderTls::NotRequired] {
            let asking = options.clone().with_sender_tls(asked);
            assert_eq!(asking.sender_tls(), asked);
            assert_eq!(asking.as_str().parse(), Ok(asking.clone()));
            let again = asking.with_sender_tls(SenderTls::Required);
            assert_eq!(again.as_str(), "egress=bulk requiretls=yes tls=dane");
        }
        let more = options.or("egress", "main").or("srs", "off");
        assert_eq!(more.as_str(), "egress=bulk srs=off tls=dane");
    }
}
