//! Tagged fields: the grammar under every payload and index row.
//!
//! A field is `tag: u8`, `length: varint` (LEB128, at most 5 octets), then that many octets. An unknown tag is skipped,
//! so that an older program can read what a newer one of the same format version added. Numbers are varints of up to
//! 10 octets. Nothing here trusts its input: a length beyond the end is an error, never a panic or an allocation.

/// Why octets are not what they should be: damage, or a stranger's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Writes fields.
#[derive(Debug, Default)]
pub(crate) struct FieldWriter(pub(crate) Vec<u8>);

impl FieldWriter {
    pub(crate) fn bytes(&mut self, tag: u8, value: &[u8]) {
        self.0.push(tag);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, tag: u8, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    pub(crate) fn text_if_any(&mut self, tag: u8, value: Option<&str>) {
        if let Some(value) = value {
            self.text(tag, value);
        }
    }

    pub(crate) fn number(&mut self, tag: u8, value: u64) {
        let mut inner = Self(Vec::with_capacity(10));
        inner.varint(value);
        self.bytes(tag, &inner.0);
    }

    /// A field made of fields.
    pub(crate) fn nested(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(tag, &inner.0);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Reads fields; an iterator of tag and value that ends at the end or behind the first error.
#[derive(Debug, Clone)]
pub(crate) struct FieldReader<'a>(pub(crate) &'a [u8]);

impl<'a> FieldReader<'a> {
    fn field(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (tag, rest) = self.0.split_first().ok_or(Malformed("no field"))?;
        let (length, rest) = varint(rest)?;
        let length = usize::try_from(length).map_err(|_| Malformed("length of a field"))?;
        let (value, rest) = rest
            .split_at_checked(length)
            .ok_or(Malformed("field beyond the end"))?;
        self.0 = rest;
        Ok((*tag, value))
    }
}

impl<'a> Iterator for FieldReader<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// A whole field that is one number.
pub(crate) fn number(value: &[u8]) -> Result<u64, Malformed> {
    match varint(value)? {
        (number, []) => Ok(number),
        _ => Err(Malformed("number with a tail")),
    }
}

/// A number of 32 bits.
pub(crate) fn number32(value: &[u8]) -> Result<u32, Malformed> {
    u32::try_from(number(value)?).map_err(|_| Malformed("number over 32 bits"))
}

/// What stands behind the `@` of an address.
pub(crate) fn host_of(mailbox: &[u8]) -> Result<&str, Malformed> {
    Ok(text(mailbox)?.rsplit('@').next().unwrap_or_default())
}

pub(crate) fn text(value: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(value).map_err(|_| Malformed("text is not UTF-8"))
}

fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && bits > 1 {
            break;
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[i + 1..]));
        }
    }
    Err(Malformed("number without an end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut writer = FieldWriter::default();
            writer.number(7, value);
            let fields: Result<Vec<_>, _> = FieldReader(&writer.0).collect();
            let fields = fields.unwrap();
            assert_eq!(fields.len(), 1);
            assert_eq!((fields[0].0, number(fields[0].1)), (7, Ok(value)));
        }
    }

    #[track_caller]
    fn check_refused(bytes: &[u8]) {
        assert!(FieldReader(bytes).any(|field| field.is_err()), "{bytes:?}");
    }

    #[test]
    fn hostile_lengths_are_errors() {
        check_refused(&[1]);
        check_refused(&[1, 2, 0]);
        check_refused(&[
            1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
        ]);
        check_refused(&[
            1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
        ]);
        assert!(number(&[0x80]).is_err());
        assert!(number(&[1, 1]).is_err());
        assert!(number32(&[0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
    }
}
