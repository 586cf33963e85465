//! Checks of `report/plot.rs`.

use crate::report::figure::Figure;
use crate::report::plot::*;
use crate::report::results::Results;
use crate::report::results::{Point, Repeat};
use crate::scenario::OPEN_LOOP;
use crate::scenario::RELAY;

/// Tags that open and are not closed; text that is not markup.
#[track_caller]
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    for piece in svg.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("every `<` has its `>`");
        let name = tag.split_whitespace().next().unwrap();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{tag}");
        } else if !tag.ends_with('/') && !name.starts_with(['?', '!']) {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    assert!(svg.starts_with("<svg") && !svg.contains("NaN") && !svg.contains("inf"));
}

fn results(scenario: &str, points: &[(usize, f64)]) -> Results {
    let mut results = Results::default();
    for (connections, value) in points {
        for factor in [1.0, 1.1] {
            let mut repeat = Repeat::default();
            repeat
                .set(Figure::Rate, value * factor)
                .set(Figure::Offered, *value)
                .set(Figure::AcceptP50, factor)
                .set(Figure::AcceptP99, 9.0 * factor);
            results.add(
                scenario,
                "Onward",
                &Point::load(*connections, 10_240),
                repeat,
            );
        }
    }
    results
}

#[test]
fn plots_are_well_formed() {
    let points = [(1, 900.0), (10, 5000.0), (100, 11_000.0)];
    let svg = throughput(&results(RELAY, &points)).unwrap();
    assert_well_formed(&svg);
    assert!(svg.contains("Onward") && svg.contains("10 KiB") && svg.contains("connections"));
    let svg = latency(&results(OPEN_LOOP, &points)).unwrap();
    assert_well_formed(&svg);
    assert!(svg.contains("Onward p99") && svg.contains("milliseconds"));
}

#[test]
fn no_plot_without_two_points() {
    assert!(throughput(&results(RELAY, &[(1, 900.0)])).is_none());
    assert!(throughput(&results(RELAY, &[])).is_none());
    assert!(latency(&results(RELAY, &[(1, 900.0), (2, 3.0)])).is_none());
}
