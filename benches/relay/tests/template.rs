//! Checks of `load/template.rs`.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::load::Template;

fn render(template: &str, number: u64, index: usize) -> String {
    let mut out = Vec::new();
    let mut rng = SmallRng::seed_from_u64(1);
    let template: Template = template.parse().unwrap();
    template.write(&mut out, number, index, &mut rng);
    String::from_utf8(out).unwrap()
}

#[test]
fn addresses() {
    let check = |template, expected: &str| assert_eq!(render(template, 1234, 3), expected);
    check("a@b.example", "a@b.example");
    check("user{n}@d{n:100}.example", "user1234@d34.example");
    check("{n}-{i}@d{uniform:1}.x", "1234-3@d0.x");
    check("u{n:1}@d{zipf:1}.example", "u0@d0.example");
}

#[track_caller]
fn refused(template: &str) {
    assert!(template.parse::<Template>().is_err(), "{template}");
}

#[test]
fn what_is_no_template() {
    refused("a{n@b");
    refused("a{x}@b");
    refused("a{zipf}@b");
    refused("a{zipf:0}@b");
    refused("a{zipf:1000001}@b");
    refused("a@b>\r\nRSET");
    refused("é@b");
}

#[test]
fn zipf_s_law() {
    const DRAWS: usize = 200_000;
    let template: Template = "{zipf:10000}".parse().unwrap();
    let mut rng = SmallRng::seed_from_u64(7);
    let mut counts = vec![0_usize; 10_000];
    let mut drawn = Vec::new();
    for _ in 0..DRAWS {
        drawn.clear();
        template.write(&mut drawn, 0, 0, &mut rng);
        let drawn = std::str::from_utf8(&drawn).unwrap();
        counts[drawn.parse::<usize>().unwrap()] += 1;
    }
    // The k-th has 1/k of the first's share, which is 1/H(10000) = 1/9.7876.
    let first = DRAWS as f64 / 9.7876;
    for rank in [1, 2, 3, 10] {
        let share = counts[rank - 1] as f64 / (first / rank as f64);
        assert!((0.93..1.07).contains(&share), "rank {rank}: {share}");
    }
    assert!(
        counts[9000..].iter().sum::<usize>() > 0,
        "the tail is drawn"
    );
}
