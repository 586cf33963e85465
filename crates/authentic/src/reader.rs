//! A message as it streams in: the header block is kept, the body is hashed.

use crate::canonical::{BodyDigest, BodyHash};
use crate::{Action, Canonical, Chain, Dmarc, Header, Results, Spf, Verdict};

/// Reads a message once, in pieces of any size. CRLF ends a line; a lone CR or LF is content.
#[derive(Default)]
pub struct Reader {
    block: Vec<u8>,
    signs: bool,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    InHeader,
    InBody(Header, Vec<BodyHash>),
    /// Nothing of this message can be verified.
    Unreadable(&'static str),
}

/// A message that was read: what verification, signing and sealing need of it.
pub struct Parsed {
    header: Header,
    body: [Option<BodyDigest>; 2],
    /// Why nothing can be said of this message.
    problem: Option<&'static str>,
}

impl Reader {
    /// A reader for a message that we may sign or seal: its body is hashed in the relaxed form in any case.
    pub fn signing() -> Self {
        Self {
            signs: true,
            ..Self::default()
        }
    }

    /// Takes the next piece.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        if matches!(self.state, State::InHeader) {
            bytes = self.feed_header(bytes);
        }
        if let State::InBody(_, hashes) = &mut self.state {
            for hash in hashes {
                hash.feed(bytes);
            }
        }
    }

    /// Takes what belongs to the header block; what is left is body.
    fn feed_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let before = self.block.len();
        let room = HEADER_OCTETS_MAX + END.len() - before;
        self.block
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        let end = if self.block.starts_with(b"\r\n") {
            Some(2)
        } else {
            let from = before.saturating_sub(END.len() - 1);
            memchr::memmem::find(&self.block[from..], END).map(|at| from + at + END.len())
        };
        match end {
            Some(end) => {
                self.block.truncate(end);
                self.end_header();
                &bytes[end - before..]
            }
            None => {
                if self.block.len() > HEADER_OCTETS_MAX {
                    self.block = Vec::new();
                    self.state = State::Unreadable("header too large");
                }
                &[]
            }
        }
    }

    fn end_header(&mut self) {
        self.state = match Header::parse(std::mem::take(&mut self.block)) {
            Ok(header) => {
                let hashes = forms(&header, self.signs).map(BodyHash::new).collect();
                State::InBody(header, hashes)
            }
            Err(problem) => State::Unreadable(problem),
        };
    }

    /// Ends the message.
    pub fn finish(mut self) -> Parsed {
        if matches!(self.state, State::InHeader) {
            self.end_header();
        }
        let mut parsed = Parsed {
            header: Header::default(),
            body: [None; 2],
            problem: None,
        };
        match self.state {
            State::InBody(header, hashes) => {
                parsed.header = header;
                for hash in hashes {
                    let form = hash.form();
                    parsed.body[form as usize] = Some(hash.finish());
                }
            }
            State::Unreadable(problem) => parsed.problem = Some(problem),
            State::InHeader => {}
        }
        parsed
    }
}

impl Parsed {
    /// The header, empty if it was too large.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The SHA-256 of the body in this form, if it was asked for.
    pub fn body_hash(&self, form: Canonical) -> Option<[u8; 32]> {
        self.body[form as usize].map(|digest| digest.sha256)
    }

    /// Verifies what the header claims. `now` is in seconds since 1970.
    pub async fn verify(
        &self,
        _resolver: &impl dns::Resolver,
        _spf: Spf<'_>,
        _now: u64,
    ) -> Results {
        Results {
            dkim: Vec::new(),
            arc: Chain {
                verdict: Verdict::None,
                reason: "",
                instance: 0,
                domain: None,
                is_closed: false,
            },
            dmarc: Dmarc {
                verdict: Verdict::None,
                reason: "",
                from: None,
                policy: Action::None,
                owner: None,
            },
        }
    }

    /// Why nothing can be said of this message: its header is too large.
    pub fn problem(&self) -> Option<&'static str> {
        self.problem
    }
}

/// In which forms the body has to be hashed.
fn forms(_header: &Header, signs: bool) -> impl Iterator<Item = Canonical> {
    [Canonical::Simple, Canonical::Relaxed]
        .into_iter()
        .filter(move |form| signs && *form == Canonical::Relaxed)
}

const HEADER_OCTETS_MAX: usize = 256 * 1024;
const END: &[u8] = b"\r\n\r\n";
