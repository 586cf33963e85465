//! Whole messages, signed by a signer of the tests, that may say whatever a row wants it to say.

mod arc;
mod dkim;
mod dmarc;
mod hostile;

use std::sync::LazyLock;

use data_encoding::BASE64;
use dns::Fixed;

use crate::signature::put_unsigned;
use crate::{Canonical, Field, Header, Key, Kind, Parsed, Reader, Results, Spf};

const NOW: u64 = 1_795_900_000;

const MESSAGE: &str =
    "From: Ann <ann@author.test>\r\nTo: b@example.net\r\nSubject: x\r\n\r\nhello\r\n";

static RSA: LazyLock<Key> = LazyLock::new(|| key("s", Kind::Rsa2048));
static ED: LazyLock<Key> = LazyLock::new(|| key("e", Kind::Ed25519));

fn key(selector: &str, kind: Kind) -> Key {
    let (domain, selector) = ("author.test".parse().unwrap(), selector.parse().unwrap());
    Key::generate(domain, selector, kind).unwrap().0
}

/// DNS with both keys, for `author.test` and, as others have them too, `list.test`.
fn zone() -> Fixed {
    let mut zone = Fixed::new();
    for (selector, key) in [("s", &RSA), ("e", &ED)] {
        for domain in ["author.test", "list.test", "mail.author.test"] {
            zone = zone.with_txt(
                format!("{selector}._domainkey.{domain}"),
                key.record().unwrap(),
            );
        }
    }
    zone
}

/// The rows of a table: one a line, cells between `|`. `\\n`, `\\t`, `\\0` and `\\1` stand for control characters.
fn rows<const CELLS: usize>(table: &str) -> impl Iterator<Item = [String; CELLS]> {
    let lines = table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let cells = line.split('|').map(|cell| {
            let cell = cell.trim().replace("\\n", "\r\n").replace("\\t", "\t");
            cell.replace("\\0", "\0").replace("\\1", "\u{1}")
        });
        cells
            .collect::<Vec<_>>()
            .try_into()
            .unwrap_or_else(|_| panic!("cells of {line}"))
    })
}

/// A list of tags with one change: `+ tag` adds one, `old => new` replaces.
fn edited(text: &str, edit: &str) -> String {
    if let Some(tag) = edit.strip_prefix("+ ") {
        return format!("{text}; {tag}");
    }
    let (old, new) = edit.split_once("=>").unwrap();
    let (old, new) = (old.trim(), new.trim());
    assert!(text.contains(old), "{edit}");
    text.replace(old, new)
}

fn read(message: &[u8]) -> Parsed {
    let mut reader = Reader::default();
    reader.feed(message);
    reader.finish()
}

async fn verify(message: &str, zone: &Fixed) -> Results {
    read(message.as_bytes()).verify(zone, Spf::Other, NOW).await
}

/// The value of a tag in a list of tags that may be odd: the last of that name.
fn tag<'a>(tags: &'a str, name: &str) -> &'a str {
    let specs = tags.split(';').filter_map(|spec| spec.split_once('='));
    let mut found = specs.filter(|(other, _)| other.trim().eq_ignore_ascii_case(name));
    found.next_back().map_or("", |(_, value)| value.trim())
}

/// `name: tags; b=…` on top of the message. `{bh}` among the tags is the hash of the body. Signed is what they say.
fn signed(message: &str, name: &str, tags: &str) -> String {
    let forms = tag(tags, "c");
    let (header_form, body_form) = forms.split_once('/').unwrap_or((forms, "simple"));
    let form = |word| match word {
        "relaxed" => Canonical::Relaxed,
        _ => Canonical::Simple,
    };
    let (header, body) = message.split_once("\r\n\r\n").unwrap();
    let mut hash = crate::canonical::BodyHash::new(form(body_form));
    hash.feed(body.as_bytes());
    let tags = tags.replace("{bh}", &BASE64.encode(&hash.finish().sha256));
    let header = Header::parse(format!("{header}\r\n").into_bytes()).unwrap();
    let mut data = Vec::new();
    let mut left: Vec<_> = header.fields().collect();
    for name in tag(&tags, "h").split(':') {
        if let Some(at) = left.iter().rposition(|field| field.is(name.trim())) {
            form(header_form).put_field(left.remove(at), &mut data);
        }
    }
    complete(name, &tags, form(header_form), data) + message
}

/// The field with its signature: over `data`, then itself. The signature comes last, or where the tags say `{b}`, with a
/// blank inside, as folding leaves one.
fn complete(name: &str, tags: &str, form: Canonical, mut data: Vec<u8>) -> String {
    let tags = match tags.contains("{b}") {
        true => tags.to_owned(),
        false => format!("{tags}; b={{b}}"),
    };
    let value = format!(" {}\r\n", tags.replace("{b}", ""));
    let field = Field {
        name: name.as_bytes(),
        value: value.as_bytes(),
    };
    put_unsigned(field, form, &mut data);
    let key = if tag(&tags, "a").starts_with("ed") {
        &ED
    } else {
        &RSA
    };
    let signature = key.sign(&data).unwrap();
    let (start, end) = signature.split_at(70);
    format!(
        "{name}: {}\r\n",
        tags.replace("{b}", &format!("{start} {end}"))
    )
}
