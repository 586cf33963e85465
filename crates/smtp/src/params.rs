//! Parameters of MAIL and RCPT (RFC 5321 §4.1.2): `SP keyword[=value]` behind the path.
//!
//! Known are SIZE, BODY, SMTPUTF8, REQUIRETLS, RET, ENVID (MAIL) and NOTIFY, ORCPT (RCPT). Everything else is refused with 555,
//! BODY=BINARYMIME with 504; a parameter given twice is an error. Nothing is allocated: values stay borrowed.
//!
//! ENVID and ORCPT hold what the sender's side wants to read again in a notice. A value that cannot be read is dropped,
//! and the mail goes on without it: others write an SRS address there with its `=` as it is, and to refuse that would refuse
//! the bounce. AUTH (RFC 4954 §5) is for servers that trust the client's word on who sent the mail: we do not, and drop it.

use envelope::{BodyKind, Notify, OriginalRecipient, Return};

use crate::command::{WORD_OCTETS_MAX, upper_case};
use crate::limits;
use crate::xtext::Xtext;

/// What stands behind the path of MAIL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailParams<'a> {
    /// `SIZE=` in octets (RFC 1870); a number beyond 64 bits is kept as the largest.
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: Option<BodyKind>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `REQUIRETLS` (RFC 8689 §3).
    pub require_tls: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// `ENVID=` (RFC 3461 §4.4).
    pub envid: Option<Xtext<'a>>,
    /// The parameters that were dropped.
    pub dropped: &'static [&'static str],
}

/// What stands behind the path of RCPT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RcptParams<'a> {
    /// `NOTIFY=` (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// `ORCPT=` (RFC 3461 §4.2).
    pub original: Option<OriginalParam<'a>>,
    /// There was one that was dropped.
    pub original_dropped: bool,
}

/// `ORCPT=kind;address`, the address still in xtext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginalParam<'a> {
    /// The address type, an atom.
    pub kind: &'a str,
    /// The address.
    pub address: Xtext<'a>,
}

/// Why a parameter is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No such parameter here: 555 (RFC 5321 §4.1.1.11).
    #[error("parameter not known")]
    Unknown,
    /// A value that the standard has and we have not: 504.
    #[error("parameter value not implemented")]
    NotImplemented,
    /// Not a parameter, a bad value, or given twice: 501.
    #[error("bad parameter or value")]
    Bad,
}

impl<'a> MailParams<'a> {
    /// Reads everything behind the path; empty, or beginning with a blank.
    pub fn parse(text: &'a str) -> Result<Self, ParamError> {
        let mut params = Self::default();
        let (mut envid, mut auth) = (None, None);
        for (keyword, value) in split(text) {
            match upper_case(keyword, &mut [0; WORD_OCTETS_MAX]) {
                b"SIZE" => set(&mut params.size, parse_size(value)?)?,
                b"BODY" => set(&mut params.body, parse_body(value)?)?,
                b"SMTPUTF8" => set_flag(&mut params.smtputf8, value)?,
                b"REQUIRETLS" => set_flag(&mut params.require_tls, value)?,
                b"RET" => set(&mut params.ret, parse_ret(value)?)?,
                b"ENVID" => set(&mut envid, parse_envid(value))?,
                b"AUTH" => set(&mut auth, value.ok_or(ParamError::Bad)?)?,
                _ => return Err(unknown(keyword)),
            }
        }
        params.dropped = match (envid, auth) {
            (Some(None), Some(_)) => &["ENVID", "AUTH"],
            (Some(None), None) => &["ENVID"],
            (_, Some(_)) => &["AUTH"],
            (_, None) => &[],
        };
        params.envid = envid.flatten();
        Ok(params)
    }
}

impl<'a> RcptParams<'a> {
    /// Reads everything behind the path; empty, or beginning with a blank.
    pub fn parse(text: &'a str) -> Result<Self, ParamError> {
        let mut params = Self::default();
        let mut original = None;
        for (keyword, value) in split(text) {
            match upper_case(keyword, &mut [0; WORD_OCTETS_MAX]) {
                b"NOTIFY" => set(&mut params.notify, parse_notify(value)?)?,
                b"ORCPT" => set(&mut original, parse_orcpt(value))?,
                _ => return Err(unknown(keyword)),
            }
        }
        params.original_dropped = original == Some(None);
        params.original = original.flatten();
        Ok(params)
    }
}

impl OriginalParam<'_> {
    /// As the envelope keeps it: decoded.
    pub fn decode(self) -> OriginalRecipient {
        OriginalRecipient {
            kind: self.kind.into(),
            address: self.address.decode(),
        }
    }
}

/// Blanks at the end or doubled are common and harmless.
fn split(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let words = text.split(' ').filter(|word| !word.is_empty());
    words.map(|word| match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    })
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), ParamError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ParamError::Bad),
    }
}

fn set_flag(flag: &mut bool, value: Option<&str>) -> Result<(), ParamError> {
    match value.is_some() || std::mem::replace(flag, true) {
        false => Ok(()),
        true => Err(ParamError::Bad),
    }
}

/// 555 is for what looks like a parameter, 501 for the rest (RFC 5321 §4.1.2: `esmtp-keyword`).
fn unknown(keyword: &str) -> ParamError {
    let mut bytes = keyword.bytes();
    let well_formed = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if well_formed {
        ParamError::Unknown
    } else {
        ParamError::Bad
    }
}

fn parse_size(value: Option<&str>) -> Result<u64, ParamError> {
    parse_octets(value.unwrap_or_default()).ok_or(ParamError::Bad)
}

/// 1 to 20 digits (RFC 1870 §4). Twenty digits can exceed 64 bits: such a size is over any limit all the same.
pub(crate) fn parse_octets(digits: &str) -> Option<u64> {
    let well_formed = (1..=limits::SIZE_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit());
    well_formed.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn parse_body(value: Option<&str>) -> Result<BodyKind, ParamError> {
    match upper_case(value.unwrap_or_default(), &mut [0; WORD_OCTETS_MAX]) {
        b"7BIT" => Ok(BodyKind::SevenBit),
        b"8BITMIME" => Ok(BodyKind::EightBitMime),
        b"BINARYMIME" => Err(ParamError::NotImplemented),
        _ => Err(ParamError::Bad),
    }
}

fn parse_ret(value: Option<&str>) -> Result<Return, ParamError> {
    match upper_case(value.unwrap_or_default(), &mut [0; WORD_OCTETS_MAX]) {
        b"FULL" => Ok(Return::Full),
        b"HDRS" => Ok(Return::Headers),
        _ => Err(ParamError::Bad),
    }
}

fn parse_envid(value: Option<&str>) -> Option<Xtext<'_>> {
    let fits =
        |value: &&str| (1..=limits::ENVID_OCTETS_MAX).contains(&value.len()) && value.is_ascii();
    Xtext::new(value.filter(fits)?).ok()
}

/// NEVER stands alone; the others may be listed in any order, each once.
fn parse_notify(value: Option<&str>) -> Result<Notify, ParamError> {
    let value = value.ok_or(ParamError::Bad)?;
    let mut notify = Notify::NEVER;
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(notify);
    }
    for wish in value.split(',') {
        let slot = match upper_case(wish, &mut [0; WORD_OCTETS_MAX]) {
            b"SUCCESS" => &mut notify.success,
            b"FAILURE" => &mut notify.failure,
            b"DELAY" => &mut notify.delay,
            _ => return Err(ParamError::Bad),
        };
        if std::mem::replace(slot, true) {
            return Err(ParamError::Bad);
        }
    }
    Ok(notify)
}

fn parse_orcpt(value: Option<&str>) -> Option<OriginalParam<'_>> {
    let (kind, address) = value
        .filter(|value| value.len() <= limits::ORCPT_OCTETS_MAX)?
        .split_once(';')?;
    // `atom` of RFC 5322, of which the registered types use letters, digits and the hyphen.
    let is_atom = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    // Characters outside ASCII only where RFC 6533 §3 put them.
    let is_ascii = address.is_ascii() || kind.eq_ignore_ascii_case("utf-8");
    if !is_atom || !is_ascii || address.is_empty() {
        return None;
    }
    let address = Xtext::new(address).ok()?;
    Some(OriginalParam { kind, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_mail(input: &str, expected: Result<MailParams<'_>, ParamError>) {
        assert_eq!(MailParams::parse(input), expected, "{input:?}");
    }

    #[test]
    fn mail() {
        check_mail("", Ok(MailParams::default()));
        check_mail("  ", Ok(MailParams::default()));
        let all = MailParams {
            size: Some(10),
            body: Some(BodyKind::EightBitMime),
            smtputf8: true,
            require_tls: true,
            ret: Some(Return::Headers),
            envid: Xtext::new("a+2Bb").ok(),
            dropped: &[],
        };
        check_mail(
            " size=10 BODY=8bitmime SMTPUTF8 requiretls RET=HDRS ENVID=a+2Bb ",
            Ok(all),
        );
        let huge = MailParams {
            size: Some(u64::MAX),
            ..Default::default()
        };
        check_mail(" SIZE=99999999999999999999", Ok(huge));
        for bad in [
            " SIZE=",
            " SIZE",
            " SIZE=-1",
            " SIZE=+1",
            " SIZE=1 SIZE=1",
            " SIZE=999999999999999999999",
            " BODY",
            " BODY=9BIT",
            " SMTPUTF8=1",
            " SMTPUTF8 SMTPUTF8",
            " REQUIRETLS=1",
            " REQUIRETLS REQUIRETLS",
            " RET=HALF",
            " ENVID=a ENVID=a",
            " ENVID=a=b ENVID=a",
            " AUTH",
            " AUTH=<> AUTH=<>",
            " =",
            " ü=1",
            " -A",
            " X_Y=1",
        ] {
            check_mail(bad, Err(ParamError::Bad));
        }
    }

    #[test]
    fn mail_with_what_is_not_read() {
        let long = format!(" ENVID={}", "a".repeat(101));
        let unread = [
            " ENVID",
            " ENVID=",
            " ENVID=a=b",
            " ENVID=+0A",
            " ENVID=\u{fc}",
            &long,
        ];
        let without = |dropped| {
            Ok(MailParams {
                dropped,
                ..MailParams::default()
            })
        };
        for envid in unread {
            check_mail(envid, without(&["ENVID"]));
        }
        check_mail(" AUTH=<>", without(&["AUTH"]));
        check_mail(" auth=a+2Bb@c.d ENVID=", without(&["ENVID", "AUTH"]));
        check_mail(" BODY=BINARYMIME", Err(ParamError::NotImplemented));
        for unknown in [" NOTIFY=NEVER", " X", " SIZE2=1", " MT-PRIORITY=3"] {
            check_mail(unknown, Err(ParamError::Unknown));
        }
    }

    #[track_caller]
    fn check_notify(input: &str, expected: Option<&str>) {
        let text = format!(" NOTIFY={input}");
        let got = RcptParams::parse(&text)
            .ok()
            .and_then(|params| params.notify);
        assert_eq!(
            got.map(|notify| notify.to_string()).as_deref(),
            expected,
            "{input:?}"
        );
    }

    #[test]
    fn notify() {
        check_notify("never", Some("NEVER"));
        check_notify("DELAY,SUCCESS", Some("SUCCESS,DELAY"));
        check_notify("success,failure,delay", Some("SUCCESS,FAILURE,DELAY"));
        for bad in ["", "NEVER,SUCCESS", "SUCCESS,", "SUCCESS,SUCCESS", "MAYBE"] {
            check_notify(bad, None);
        }
    }

    #[track_caller]
    fn check_orcpt(input: &str, expected: Option<(&str, &str)>) {
        let text = format!(" ORCPT={input}");
        let params = RcptParams::parse(&text).unwrap();
        assert_eq!(params.original_dropped, expected.is_none(), "{input:?}");
        let got = params.original;
        let got = got.map(OriginalParam::decode);
        let got = got
            .as_ref()
            .map(|original| (&*original.kind, &*original.address));
        assert_eq!(got, expected, "{input:?}");
    }

    #[test]
    fn orcpt() {
        check_orcpt("rfc822;a+2Bb@c.d", Some(("rfc822", "a+b@c.d")));
        check_orcpt("utf-8;ü@c.d", Some(("utf-8", "ü@c.d")));
        check_orcpt("rfc822;a;b", Some(("rfc822", "a;b")));
        for dropped in [
            "rfc822;SRS0=tag=JK=a.example=b@c.d",
            "",
            "rfc822",
            ";a@b",
            "rfc822;",
            "rfc822;a+0D+0Ab",
            "rfc822;ü@c.d",
            "a=b;c",
            "rfc822;a+",
        ] {
            check_orcpt(dropped, None);
        }
        check_orcpt(&format!("rfc822;{}", "a".repeat(494)), None);
        let twice = RcptParams::parse(" ORCPT=rfc822;a=b ORCPT=rfc822;a");
        assert_eq!(twice, Err(ParamError::Bad));
    }
}
