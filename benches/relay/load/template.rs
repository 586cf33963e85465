//! Addresses by the million from one line of text: `user{n}@d{zipf:10000}.example`.
//!
//! `{n}` is the message's number, `{n:K}` the number modulo K, `{i}` the recipient's index in its message, `{uniform:K}` one of K drawn
//! evenly, `{zipf:K}` one of K drawn with weights 1, 1/2, 1/3, … as mail is spread over domains. Draws are from 0 to K − 1.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand::{Rng, RngExt};

/// A parsed line.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateError(String);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Number,
    Modulo(u64),
    Index,
    Uniform(u64),
    /// The sums of the weights up to each rank: a draw is a search in it.
    Zipf(Arc<[f64]>),
}

impl Template {
    /// Appends the address for recipient (or sender) `index` of message `number`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, number: u64, index: usize, rng: &mut impl Rng) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Number => decimal(out, number),
                Part::Modulo(modulus) => decimal(out, number % modulus),
                Part::Index => decimal(out, index as u64),
                Part::Uniform(count) => decimal(out, rng.random_range(0..*count)),
                Part::Zipf(sums) => decimal(out, zipf(sums, rng)),
            }
        }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let wrong = |what: &str| TemplateError(format!("`{text}`: {what}"));
        if text
            .bytes()
            .any(|b| b <= b' ' || matches!(b, b'<' | b'>' | 0x7f..))
        {
            return Err(wrong(
                "an address has no spaces, no brackets, and ASCII only",
            ));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after
                .split_once('}')
                .ok_or_else(|| wrong("a `{` without its `}`"))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::parse(name).ok_or_else(|| {
                wrong("in braces may stand n, n:K, i, uniform:K, zipf:K, with K from 1 to 1000000")
            })?);
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }
}

impl Part {
    fn parse(name: &str) -> Option<Self> {
        let (name, count) = match name.split_once(':') {
            None => (name, None),
            Some((name, count)) => {
                let count = count.parse().ok();
                (name, Some(count.filter(|k| (1..=COUNT_MAX).contains(k))?))
            }
        };
        Some(match (name, count) {
            ("n", None) => Self::Number,
            ("n", Some(count)) => Self::Modulo(count),
            ("i", None) => Self::Index,
            ("uniform", Some(count)) => Self::Uniform(count),
            ("zipf", Some(count)) => Self::Zipf(sums(count)),
            _ => return None,
        })
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

fn sums(count: u64) -> Arc<[f64]> {
    let mut sum = 0.0;
    let weights = (1..=count).map(|rank| 1.0 / rank as f64);
    weights
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect()
}

fn zipf(sums: &[f64], rng: &mut impl Rng) -> u64 {
    let Some(all) = sums.last() else {
        unreachable!("a draw is from at least one");
    };
    let drawn = rng.random::<f64>() * all;
    let rank = sums.partition_point(|sum| *sum <= drawn);
    rank.min(sums.len() - 1) as u64
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The largest K.
const COUNT_MAX: u64 = 1_000_000;
