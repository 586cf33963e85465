//! What the campaign chooses at random: sizes, recipients, bodies, moments. The same seed gives the same choices.

use std::sync::Arc;
use std::time::Duration;

use super::world::{AddressNumber, World};

/// splitmix64 (Steele, Lea, Flood 2014): small, and the same on every machine and in every version.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

/// A message as a client offers it, again and again until it hears 250.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) id: u64,
    pub(super) recipients: Vec<AddressNumber>,
    /// Offered with BDAT (RFC 3030) instead of DATA.
    pub(super) chunked: bool,
    body: Body,
}

/// A part of the pool: most of what clients hold in memory is held once.
#[derive(Clone)]
struct Body {
    pool: Pool,
    start: usize,
    octets: usize,
}

/// Text to cut bodies from: lines with dots in front, 8-bit text, empty lines.
#[derive(Clone)]
pub(super) struct Pool {
    text: Arc<Vec<u8>>,
    lines: Arc<Vec<usize>>,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for one part, so that what one part draws does not change another's lots.
    pub(super) fn part(&self, part: u64) -> Self {
        let mut dice = Self(self.0 ^ part.wrapping_mul(GOLDEN));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0. Its bias is below 2⁻⁴⁰ for all ends here.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether something happens that does so once in `n` times.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A span of time between two others.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_micros()).expect("a short time");
        least + Duration::from_micros(self.below(span + 1))
    }

    /// 1 octet to 5 MiB, most of them small: mean about 26 KB.
    fn size(&mut self) -> usize {
        let (least, most) = match self.below(1000) {
            0..300 => (1, 200),
            300..800 => (200, 8 << 10),
            800..970 => (8 << 10, 64 << 10),
            970..997 => (64 << 10, 1 << 20),
            _ => (1 << 20, OCTETS_MAX as u64),
        };
        // Within a class the smaller half is four times as likely.
        let middle = least + (most - least) / 2;
        let (least, most) = if self.one_in(5) {
            (middle, most)
        } else {
            (least, middle)
        };
        usize::try_from(least + self.below(most - least + 1)).expect("at most 5 MiB")
    }

    /// 1 to 8, most often 1.
    fn recipients(&mut self, world: &World) -> Vec<AddressNumber> {
        let count = match self.below(10) {
            // Others would be refused beside the first: each has a destination of its own.
            _ if world.online => 1,
            0..5 => 1,
            5..8 => 2 + self.below(2),
            _ => 4 + self.below(5),
        };
        let mut recipients: Vec<_> = (0..count).map(|_| world.draw(self)).collect();
        recipients.sort_unstable();
        recipients.dedup();
        recipients
    }
}

impl Draft {
    pub(super) fn draw(id: u64, dice: &mut Dice, world: &World, pool: &Pool) -> Self {
        let octets = dice.size();
        let lines = pool.lines.as_slice();
        let line = usize::try_from(dice.below(lines.len() as u64)).expect("an index");
        Self {
            id,
            recipients: dice.recipients(world),
            chunked: dice.one_in(4),
            body: Body {
                pool: pool.clone(),
                start: lines[line],
                octets,
            },
        }
    }

    /// Header and body, lines ended by CRLF: what must arrive byte for byte.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let Body {
            pool,
            start,
            octets,
        } = &self.body;
        let id = self.id;
        let mut bytes =
            format!("From: m{id}@sender.test\r\nSubject: campaign {id}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&pool.text[*start..start + octets]);
        // A cut between CR and LF would leave a bare CR, which is no mail.
        if bytes.ends_with(b"\r") {
            bytes.pop();
            bytes.push(b'z');
        }
        if !bytes.ends_with(b"\r\n") {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }
}

impl Pool {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let (mut text, mut lines) = (Vec::new(), Vec::new());
        while text.len() < OCTETS_MAX + STARTS_OCTETS {
            if text.len() < STARTS_OCTETS {
                lines.push(text.len());
            }
            let octets = usize::try_from(dice.below(900)).expect("small");
            match dice.below(6) {
                0 => text.extend_from_slice(&b"..."[..1 + octets % 3]),
                1 => {}
                2 => text.extend_from_slice("ü".repeat(octets / 2).as_bytes()),
                3 => text.extend_from_slice(format!(".{}", "x".repeat(octets)).as_bytes()),
                _ => {
                    let words = (0..octets / 17).map(|_| format!("{:016x} ", dice.next()));
                    text.extend_from_slice(words.collect::<String>().as_bytes());
                }
            }
            text.extend_from_slice(b"\r\n");
        }
        Self {
            text: Arc::new(text),
            lines: Arc::new(lines),
        }
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// The longest body.
const OCTETS_MAX: usize = 5 << 20;
/// Bodies begin at the lines within the pool's first so many octets.
const STARTS_OCTETS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_mail() {
        let (world, pool) = (World::new(false), Pool::new(7));
        let draw = |seed: u64| {
            let mut dice = Dice::new(seed).part(3);
            let drafts = (0..500).map(|id| Draft::draw(id, &mut dice, &world, &pool));
            drafts
                .map(|draft| (draft.recipients.clone(), draft.bytes()))
                .collect::<Vec<_>>()
        };
        let mail = draw(1);
        assert!(mail == draw(1));
        assert!(mail != draw(2));
        let sizes: Vec<_> = mail.iter().map(|(_, bytes)| bytes.len()).collect();
        assert!(sizes.iter().any(|&size| size < 300) && sizes.iter().any(|&size| size > 1 << 16));
        for (recipients, bytes) in mail {
            assert!((1..=8).contains(&recipients.len()));
            let text = bytes.split(|&byte| byte == b'\n');
            let (last, lines) = text
                .collect::<Vec<_>>()
                .split_last()
                .map(|(l, r)| (l.len(), r.to_vec()))
                .unwrap();
            assert_eq!(last, 0);
            assert!(
                lines
                    .iter()
                    .all(|line| line.len() <= 999 && line.ends_with(b"\r"))
            );
        }
    }
}
