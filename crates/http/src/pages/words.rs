//! Numbers, times and spans as people read them.

use envelope::Timestamp;

/// `1,234,567`.
pub(crate) fn number(number: &u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What is said below a table that so many rows were left out of.
pub(crate) fn more(left_out: &u64) -> String {
    match left_out {
        0 => String::new(),
        _ => format!("{} more are not shown.", number(left_out)),
    }
}

/// `2026-11-29 15:26:07`, in UTC as everywhere.
pub(crate) fn when(at: &Timestamp) -> String {
    let text = at.to_string();
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

/// The two largest units of a span: `3d 4h`, `5m 2s`.
pub(crate) fn span(secs: u64) -> String {
    let parts = [
        (secs / 86400, "d"),
        (secs / 3600 % 24, "h"),
        (secs / 60 % 60, "m"),
        (secs % 60, "s"),
    ];
    let first = parts.iter().position(|part| part.0 > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2);
    let shown = shown.filter(|part| part.0 > 0 || parts[first].0 == 0);
    let shown: Vec<_> = shown
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    shown.join(" ")
}

pub(crate) fn millis(millis: &Option<u64>) -> String {
    match millis {
        None => "–".to_owned(),
        Some(millis) if *millis < 1000 => format!("{millis} ms"),
        Some(millis) if *millis < 60_000 => format!("{}.{} s", millis / 1000, millis / 100 % 10),
        Some(millis) => span(millis / 1000),
    }
}

/// `1.5 GiB`.
pub(crate) fn octets(octets: &u64) -> String {
    let power = (octets.checked_ilog2().unwrap_or(0) / 10).min(4);
    let tenths = (octets * 10) >> (10 * power);
    let unit = ["octets", "KiB", "MiB", "GiB", "TiB"][power as usize];
    match power {
        0 => format!("{octets} {unit}"),
        _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// So much of a text as fits into a row.
pub(crate) fn short(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(SHORT).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

const SHORT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read() {
        assert_eq!(number(&0), "0");
        assert_eq!(number(&1_234_567), "1,234,567");
        assert_eq!(more(&1000) + &more(&0), "1,000 more are not shown.");
        for (secs, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (302, "5m 2s"),
            (3 * 86400 + 60, "3d"),
            (90_000, "1d 1h"),
        ] {
            assert_eq!(span(secs), text);
        }
        assert_eq!(octets(&1023), "1023 octets");
        assert_eq!(octets(&(3 << 29)), "1.5 GiB");
        assert_eq!(millis(&Some(1250)), "1.2 s");
        let at = "2026-11-29T15:26:07.123Z".parse().unwrap();
        assert_eq!(when(&at), "2026-11-29 15:26:07");
        assert_eq!(short(&"ü".repeat(1000)).chars().count(), SHORT + 1);
    }
}
