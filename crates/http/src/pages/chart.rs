//! The last day, hour by hour, as bars.

use control::HourRow;
use envelope::Timestamp;

use super::words::{number, when};

/// One picture.
pub(crate) struct Chart {
    pub(crate) name: &'static str,
    /// What its colours mean: class and name.
    pub(crate) kinds: &'static [(&'static str, &'static str)],
    pub(crate) most: u64,
    pub(crate) bars: Vec<Bar>,
}

/// One hour.
pub(crate) struct Bar {
    pub(crate) x: usize,
    /// `15`
    pub(crate) hour: String,
    pub(crate) title: String,
    /// From the bottom up: class, y, height.
    pub(crate) parts: Vec<(&'static str, u64, u64)>,
}

/// What got through, and what did not.
pub(crate) fn of_day(hours: &[HourRow], now: Timestamp) -> [Chart; 2] {
    let delivered = |row: &HourRow| vec![row.delivered];
    let others = |row: &HourRow| vec![row.deferred, row.failed, row.refused];
    [
        chart("Delivered", &KINDS[..1], hours, now, delivered),
        chart("Not delivered", &KINDS[1..], hours, now, others),
    ]
}

fn chart(
    name: &'static str,
    kinds: &'static [(&'static str, &'static str)],
    hours: &[HourRow],
    now: Timestamp,
    of: impl Fn(&HourRow) -> Vec<u64>,
) -> Chart {
    let this_hour = now.unix_secs() / 3600;
    let rows = (0..HOURS).map(|x| {
        let at = Timestamp::from_unix_millis((this_hour + 1 + x - HOURS) * 3_600_000);
        let row = hours.iter().find(|row| row.at == at);
        (at, of(&row.cloned().unwrap_or_default()))
    });
    let rows: Vec<_> = rows.collect();
    let most = rows.iter().map(|(_, counts)| counts.iter().sum()).max();
    let most: u64 = most.unwrap_or_default();
    let bar = |(x, (at, counts)): (usize, &(Timestamp, Vec<u64>))| {
        let (mut parts, mut told, mut top) = (Vec::new(), Vec::new(), HEIGHT);
        for ((class, name), count) in kinds.iter().zip(counts) {
            told.push(format!("{} {name}", number(count)));
            // What is there at all is seen.
            let height = (count * HEIGHT / most.max(1)).max(u64::from(*count > 0));
            top = top.saturating_sub(height);
            parts.push((*class, top, height));
        }
        let at = when(at);
        Bar {
            x: x * WIDTH,
            hour: at[11..13].to_owned(),
            title: format!("{}: {}", &at[..16], told.join(", ")),
            parts,
        }
    };
    Chart {
        name,
        kinds,
        most,
        bars: rows.iter().enumerate().map(bar).collect(),
    }
}

const KINDS: [(&str, &str); 4] = [
    ("good", "delivered"),
    ("late", "put off"),
    ("bad", "failed"),
    ("no", "refused"),
];
const HOURS: u64 = 24;
/// Of the picture, without the hours below it.
const HEIGHT: u64 = 100;
/// Of a bar with its gap.
const WIDTH: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_bars() {
        let now: Timestamp = "2026-11-29T15:26:07Z".parse().unwrap();
        let row = HourRow {
            at: "2026-11-29T14:00:00Z".parse().unwrap(),
            refused: 1,
            delivered: 1000,
            deferred: 300,
            failed: 0,
        };
        let [delivered, others] = of_day(&[row], now);
        assert_eq!((delivered.bars.len(), delivered.most), (24, 1000));
        assert_eq!(delivered.bars[22].parts, [("good", 0, 100)]);
        assert_eq!(delivered.bars[23].hour, "15");
        let bar = &others.bars[22];
        assert_eq!(
            bar.title,
            "2026-11-29 14:00: 300 put off, 0 failed, 1 refused"
        );
        assert_eq!(bar.parts, [("late", 1, 99), ("bad", 1, 0), ("no", 0, 1)]);
        assert_eq!(of_day(&[], now)[0].most, 0);
    }
}
