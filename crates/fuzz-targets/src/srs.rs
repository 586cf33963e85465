//! SRS: whatever reverses was signed, and whatever was signed reverses to what it was.

use arbitrary::Arbitrary;
use srs::{Day, Face, ReverseError, Reversed, Separator, Settings, Srs};

use crate::input::{assert_clean, plan};

#[derive(Debug, Arbitrary)]
struct Plan {
    /// Days since 1970.
    today: u16,
    /// How much later it is read.
    later: u16,
    tag_octets: u8,
    separator: u8,
    /// Which octet of the result is changed, and how.
    change_at: u8,
    change: u8,
}

/// `data` is the plan, and a local part, or an address.
pub(crate) fn check(data: &[u8]) {
    let Some((plan, text)) = plan::<Plan>(data) else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let tag_octets = 4 + usize::from(plan.tag_octets) % 24;
    check_reverse(text, plan.today);
    let (local, domain) = text.rsplit_once('@').unwrap_or((text, "first.example"));
    let srs = srs(SECRET, plan.separator, tag_octets);
    check_token(&srs, local, &plan);
    check_face(&srs, local, domain, &plan);
    let Ok(ours) = srs.forward(local, domain, day(plan.today, 0)) else {
        return;
    };
    assert!(ours.len() <= Srs::LOCAL_OCTETS_MAX);
    assert_clean(&ours);
    check_round_trip(&srs, local, domain, &ours, &plan);
    check_second_hop(&ours, &plan);
}

/// A stranger's text: if it reverses, then rewriting what came out gives it again.
fn check_reverse(text: &str, today: u16) {
    // The tag may have been written at any length: sign at its own.
    let tag = text.get(5..).and_then(|rest| rest.split('=').next());
    let tag_octets = tag.map_or(4, str::len).clamp(4, 27);
    let srs = srs(SECRET, 0, tag_octets);
    match srs.reverse(text, day(today, 0)) {
        Ok(Reversed::Srs0 { local, domain }) => {
            // Rewritten, a sender that is SRS itself becomes SRS1: that is another form.
            if srs::looks_like_srs(&local) {
                return;
            }
            let days = (0..=MAX_AGE_DAYS + SKEW_DAYS).map(|n| day(today, SKEW_DAYS - n));
            let made: Vec<_> = days
                .map(|day| srs.forward(&local, &domain, day).map(|made| folded(&made)))
                .collect();
            let too_long = made.iter().all(Result::is_err);
            assert!(too_long || made.contains(&Ok(folded(text))), "{text:?}");
        }
        Ok(Reversed::Srs1 { local, domain }) => {
            let made = srs.forward(&local, &domain, day(today, 0));
            assert!(
                made.is_err() || made.map(|made| folded(&made)) == Ok(folded(text)),
                "{text:?}"
            );
        }
        Ok(Reversed::Token(id)) => assert!(id.bytes().all(|b| b.is_ascii_alphanumeric())),
        Err(_) => {}
    }
}

fn check_round_trip(srs: &Srs, local: &str, domain: &str, ours: &str, plan: &Plan) {
    match srs.reverse(ours, day(plan.today, 0)) {
        Ok(Reversed::Srs0 {
            local: l,
            domain: d,
        }) => {
            assert_eq!((&*l, &*d), (local, domain));
            let later = i32::from(plan.later % 1000);
            let read = srs.reverse(ours, day(plan.today, later));
            let expired = matches!(
                read,
                Err(ReverseError::Expired { .. } | ReverseError::Future)
            );
            assert_eq!(expired, later > MAX_AGE_DAYS, "{read:?}");
        }
        Ok(Reversed::Srs1 { .. }) => assert!(srs::looks_like_srs(local)),
        other => panic!("{ours:?} is read as {other:?}"),
    }
    // A tag that is too short is refused, even if it is right.
    let (tag, rest) = ours[5..].split_once('=').unwrap_or_default();
    let short = format!(
        "{}{}={rest}",
        &ours[..5],
        &tag[..usize::from(plan.change_at % 4)]
    );
    let read = srs.reverse(&short, day(plan.today, 0));
    assert_eq!(read, Err(ReverseError::BadTag), "{short:?}");
    let lower = ours.to_ascii_lowercase();
    assert!(srs.reverse(&lower, day(plan.today, 0)).is_ok(), "{lower:?}");
    let mut changed = ours.to_owned().into_bytes();
    let at = usize::from(plan.change_at) % changed.len();
    changed[at] ^= plan.change;
    if let Ok(changed) = String::from_utf8(changed) {
        check_reverse(&changed, plan.today);
    }
}

/// Another forwarder wraps our address and unwraps it again; wrapping it twice does not nest.
fn check_second_hop(ours: &str, plan: &Plan) {
    let them = srs("theirs", plan.separator / 3, 4);
    let today = day(plan.today, 0);
    let Ok(wrapped) = them.forward(ours, "us.example", today) else {
        return;
    };
    let Ok(Reversed::Srs1 { local, domain }) = them.reverse(&wrapped, today) else {
        panic!("{ours:?} was wrapped as {wrapped:?}, which does not reverse")
    };
    // An SRS1 address keeps the first forwarder's domain, whichever forwarder wraps it.
    if ours.starts_with("SRS0") {
        assert_eq!((&*local, &*domain), (ours, "us.example"));
    }
    let third = srs("third", 0, 4).forward(&wrapped, "them.example", today);
    assert!(
        third.is_err() || third.is_ok_and(|third| third.len() <= wrapped.len()),
        "nested: {wrapped:?}"
    );
}

fn check_token(srs: &Srs, text: &str, plan: &Plan) {
    let id = text.chars().filter(char::is_ascii_alphanumeric);
    let id: String = id.take(Srs::TOKEN_OCTETS_MAX - 1).collect();
    let id = format!("A{}", id.to_ascii_uppercase());
    let token = srs.token(&id, day(plan.today, 0));
    assert!(token.len() <= Srs::LOCAL_OCTETS_MAX && token.is_ascii());
    assert_clean(&token);
    let read = srs.reverse(&token.to_ascii_lowercase(), day(plan.today, 0));
    assert_eq!(read, Ok(Reversed::Token(id)));
}

/// Under a face of the plan: it is read back under that one, and as nothing else.
fn check_face(srs: &Srs, local: &str, domain: &str, plan: &Plan) {
    let today = day(plan.today, 0);
    let faces = ["a+", "a+b-", "x="].map(|text| Face::new(text).ok());
    let face = &faces[usize::from(plan.change) % faces.len()];
    let Some(face) = face else {
        unreachable!("faces that are sound")
    };
    let Ok(ours) = srs.forward_as(Some(face), local, domain, today) else {
        return;
    };
    assert!(ours.len() <= Srs::LOCAL_OCTETS_MAX && !srs::looks_like_srs(&ours));
    let sender = Ok(Reversed::Srs0 {
        local: local.into(),
        domain: domain.into(),
    });
    assert_eq!(srs.reverse_as(face, &ours, today), sender);
    let rest = &ours[face.as_str().len()..];
    // A short tag may be right by chance, and whoever fuzzes finds the chance.
    if rest.split('=').next().is_none_or(|tag| tag.len() < 12) {
        return;
    }
    let moved = srs.reverse(&format!("SRS0={rest}"), today);
    assert_eq!(moved, Err(ReverseError::BadTag));
    for other in faces.iter().flatten().filter(|other| *other != face) {
        assert!(srs.reverse_as(other, &ours, today).is_err());
        let moved = format!("{}{rest}", other.as_str());
        assert!(srs.reverse_as(other, &moved, today).is_err());
    }
}

fn srs(secret: &str, separator: u8, tag_octets: usize) -> Srs {
    let mut settings = Settings::new([secret]);
    settings.separator = match separator % 3 {
        0 => Separator::Equals,
        1 => Separator::Minus,
        _ => Separator::Plus,
    };
    settings.tag_octets = tag_octets;
    let Ok(srs) = Srs::new(settings) else {
        unreachable!("settings within their ranges")
    };
    srs
}

/// `later` days behind `days`.
fn day(days: u16, later: i32) -> Day {
    let days = i64::from(days) + i64::from(later) + FIRST_DAY;
    Day::from_unix_secs(days.unsigned_abs() * 86_400)
}

/// As relays may have folded it, in one alphabet, with one separator.
fn folded(local: &str) -> String {
    let lower = local.to_ascii_lowercase();
    let (name, rest) = lower.split_at_checked(5).unwrap_or((&lower, ""));
    let (tag, rest) = rest.split_once('=').unwrap_or((rest, ""));
    let tag = tag.replace('-', "+").replace('_', "/");
    format!("{}={tag}={rest}", name.get(..4).unwrap_or(name))
}

const SECRET: &str = "ours";
/// As `Settings::new` has them.
const MAX_AGE_DAYS: i32 = 21;
const SKEW_DAYS: i32 = 1;
/// A whole circle, so that days before the first are days too.
const FIRST_DAY: i64 = 1024;
