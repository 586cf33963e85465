//! Tag lists (RFC 6376 §3.2), read strictly: of two readings of an odd one, an attacker picks what suits him.

/// The tags of one list. Names are told apart by case (§3.2), values have no blanks around them.
#[derive(Debug)]
pub(crate) struct Tags<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Tags<'a> {
    /// Reads a field's value, with its folds, or a record's text. `Err` says what is wrong with it.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        let text = str::from_utf8(text).map_err(|_| "tags are not UTF-8")?;
        if !has_only_folds(text) {
            return Err("control character in tags");
        }
        let mut tags = Vec::new();
        let list = trim(text);
        for spec in list.strip_suffix(';').unwrap_or(list).split(';') {
            let (name, value) = spec.split_once('=').ok_or("tag without `=`")?;
            let name = trim(name);
            let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.bytes().all(is_word) {
                return Err("bad tag name");
            }
            if tags.iter().any(|(other, _)| *other == name) {
                return Err("tag given twice");
            }
            if tags.len() == TAGS_MAX {
                return Err("too many tags");
            }
            tags.push((name, trim(value)));
        }
        Ok(Self(tags))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let mut found = self.0.iter().filter(|(n, _)| *n == name);
        found.next().map(|(_, value)| *value)
    }

    /// The name of the first tag: in records it has to be the version.
    pub(crate) fn first(&self) -> &'a str {
        self.0.first().map_or("", |(name, _)| name)
    }

    /// A decimal number, if the tag is there.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, &'static str> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        // `parse` alone would take a plus sign.
        if !value.bytes().all(|b| b.is_ascii_digit()) {
            return Err("bad number in tag");
        }
        value.parse().map(Some).map_err(|_| "bad number in tag")
    }
}

/// The octets of a base64 value, which may be folded anywhere.
pub(crate) fn base64(value: &str) -> Option<Vec<u8>> {
    let mut compact = value.as_bytes().to_vec();
    compact.retain(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    let octets = data_encoding::BASE64.decode(&compact).ok()?;
    (!octets.is_empty()).then_some(octets)
}

/// The parts of a colon-separated value.
pub(crate) fn parts(value: &str) -> impl Iterator<Item = &str> {
    value.split(':').map(trim)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Whether every control character is a tab or part of a fold: CRLF with a blank behind it, or at the end.
fn has_only_folds(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'\r' => bytes.get(at + 1) == Some(&b'\n'),
        b'\n' => {
            at > 0
                && bytes[at - 1] == b'\r'
                && matches!(bytes.get(at + 1), None | Some(b' ' | b'\t'))
        }
        b'\t' => true,
        byte => !byte.is_ascii_control(),
    })
}

/// Many more than are defined.
const TAGS_MAX: usize = 64;
