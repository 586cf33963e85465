//! Rows and their lines.

use super::*;

fn parser(line: &str) -> Result<String, String> {
    forwarder::table::Table::key_of(line, &|_, _| Ok(()))
}

fn row(text: &str) -> Row {
    let mut columns = text
        .split('|')
        .map(|column| (column != "NULL").then(|| column.to_owned()));
    Row([(); 3].map(|()| columns.next().flatten()))
}

#[track_caller]
fn check(rows: &[&str], expected: &str, left_out: usize) {
    let mut all = Rows::default();
    rows.iter().for_each(|text| all.add(row(text)));
    let rendered = all.render(&parser);
    assert_eq!(
        (&*rendered.text, rendered.left_out),
        (expected, left_out),
        "{:?}",
        rendered.examples
    );
    assert_eq!(rendered.lines, expected.lines().count());
}

#[test]
fn rows_become_lines() {
    check(&["a@x.example|b@y.example"], "a@x.example b@y.example\n", 0);
    check(
        &["A@X.example| b@y.example,\r\nc@y.example  b@y.example "],
        "a@x.example b@y.example, c@y.example\n",
        0,
    );
    check(
        &["a@x.example|b@y.example", "A@x.example|c@y.example"],
        "a@x.example b@y.example, c@y.example\n",
        0,
    );
    check(
        &["b@x.example|t@y.example", "a@x.example|t@y.example"],
        "a@x.example t@y.example\nb@x.example t@y.example\n",
        0,
    );
    check(
        &["a@x.example|b@y.example|srs=off  spf=off\n"],
        "a@x.example b@y.example srs=off spf=off\n",
        0,
    );
    check(
        &["a@x.example|\"b, c\"@y.example"],
        "a@x.example \"b, c\"@y.example\n",
        0,
    );
}

#[test]
fn catch_alls_are_written_in_three_ways() {
    for typed in ["@x.example", "*@x.example", "x.example"] {
        check(
            &[&format!("{typed}|b@y.example")],
            "@x.example b@y.example\n",
            0,
        );
    }
    check(
        &["@x.example|b@y.example", "x.example|c@y.example"],
        "@x.example b@y.example, c@y.example\n",
        0,
    );
    check(&["@x.example|@y.example"], "@x.example @y.example\n", 0);
}

#[test]
fn what_is_no_line_is_left_out() {
    check(
        &[
            "NULL|b@y.example",
            "a@x.example|NULL",
            "a@x.example|t@y.example",
        ],
        "a@x.example t@y.example\n",
        2,
    );
    check(&["a@x.example|", "a@x.example| , "], "", 1);
    check(&["a@x.example evil@y.example,|b@y.example"], "", 1);
    check(
        &["a@x.example|b@y.example, nonsense"],
        "a@x.example b@y.example\n",
        1,
    );
    check(&["a@x.example|nonsense, /dev/null"], "", 2);
    check(
        &["a@x.example|b@y.example\nb@x.example evil@y.example"],
        "a@x.example b@y.example, b@x.example, evil@y.example\n",
        0,
    );
}

#[test]
fn a_mailbox_of_that_place_is_not_forwarded() {
    let refused = format!("a@x.example {NOT_FORWARDED}\n");
    check(&["a@x.example|A@x.example"], &refused, 0);
    check(
        &["a@x.example|a@x.example,b@y.example"],
        "a@x.example b@y.example\n",
        0,
    );
}

#[test]
fn actions_stand_alone() {
    check(
        &["a@x.example|:discard:|spf=off"],
        "a@x.example :discard: spf=off\n",
        0,
    );
    check(
        &["a@x.example|:reject: 550 5.1.6\n moved|spf=off"],
        "a@x.example :reject: 550 5.1.6 moved\n",
        0,
    );
    check(
        &["a@x.example|:discard:", "a@x.example|b@y.example"],
        "a@x.example b@y.example\n",
        0,
    );
}

#[test]
fn domains_and_their_aliases() {
    let mut rows = Rows::default();
    rows.add(row("@old.example|b@y.example"));
    for text in [
        "x.example|srs=off",
        "NULL|",
        "y@x.example|",
        "Z.example|NULL",
    ] {
        rows.add_domain(row(text));
    }
    for text in [
        "alias.example|X.example",
        "old.example|x.example",
        "x.example|x.example",
        "a.example|NULL",
    ] {
        rows.add_alias(row(text));
    }
    let rendered = rows.render(&parser);
    let expected = "x.example :domain: srs=off\nz.example :domain:\n@old.example b@y.example\n@alias.example @x.example\n";
    assert_eq!((&*rendered.text, rendered.left_out), (expected, 4));
}
