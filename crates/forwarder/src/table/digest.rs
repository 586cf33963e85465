//! Whether two hosts have the same forwards: a number that their lines make, in whatever order they stand.

use super::words::Words;
use super::{Table, line_text};

impl Table {
    /// The same for every table with these lines, of any host and version; comments and blanks do not count. Reads all of it at
    /// the first call.
    pub fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| {
            let lines = self.lines.numbers();
            let hashes = lines.map(|at| hash(line_text(&self.text, at)));
            hashes.fold(0, u64::wrapping_add)
        })
    }
}

/// FNV-1a, and a last step that spreads it: a sum of such numbers tells tables apart, if nobody means to deceive.
pub(super) fn hash(line: &str) -> u64 {
    let mut words = Words::of(line);
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    while let Some((_, word)) = words.next_word() {
        let blank = if word.ends_with(',') { "" } else { " " };
        for octet in word.bytes().chain(blank.bytes()) {
            hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> u64 {
        Table::parse("forwards", text.into()).unwrap().digest()
    }

    #[test]
    fn order_blanks_and_comments_do_not_count() {
        let one = digest("a@x.test b@y.test,c@y.test srs=off\n@x.test d@y.test\n");
        let same = "# ours\n@x.test\td@y.test\r\n\n a@x.test  b@y.test, c@y.test srs=off # Ann";
        assert_eq!(one, digest(same));
        for other in [
            "",
            "@x.test d@y.test\n",
            "a@x.test b@y.test,c@y.test\n@x.test d@y.test\n",
            "a@x.test b@y.test,c@z.test srs=off\n@x.test d@y.test\n",
        ] {
            assert_ne!(one, digest(other), "{other}");
        }
    }
}
