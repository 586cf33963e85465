//! The author: the one address of the one From field (RFC 9989 §4.3), if nobody can read it in another way.
//!
//! Mail programs differ in what they make of an odd From, and a forger sends what makes the one that judges see another
//! address than the one that shows. So it is read twice, by a strict reader here and by `mail-parser`, which forgives as
//! mail programs do; and whatever these do not both see in the same way has no author.

use envelope::Domain;
use mail_parser::{Message, MessageParser};

use crate::{Field, Header};

/// The author's domain, or why there is none.
pub(crate) fn domain(header: &Header) -> Result<Domain, &'static str> {
    if header.is_malformed() {
        return Err("line in the header that is no field");
    }
    let mut froms = header.fields().filter(looks_like_from);
    let from = froms.next().ok_or("no From field")?;
    if froms.next().is_some() {
        return Err("more than one From field");
    }
    if !from.name.eq_ignore_ascii_case(b"from") {
        return Err("odd name of the From field");
    }
    if from.value.len() > FROM_OCTETS_MAX {
        return Err("From field too large");
    }
    let value = str::from_utf8(from.value).map_err(|_| "From field is not UTF-8")?;
    let value = value.replace("\r\n", "");
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("control character in the From field");
    }
    let address = address(&value)?;
    if !is_read_alike(from, &address) {
        return Err("From field can be read in several ways");
    }
    let (local_part, domain) = address.rsplit_once('@').ok_or("From without address")?;
    if local_part.is_empty() || local_part.contains(is_odd) {
        return Err("bad address in the From field");
    }
    domain.parse().map_err(|_| "bad domain in the From field")
}

/// Whose message it looks like to the forgiving reader where nobody can tell the author for sure: no domain is proved by it, but
/// a forger must not get past its policy with an odd From. A list of authors in several domains is exempt from DMARC.
pub(crate) fn suspects(header: &Header, why: &'static str) -> Vec<Domain> {
    let mut found: Vec<Domain> = Vec::new();
    for from in header.fields().filter(looks_like_from) {
        let message = parse_forgiving(&from);
        let addresses = message.as_ref().and_then(|message| message.from());
        let seen = addresses.into_iter().flat_map(|addresses| addresses.iter());
        let seen = seen.filter_map(|seen| seen.address()?.rsplit_once('@'));
        found.extend(seen.filter_map(|(_, domain)| domain.parse::<Domain>().ok()));
    }
    found.dedup();
    if why == LIST && found.len() > 1 {
        return Vec::new();
    }
    // Mail programs show the first or the last: however many a forger puts between, one of these is whom he forges.
    if found.len() > 2 * ENDS {
        found.drain(ENDS..found.len() - ENDS);
    }
    found
}

/// Whether some reader may take it for From: whatever it has besides letters.
fn looks_like_from(field: &Field<'_>) -> bool {
    let letters = field.name.iter().filter(|b| b.is_ascii_graphic());
    letters.map(u8::to_ascii_lowercase).eq(*b"from")
}

/// The address of a mailbox (RFC 5322 §3.4): `name <address>`, or nothing but the address. Comments and quoted names are
/// skipped; a list, a group and a second pair of angle brackets are errors.
fn address(value: &str) -> Result<String, &'static str> {
    let (mut outside, mut angle) = (String::new(), None::<String>);
    let mut place = Place::Outside;
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        place = match (place, c) {
            (Place::Quotes | Place::Comment(_), '\\') => {
                characters.next();
                place
            }
            (Place::Quotes, '"') | (Place::Comment(1), ')') | (Place::Angle, '>') => Place::Outside,
            (Place::Comment(depth), ')') => Place::Comment(depth - 1),
            (Place::Comment(depth), '(') => Place::Comment(depth + 1),
            (Place::Quotes | Place::Comment(_), _) => place,
            (Place::Outside, '(') => Place::Comment(1),
            (Place::Outside, '<') if angle.is_none() => {
                angle = Some(String::new());
                outside.clear();
                Place::Angle
            }
            (Place::Outside, ',' | ';') => return Err(LIST),
            (Place::Outside, '<' | '>' | '\\' | ':' | '[' | ']' | ')') => {
                return Err("odd character in the From field");
            }
            (_, c) => {
                let text = if place == Place::Angle {
                    angle.as_mut()
                } else {
                    None
                };
                text.unwrap_or(&mut outside).push(c);
                if c == '"' { Place::Quotes } else { place }
            }
        };
    }
    if place != Place::Outside {
        return Err("open quotes, comment or angle bracket in the From field");
    }
    let behind = outside.trim();
    match angle {
        Some(angle) if behind.is_empty() => Ok(angle.trim().to_owned()),
        Some(_) => Err("text behind the address of the From field"),
        None => Ok(behind.to_owned()),
    }
}

/// Where a character of a mailbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Quotes,
    Comment(usize),
    Angle,
}

/// Whether the forgiving reader sees the same and only address, and no other one in what it shows as the name.
fn is_read_alike(from: Field<'_>, address: &str) -> bool {
    let message = parse_forgiving(&from);
    let Some(from) = message.as_ref().and_then(|message| message.from()) else {
        return false;
    };
    let mut seen = from.iter();
    let is_same = |seen: &mail_parser::Addr<'_>| {
        seen.address() == Some(address)
            && !seen.name().is_some_and(|name| name.contains(['<', '>']))
    };
    seen.next().is_some_and(is_same) && seen.next().is_none()
}

fn parse_forgiving(from: &Field<'_>) -> Option<Message<'static>> {
    let line = [b"From:", from.value, b"\r\n"].concat();
    let message = MessageParser::default().parse_headers(&line);
    message.map(Message::into_owned)
}

/// What no local part holds without quotes, and no quotes are taken.
fn is_odd(c: char) -> bool {
    c.is_whitespace() || "\"(),:;<>@[\\]".contains(c)
}

/// Room for a long name with folds and encoded words.
const FROM_OCTETS_MAX: usize = 4096;
const LIST: &str = "more than one address in the From field";
/// Suspects at each end.
const ENDS: usize = 2;
