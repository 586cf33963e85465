//! The TXT record at `_mta-sts.DOMAIN` (RFC 8461 §3.1).

/// The id of the policy that these TXT records announce; none without exactly one valid record.
pub fn record_id(texts: &[Vec<u8>]) -> Option<Box<str>> {
    let mut records = texts.iter().filter_map(|text| fields(text));
    let record = records.next().filter(|_| records.next().is_none())?;
    let mut id = None;
    // Delimiters may have blanks around them, and the last may end the record.
    let record = record.trim_end_matches(BLANK);
    for field in record.strip_suffix(';').unwrap_or(record).split(';') {
        let (name, value) = field.trim_matches(BLANK).split_once('=')?;
        if !is_name(name) || !value.bytes().all(|b| b.is_ascii_graphic() && b != b'=') {
            return None;
        }
        // A field that comes again counts as in a policy (§3.2): the first alone.
        if name == "id" && id.is_none() {
            let is_id = matches!(value.len(), 1..=ID_OCTETS_MAX)
                && value.bytes().all(|b| b.is_ascii_alphanumeric());
            id = Some(is_id.then_some(value)?);
        }
    }
    id.map(Box::from)
}

/// What follows `v=STSv1;`. Other records are none of ours.
fn fields(text: &[u8]) -> Option<&str> {
    let rest = std::str::from_utf8(text).ok()?.strip_prefix("v=STSv1")?;
    rest.trim_start_matches(BLANK).strip_prefix(';')
}

/// The name of a field, of a record and of a policy alike.
pub(crate) fn is_name(name: &str) -> bool {
    matches!(name.len(), 1..=NAME_OCTETS_MAX)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

pub(crate) const BLANK: [char; 2] = [' ', '\t'];
const ID_OCTETS_MAX: usize = 32;
const NAME_OCTETS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(texts: &[&str], expected: Option<&str>) {
        let texts: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        assert_eq!(record_id(&texts).as_deref(), expected, "{texts:?}");
    }

    #[test]
    fn ids() {
        check(&["v=STSv1; id=20160831085700Z;"], Some("20160831085700Z"));
        check(&["v=STSv1;id=1"], Some("1"));
        check(&["v=STSv1 ;\tid=1 ; "], Some("1"));
        check(&["v=STSv1; new.one=a:b,c; id=1"], Some("1"));
        check(&["v=STSv1; id=1; id=2"], Some("1"));
        check(
            &[&format!("v=STSv1; id={}", "a".repeat(32))],
            Some(&"a".repeat(32)),
        );
        check(
            &["v=spf1 -all", "v=STSv1; id=1", "v=STSv10; id=2"],
            Some("1"),
        );
    }

    #[test]
    fn none() {
        for text in [
            "",
            "v=STSv1",
            "v=STSv1;",
            "v=STSv1; id=",
            "v=STSv1; id=a-b",
            "v=STSv1; id=1;; ",
            "v=STSv1; id=1; x",
            "v=STSv1; id=1; x=a b",
            "v=STSv1; id=1; x=a=b",
            "v=STSv1; -x=1; id=1",
            "v=stsv1; id=1",
            " v=STSv1; id=1",
            "id=1; v=STSv1",
        ] {
            check(&[text], None);
        }
        check(&[&format!("v=STSv1; id={}", "a".repeat(33))], None);
        check(&["v=STSv1; id=1", "v=STSv1; id=1"], None);
        check(&[], None);
        assert_eq!(record_id(&[b"v=STSv1; id=\xff".to_vec()]), None);
    }
}
