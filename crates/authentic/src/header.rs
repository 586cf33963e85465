//! The header block of a message, and its fields as they were written.

/// A header block with the places of its fields. Field contents are never changed.
#[derive(Debug, Default)]
pub struct Header {
    block: Vec<u8>,
    fields: Vec<Place>,
    /// Whether a line was neither a field nor the continuation of one.
    is_malformed: bool,
}

/// One field: its name and all behind the colon, the final line end included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Without the colon, as written: blanks before the colon are part of it.
    pub name: &'a [u8],
    /// With folds, the leading blank and the last CRLF.
    pub value: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    colon: u32,
    end: u32,
}

impl Header {
    /// Finds the fields of a block: lines with CRLF, up to and with the empty line if there is one. `Err` says what is
    /// too much.
    pub(crate) fn parse(block: Vec<u8>) -> Result<Self, &'static str> {
        let mut header = Self::default();
        let mut start = 0;
        while start < block.len() {
            let end = memchr::memmem::find(&block[start..], b"\r\n")
                .map_or(block.len(), |at| start + at + 2);
            header.take_line(&block, start, end);
            if header.fields.len() > FIELDS_MAX {
                return Err("too many header fields");
            }
            start = end;
        }
        header.block = block;
        Ok(header)
    }

    fn take_line(&mut self, block: &[u8], start: usize, end: usize) {
        let line = &block[start..end];
        // A block is at most as long as the reader's limit: far below 4 GiB.
        let at = |place: usize| place as u32;
        match (line[0], memchr::memchr(b':', line)) {
            (b'\r', _) if line == b"\r\n" => {}
            (b' ' | b'\t', _) => match self.fields.last_mut() {
                Some(field) => field.end = at(end),
                None => self.is_malformed = true,
            },
            (_, Some(colon)) if colon > 0 => self.fields.push(Place {
                start: at(start),
                colon: at(start + colon),
                end: at(end),
            }),
            _ => self.is_malformed = true,
        }
    }

    /// With these fields above the others.
    pub(crate) fn with_on_top(&self, fields: &str) -> Result<Self, &'static str> {
        Self::parse([fields.as_bytes(), &self.block].concat())
    }

    /// The fields, from the top.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + ExactSizeIterator {
        self.fields.iter().map(|place| Field {
            name: &self.block[place.start as usize..place.colon as usize],
            value: &self.block[place.colon as usize + 1..place.end as usize],
        })
    }

    /// The fields of this name, from the top.
    pub fn named<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = Field<'a>> {
        self.fields().filter(|field| field.is(name))
    }

    /// Whether a line was neither a field nor the continuation of one.
    pub fn is_malformed(&self) -> bool {
        self.is_malformed
    }
}

impl Field<'_> {
    /// Whether this is its name, whatever the case. Blanks before the colon count for nothing (RFC 5322 §4.5).
    pub fn is(&self, name: &str) -> bool {
        self.name
            .trim_ascii_end()
            .eq_ignore_ascii_case(name.as_bytes())
    }
}

/// More than any honest message has; what it bounds is the search for signed fields.
const FIELDS_MAX: usize = 1000;
