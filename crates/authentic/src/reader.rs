//! A message as it streams in: the header block is kept, the body is hashed.

use envelope::Domain;
use futures_util::future::join_all;

use crate::canonical::{BodyDigest, BodyHash};
use crate::chain::Set;
use crate::dkim::Candidate;
use crate::signature::{Signature, Signer};
use crate::texts::Texts;
use crate::{Canonical, Dmarc, Field, Header, Results, Spf, Verdict, author, chain, dkim, dmarc};

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
    InBody(Header, Claims, Vec<BodyHash>),
    /// Nothing of this message can be verified.
    Unreadable(&'static str),
}

/// A message that was read: what verification, signing and sealing need of it.
pub struct Parsed {
    header: Header,
    claims: Claims,
    body: Body,
    /// Why nothing can be said of this message.
    problem: Option<&'static str>,
}

/// The hashes of a body, by form.
#[derive(Default)]
pub(crate) struct Body([Option<BodyDigest>; 2]);

/// What the header claims.
struct Claims {
    dkim: Vec<Candidate>,
    arc: chain::Form,
    author: Result<Domain, &'static str>,
    /// Whose message it may look like, if that cannot be told.
    suspects: Vec<Domain>,
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
        while matches!(self.state, State::InHeader) && !bytes.is_empty() {
            bytes = self.feed_header(bytes);
        }
        if let State::InBody(.., hashes) = &mut self.state {
            for hash in hashes {
                hash.feed(bytes);
            }
        }
    }

    /// Takes some of the header block; what is left is to be fed next.
    fn feed_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let before = self.block.len();
        let room = HEADER_OCTETS_MAX + END.len() - before;
        let piece = &bytes[..bytes.len().min(room).min(PIECE_OCTETS)];
        self.block.extend_from_slice(piece);
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
                &bytes[piece.len()..]
            }
        }
    }

    fn end_header(&mut self) {
        self.state = match Header::parse(std::mem::take(&mut self.block)) {
            Ok(header) => {
                let claims = Claims::read(&header);
                let is_needed = |form: &Canonical| {
                    let mut signatures = claims.signatures();
                    (self.signs && *form == Canonical::Relaxed)
                        || signatures.any(|signature| signature.body_form == *form)
                };
                let forms = [Canonical::Simple, Canonical::Relaxed]
                    .into_iter()
                    .filter(is_needed);
                let hashes = forms.map(BodyHash::new).collect();
                State::InBody(header, claims, hashes)
            }
            Err(problem) => State::Unreadable(problem),
        };
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.block.capacity()
    }

    /// Ends the message.
    pub fn finish(mut self) -> Parsed {
        if matches!(self.state, State::InHeader) {
            self.end_header();
        }
        let (header, claims, hashes, problem) = match self.state {
            State::InBody(header, claims, hashes) => (header, claims, hashes, None),
            State::Unreadable(problem) => (
                Header::default(),
                Claims::none(problem),
                Vec::new(),
                Some(problem),
            ),
            State::InHeader => unreachable!("ended above"),
        };
        let mut body = Body::default();
        for hash in hashes {
            let form = hash.form();
            body.0[form as usize] = Some(hash.finish());
        }
        Parsed {
            header,
            claims,
            body,
            problem,
        }
    }
}

impl Parsed {
    /// The header, empty if it was too large.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Fields of ours go above its own: a signature covers them.
    pub fn put_on_top(&mut self, fields: &str) {
        // If they are too many now, nothing is changed, and it is signed as it came.
        if let Ok(header) = self.header.with_on_top(fields) {
            self.claims = Claims::read(&header);
            self.header = header;
        }
    }

    /// The domain of the one author, if nobody can read another one in From.
    pub fn author(&self) -> Option<&Domain> {
        self.claims.author.as_ref().ok()
    }

    /// The SHA-256 of the body in this form, if it was asked for.
    pub fn body_hash(&self, form: Canonical) -> Option<[u8; 32]> {
        self.body.digest(form).map(|digest| digest.sha256)
    }

    /// Verifies what the header claims. `now` is in seconds since 1970.
    ///
    /// All names that are known to be needed are asked for at once: keys, and the policy of the author's domain. Only names of
    /// domains that sign for others of their organisation take a second round.
    pub async fn verify(&self, resolver: &impl dns::Resolver, spf: Spf<'_>, now: u64) -> Results {
        let Self {
            header,
            body,
            claims,
            ..
        } = self;
        let mut texts = Texts::default();
        texts.ask(resolver, claims.names(body, now)).await;
        let dkim: Vec<_> = claims
            .dkim
            .iter()
            .map(|claim| claim.verify(header, body, &texts, now))
            .collect();
        let arc = chain::verify(&claims.arc, header, body, &texts, now);
        let mut dmarc = match &claims.author {
            Ok(author) => dmarc::evaluate(author, &dkim, spf, &mut texts, resolver).await,
            Err(reason) => Dmarc::unclear(reason),
        };
        let judged = claims.suspects.iter().map(async |suspect| {
            let mut texts = texts.clone();
            dmarc::evaluate(suspect, &dkim, spf, &mut texts, resolver).await
        });
        for found in join_all(judged).await {
            if found.verdict == Verdict::Fail && found.policy > dmarc.policy {
                dmarc = Dmarc {
                    reason: dmarc.reason,
                    ..found
                };
            }
        }
        Results { dkim, arc, dmarc }
    }

    /// The fields of the ARC sets, in the order in which the next seal covers them; `None` if the chain's form is broken.
    pub(crate) fn arc_fields(&self) -> Option<Vec<Field<'_>>> {
        let sets = self.claims.arc.as_ref().ok()?;
        let fields: Vec<_> = self.header.fields().collect();
        Some(
            sets.iter()
                .flat_map(Set::places)
                .map(|at| fields[at])
                .collect(),
        )
    }

    /// Why nothing can be said of this message: its header is too large.
    pub fn problem(&self) -> Option<&'static str> {
        self.problem
    }
}

impl Body {
    pub(crate) fn digest(&self, form: Canonical) -> Option<BodyDigest> {
        self.0[form as usize]
    }
}

impl Claims {
    fn read(header: &Header) -> Self {
        let author = author::domain(header);
        let suspects = match author {
            Ok(_) => Vec::new(),
            Err(why) => author::suspects(header, why),
        };
        Self {
            dkim: dkim::candidates(header, author.as_ref().ok()),
            arc: chain::read(header),
            author,
            suspects,
        }
    }

    /// Of a message that cannot be read.
    fn none(problem: &'static str) -> Self {
        Self {
            dkim: vec![Candidate::unread(problem)],
            arc: Err(problem),
            author: Err(problem),
            suspects: Vec::new(),
        }
    }

    /// The signatures over the body.
    fn signatures(&self) -> impl Iterator<Item = &Signature> {
        let dkim = self.dkim.iter().filter_map(Candidate::signature);
        let arc = self.arc.iter().flatten().next_back();
        dkim.chain(arc.map(|set| &set.signature))
    }

    /// What to ask DNS for. The key of a signature that does not hold anyway is not worth a question.
    fn names(&self, body: &Body, now: u64) -> impl Iterator<Item = String> {
        let holds = move |signature: &&Signature| {
            let digest = body.digest(signature.body_form);
            signature.check_body(digest, now).is_ok()
        };
        let signers = self
            .signatures()
            .filter(holds)
            .map(|signature| &signature.signer);
        let sealers = self.arc.iter().flatten().map(|set| &set.sealer);
        let keys = signers.chain(sealers).map(Signer::key_name);
        let authors = self.author.iter().chain(&self.suspects);
        keys.chain(authors.flat_map(dmarc::names))
    }
}

const HEADER_OCTETS_MAX: usize = 256 * 1024;
/// Most headers end within two: the body behind one is not to be copied with it.
const PIECE_OCTETS: usize = 2048;
const END: &[u8] = b"\r\n\r\n";
