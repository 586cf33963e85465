//! The rewriter itself: forward, reverse, and the token for senders that do not fit.

use std::fmt;

use crate::day::Day;
use crate::error::{ForwardError, ReverseError, SettingsError};
use crate::face::Face;
use crate::form::{SRS0, SRS1, Srs0, Srs1, is_plain_domain, strip};
use crate::settings::Settings;
use crate::tag::{Keys, Tag};

/// Rewrites senders and reads rewritten ones back. Cheap to share, costly enough to make that it is made once.
#[derive(Clone)]
pub struct Srs {
    keys: Keys,
    settings: Settings,
}

/// What a rewritten local part stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reversed {
    /// The original sender, its case kept.
    Srs0 {
        /// What stood before the `@`, without quotes.
        local: String,
        /// What stood behind it.
        domain: String,
    },
    /// The first forwarder's own SRS0 address, which only that forwarder can read further.
    Srs1 {
        /// `SRS0=…`, as the first forwarder wrote it.
        local: String,
        /// The first forwarder.
        domain: String,
    },
    /// A token of ours, for the caller to look up: the id that [`Srs::token`] was given.
    Token(String),
}

impl Srs {
    /// The longest local part that we write (RFC 5321 §4.5.3.1.1).
    pub const LOCAL_OCTETS_MAX: usize = 64;

    /// The longest id of a token: beside a whole tag it still fits.
    pub const TOKEN_OCTETS_MAX: usize = 24;

    /// Keys the secrets.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        if settings.secrets.is_empty() {
            return Err(SettingsError::NoSecret);
        }
        if !Settings::TAG_OCTETS.contains(&settings.tag_octets)
            || !(*Settings::TAG_OCTETS.start()..=settings.tag_octets)
                .contains(&settings.tag_octets_min)
        {
            return Err(SettingsError::TagLength);
        }
        if settings.max_age_days > Settings::MAX_AGE_DAYS_MAX
            || settings.skew_days > Settings::SKEW_DAYS_MAX
        {
            return Err(SettingsError::Age);
        }
        let keys = Keys::new(&settings.secrets).ok_or(SettingsError::EmptySecret)?;
        Ok(Self { keys, settings })
    }

    /// How many secrets there are.
    pub fn secrets(&self) -> usize {
        self.settings.secrets.len()
    }

    /// The local part under which mail from `local@domain` is forwarded: SRS0, or SRS1 if it is SRS already.
    ///
    /// A result that would be over 64 octets is an error; but if it needs quotes on the wire, the caller must count
    /// them in. On any error the sender gets a [`token`](Self::token); it is never sent on unchanged.
    pub fn forward(&self, local: &str, domain: &str, today: Day) -> Result<String, ForwardError> {
        self.forward_as(None, local, domain, today)
    }

    /// As [`forward`](Self::forward), or under a face: there a sender that is SRS already is rewritten like any other.
    ///
    /// ```
    /// # use srs::{Day, Face, ReverseError, Reversed, Settings, Srs};
    /// # let srs = Srs::new(Settings::new(["tops3cr3t"])).unwrap();
    /// # let today = Day::from_unix_secs(1_577_836_860);
    /// let face = Face::new("customer+").unwrap();
    /// let local = srs.forward_as(Some(&face), "test", "otherdomain.com", today).unwrap();
    /// assert_eq!(local, "customer+mvOU=2W=otherdomain.com=test");
    /// let sender = Reversed::Srs0 { local: "test".into(), domain: "otherdomain.com".into() };
    /// assert_eq!(srs.reverse_as(&face, &local, today), Ok(sender));
    /// let as_srs0 = local.replace("customer+", "SRS0=");
    /// assert_eq!(srs.reverse(&as_srs0, today), Err(ReverseError::BadTag));
    /// ```
    pub fn forward_as(
        &self,
        face: Option<&Face>,
        local: &str,
        domain: &str,
        today: Day,
    ) -> Result<String, ForwardError> {
        if !is_plain_domain(domain) || local.chars().any(char::is_control) {
            return Err(ForwardError::Inexpressible);
        }
        let srs1 = || self.wrap_again(local).or_else(|| self.wrap(local, domain));
        let srs1 = face.is_none().then(srs1).flatten();
        let rewritten = srs1.unwrap_or_else(|| self.srs0(face, local, domain, today));
        match rewritten.len() {
            0..=Self::LOCAL_OCTETS_MAX => Ok(rewritten),
            _ => Err(ForwardError::TooLong),
        }
    }

    /// What a local part of ours stands for, if we signed it and it has not expired.
    pub fn reverse(&self, local: &str, today: Day) -> Result<Reversed, ReverseError> {
        // Before anything else: the work on hostile input is bounded by this one comparison (CVE-2020-35573).
        if local.len() > INPUT_OCTETS_MAX {
            return Err(ReverseError::TooLong);
        }
        if let Some(rest) = strip(local, SRS0) {
            return self.reverse_srs0(None, &rest[1..], today);
        }
        let rest = strip(local, SRS1).ok_or(ReverseError::NotSrs)?;
        let form = Srs1::parse(rest).ok_or(ReverseError::Malformed)?;
        self.check_tag(form.tag, &[form.domain.as_bytes(), form.opaque.as_bytes()])?;
        Ok(Reversed::Srs1 {
            local: format!("{SRS0}{}", form.opaque),
            domain: form.domain.into(),
        })
    }

    /// As [`reverse`](Self::reverse), of what was made under a face.
    pub fn reverse_as(
        &self,
        face: &Face,
        local: &str,
        today: Day,
    ) -> Result<Reversed, ReverseError> {
        if local.len() > INPUT_OCTETS_MAX {
            return Err(ReverseError::TooLong);
        }
        let rest = face.strip(local).ok_or(ReverseError::NotSrs)?;
        self.reverse_srs0(Some(face), rest, today)
    }

    /// A stand-in for a sender that [`forward`](Self::forward) cannot express: `SRS0=tag=day=id=t`, never in need of
    /// quotes. The id is the name under which the caller keeps the sender until [`expires`](Self::expires): at most
    /// [`TOKEN_OCTETS_MAX`](Self::TOKEN_OCTETS_MAX) capital letters and digits.
    ///
    /// It has the form of SRS0, so that the next forwarder wraps it as SRS1 like any other, with the id in the
    /// place of the domain. The tag covers something that no ordinary SRS0 address can hold, so that neither passes for
    /// the other, whatever senders call themselves.
    ///
    /// ```
    /// # use srs::{Day, ForwardError, Reversed, Settings, Srs};
    /// # let srs = Srs::new(Settings::new(["tops3cr3t"])).unwrap();
    /// # let today = Day::from_unix_secs(1_577_836_860);
    /// let bounces = "bounces+list-subscriber=customer.example.org-1234567890";
    /// assert_eq!(srs.forward(bounces, "lists.example", today), Err(ForwardError::TooLong));
    /// let local = srs.token("ID1", today);
    /// assert_eq!(srs.reverse(&local, today), Ok(Reversed::Token("ID1".into())));
    /// ```
    pub fn token(&self, id: &str, today: Day) -> String {
        self.token_as(None, id, today)
    }

    /// As [`token`](Self::token), or under a face.
    pub fn token_as(&self, face: Option<&Face>, id: &str, today: Day) -> String {
        let [name, text, end] = signed_face(face);
        let tag = self.sign(&[name, text, end, TOKEN_TAG, &today.stamp(), id.as_bytes()]);
        self.write_srs0(face, &tag, today, id, TOKEN_LOCAL)
    }

    /// The second in which an address that is made at another (`made`, since 1970) has expired: how long a token's sender must
    /// be kept. The same for all of a day.
    pub fn expires(&self, made: u64) -> u64 {
        (made / DAY_SECS + u64::from(self.settings.max_age_days) + 1) * DAY_SECS
    }

    /// SRS1 over SRS1: the first forwarder and its opaque part stay, the tag becomes ours. `None` if it is not
    /// SRS1 or not whole; the latter is then rewritten like any sender, and so finds back to who wrote it.
    fn wrap_again(&self, local: &str) -> Option<String> {
        let form = Srs1::parse(strip(local, SRS1)?)?;
        Some(self.srs1(form.domain, form.opaque))
    }

    /// SRS1 over SRS0, foreign ones untouched whatever they hold. `None` if it is not SRS0.
    fn wrap(&self, local: &str, domain: &str) -> Option<String> {
        Some(self.srs1(domain, strip(local, SRS0)?))
    }

    fn srs0(&self, face: Option<&Face>, local: &str, domain: &str, today: Day) -> String {
        let [name, text, end] = signed_face(face);
        let (domain_octets, local_octets) = (domain.as_bytes(), local.as_bytes());
        let tag = self.sign(&[name, text, end, &today.stamp(), domain_octets, local_octets]);
        self.write_srs0(face, &tag, today, domain, local)
    }

    fn write_srs0(
        &self,
        face: Option<&Face>,
        tag: &Tag,
        day: Day,
        domain: &str,
        local: &str,
    ) -> String {
        let tag = tag.cut(self.settings.tag_octets);
        match face {
            Some(face) => format!("{}{tag}={day}={domain}={local}", face.as_str()),
            None => {
                let separator = self.settings.separator.as_char();
                format!("{SRS0}{separator}{tag}={day}={domain}={local}")
            }
        }
    }

    fn srs1(&self, domain: &str, opaque: &str) -> String {
        let tag = self.sign(&[domain.as_bytes(), opaque.as_bytes()]);
        let tag = tag.cut(self.settings.tag_octets);
        let separator = self.settings.separator.as_char();
        format!("{SRS1}{separator}{tag}={domain}={opaque}")
    }

    fn reverse_srs0(
        &self,
        face: Option<&Face>,
        rest: &str,
        today: Day,
    ) -> Result<Reversed, ReverseError> {
        let form = Srs0::parse(rest).ok_or(ReverseError::Malformed)?;
        let day = Day::from_stamp(form.stamp).ok_or(ReverseError::Malformed)?;
        let (stamp, domain) = (form.stamp.as_bytes(), form.domain.as_bytes());
        let [name, text, end] = signed_face(face);
        let as_token = [name, text, end, TOKEN_TAG, stamp, domain];
        let is_token = is_token(&form) && self.check_tag(form.tag, &as_token).is_ok();
        if !is_token {
            let local = form.local.as_bytes();
            self.check_tag(form.tag, &[name, text, end, stamp, domain, local])?;
        }
        self.check_age(day, today)?;
        if is_token {
            return Ok(Reversed::Token(form.domain.to_ascii_uppercase()));
        }
        Ok(Reversed::Srs0 {
            local: form.local.into(),
            domain: form.domain.into(),
        })
    }

    fn sign(&self, parts: &[&[u8]]) -> Tag {
        self.keys.sign(self.settings.alphabet, parts)
    }

    fn check_tag(&self, tag: &str, parts: &[&[u8]]) -> Result<(), ReverseError> {
        if tag.len() >= self.settings.tag_octets_min && self.keys.verify(tag, parts) {
            Ok(())
        } else {
            Err(ReverseError::BadTag)
        }
    }

    /// Past and future meet on the stamp's circle: what lies at most [`Settings::skew_days`] ahead is fresh, the
    /// half behind us has expired, the half ahead is not yet.
    fn check_age(&self, day: Day, today: Day) -> Result<(), ReverseError> {
        let days = today.since(day);
        if days <= self.settings.max_age_days || day.since(today) <= self.settings.skew_days {
            return Ok(());
        }
        Err(match days {
            0..=HALF_CIRCLE => ReverseError::Expired { days },
            _ => ReverseError::Future,
        })
    }
}

impl fmt::Debug for Srs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Srs").field(&self.settings).finish()
    }
}

/// What a tag covers of a face: nothing of `SRS0`, which is what others hash.
fn signed_face(face: Option<&Face>) -> [&[u8]; 3] {
    face.map_or([b""; 3], |face| [FACE_TAG, face.as_str().as_bytes(), b"\0"])
}

/// Whether it may be a token; its tag decides.
fn is_token(form: &Srs0<'_>) -> bool {
    let id = form.domain.as_bytes();
    form.local.eq_ignore_ascii_case(TOKEN_LOCAL)
        && id.len() <= Srs::TOKEN_OCTETS_MAX
        && id.iter().all(u8::is_ascii_alphanumeric)
}

/// Others wrote local parts over 64 octets, and whoever moves over with their secret still reads them. No address in real
/// mail is over this.
const INPUT_OCTETS_MAX: usize = 900;
const DAY_SECS: u64 = 86_400;
const HALF_CIRCLE: u16 = Day::CIRCLE / 2;
const TOKEN_LOCAL: &str = "t";
// What is hashed for tokens and faces begins with a name and a NUL. No SRS0 or SRS1 address hashes a NUL: senders with
// control characters are refused.
const TOKEN_TAG: &[u8] = b"token\0";
const FACE_TAG: &[u8] = b"face\0";

#[cfg(test)]
mod tests;
