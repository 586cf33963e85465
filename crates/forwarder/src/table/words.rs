//! The words of a line: what blanks and commas part, unless they stand in quotes.

/// Walks through a line; positions are octets from its beginning.
pub(super) struct Words<'a> {
    text: &'a str,
    /// Where the next one is looked for.
    pub(super) at: usize,
}

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next word and where it stands; `None` at the end of the line or before a comment.
    pub(super) fn next_word(&mut self) -> Option<(usize, &'a str)> {
        self.skip_blanks();
        let start = self.at;
        let rest = &self.text[start..];
        if rest.is_empty() || rest.starts_with('#') {
            return None;
        }
        self.at += word_octets(rest, b" \t");
        Some((start, &self.text[start..self.at]))
    }

    pub(super) fn peek_word(&mut self) -> Option<(usize, &'a str)> {
        let before = self.at;
        let word = self.next_word();
        self.at = before;
        word
    }

    /// The next word up to a comma; empty if there is none.
    pub(super) fn next_target(&mut self) -> (usize, &'a str) {
        self.skip_blanks();
        let start = self.at;
        self.at += word_octets(&self.text[start..], b" \t,");
        (start, &self.text[start..self.at])
    }

    /// Steps over a comma, if that is next.
    pub(super) fn next_comma(&mut self) -> bool {
        let before = self.at;
        self.skip_blanks();
        let found = self.text[self.at..].starts_with(',');
        self.at = if found { self.at + 1 } else { before };
        found
    }

    /// All that is left, without blanks around it.
    pub(super) fn take_rest(&mut self) -> (usize, &'a str) {
        self.skip_blanks();
        let start = self.at;
        self.at = self.text.len();
        (start, self.text[start..].trim_end_matches(BLANKS))
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches(BLANKS).len();
    }
}

/// Octets up to the first of `ends` outside quotes. All ends are ASCII, so that the cut is between characters.
pub(super) fn word_octets(text: &str, ends: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if !quoted && ends.contains(&b) => return at,
            _ => {}
        }
    }
    text.len()
}

/// A value without the quotes around it, if it has any; `None` if they do not end, or end within it.
pub(super) fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let (mut text, mut chars) = (String::new(), inner.chars());
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(text),
            '\\' => text.push(chars.next()?),
            other => text.push(other),
        }
    }
}

/// The other way round.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

const BLANKS: [char; 2] = [' ', '\t'];
